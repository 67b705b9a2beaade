"""Reads the schemas of other projects' kinds that the chart uses, from their Go modules."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from hack.cluster.assets import AssetsError, go

_PATIENCE_S: Final = 120

Object = dict[str, Any]


@dataclass(frozen=True)
class Module:
    """A Go module with CRDs.

    Attributes:
        name: with its version.
        sum: checksum of its content, as in go.sum.
        files: path of a kind's CRD in the module; `{}` is the kind's plural.
    """

    name: str
    sum: str
    files: str


PROMETHEUS: Final = Module(
    "github.com/prometheus-operator/prometheus-operator@v0.94.0",
    "h1:VxMKzqr8Xqw5/QInNT7a3B5XInPnHqE7SD2UIdwKpRM=",
    "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml",
)
GATEWAY: Final = Module(
    "sigs.k8s.io/gateway-api@v1.5.1",
    "h1:RqVRIlkhLhUO8wOHKTLnTJA6o/1un4po4/6M1nRzdd0=",
    "config/crd/standard/gateway.networking.k8s.io_{}.yaml",
)


def schema_of(module: Module, plural: str) -> Object:
    """Return the newest schema of a kind, made strict: an unknown field is an error.

    Args:
        module: the module with the kind.
        plural: like `podmonitors`.

    Raises:
        AssetsError: the module is not available.
    """
    path = _downloaded(module) / module.files.format(plural)
    version = yaml.safe_load(path.read_text())["spec"]["versions"][0]
    return dict(_strict(version["schema"]["openAPIV3Schema"]))


def _downloaded(module: Module) -> Path:
    """Return the module's directory in Go's module cache."""
    done = subprocess.run(
        [go(), "mod", "download", "-json", module.name],
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )
    found = json.loads(done.stdout or "{}")
    if done.returncode != 0 or found.get("Sum") != module.sum:
        why = found.get("Error") or done.stderr or f"its sum is {found.get('Sum')}"
        raise AssetsError(f"{module.name} cannot be had: {why}")
    return Path(found["Dir"])


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(each) for name, each in schema.items()}
    if str(found.get("pattern", "")).startswith("^(?i)"):  # Go's; Python wants the flag first
        found["pattern"] = found["pattern"].replace("^(?i)", "(?i)^")
    is_closed = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    # `metadata` has no properties in a CRD, and a field may be called `properties`.
    if is_closed and schema.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found
