"""The schemas of the Prometheus operator's kinds, from its Go module. Nothing of it is kept here."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from hack.cluster.assets import AssetsError, go

MODULE: Final = "github.com/prometheus-operator/prometheus-operator@v0.94.0"
_SUM: Final = "h1:VxMKzqr8Xqw5/QInNT7a3B5XInPnHqE7SD2UIdwKpRM="
_FOLDER: Final = "example/prometheus-operator-crd"
_PATIENCE_S: Final = 120

Object = dict[str, Any]


def schema_of(plural: str) -> Object:
    """Return the schema of a kind, by which a field that it does not know is an error.

    Args:
        plural: like `podmonitors`.

    Raises:
        AssetsError: the module cannot be had.
    """
    path = _downloaded() / _FOLDER / f"monitoring.coreos.com_{plural}.yaml"
    [version] = yaml.safe_load(path.read_text())["spec"]["versions"]
    return dict(_strict(version["schema"]["openAPIV3Schema"]))


def _downloaded() -> Path:
    """The module's folder, in the cache that Go has of modules."""
    done = subprocess.run(
        [go(), "mod", "download", "-json", MODULE],
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )
    found = json.loads(done.stdout or "{}")
    if done.returncode != 0 or found.get("Sum") != _SUM:
        why = found.get("Error") or done.stderr or f"its sum is {found.get('Sum')}"
        raise AssetsError(f"{MODULE} cannot be had: {why}")
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
