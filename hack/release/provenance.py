"""Writes the provenance of a release (commit, builder, materials): an in-toto statement with SLSA's predicate.

It is not signed: the publisher of a release signs it. It contains no build time, so that a second build of
the same commit is identical.
"""

import hashlib
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from hack.release.sbom import normalized
from hack.release.source import Source
from hack.tools.helm import versions

Object = dict[str, Any]

LOCKS: Final = ("requirements-build.lock", "requirements-operator.lock", "requirements-dev.lock")
_WHEEL: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)-.*\.whl")


@dataclass(frozen=True, kw_only=True)
class Image:
    """How the image was built.

    Attributes:
        name: with its tag.
        digest: of its manifest.
        python_image: its base image.
        engine: the program that built it, and its version.
        base: the archive of its base, if that was built here.
        wheels: the folder with the wheels in it, if they were fetched beforehand.
    """

    name: str
    digest: str
    python_image: str
    engine: str
    base: Path | None = None
    wheels: Path | None = None


def statement(source: Source, image: Image | None, artifacts: Iterable[Path]) -> Object:
    """Return the statement about these files, and about the image in one of them."""
    subject: list[Object] = [
        {"name": path.name, "digest": {"sha256": sha256(path)}} for path in sorted(artifacts)
    ]
    if image is not None:
        digest = {"sha256": image.digest.removeprefix("sha256:")}
        subject.append({"name": image.name, "digest": digest})
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://trainingjob.dev/build-types/release/v1",
                "externalParameters": {
                    "commit": source.commit,
                    "pythonImage": image.python_image if image else None,
                },
                "internalParameters": {"sourceDateEpoch": source.epoch},
                "resolvedDependencies": materials(source, image),
            },
            "runDetails": {"builder": builder(image)},
        },
    }


def materials(source: Source, image: Image | None) -> list[Object]:
    """Return all materials of the release, each with its digest."""
    locks = [source.tree / name for name in LOCKS]
    found: list[Object] = [
        {"name": "source", "digest": {"gitCommit": source.commit}},
        *({"name": path.name, "digest": {"sha256": sha256(path)}} for path in locks),
    ]
    if image is not None and image.base is not None:
        digest = {"sha256": sha256(image.base)}
        found.append({"name": image.python_image, "digest": digest})
    if image is not None and image.wheels is not None:
        found += [_wheel(path) for path in sorted(image.wheels.glob("*.whl"))]
    return found


def _wheel(path: Path) -> Object:
    parts = _WHEEL.fullmatch(path.name)
    assert parts is not None, f"{path.name} is named as wheels are"
    uri = f"pkg:pypi/{normalized(parts['name'])}@{parts['version']}"
    return {"name": path.name, "uri": uri, "digest": {"sha256": sha256(path)}}


def builder(image: Image | None) -> Object:
    """Return the tools that built the release."""
    made_with = {
        "python": platform.python_version(),
        "hatchling": metadata.version("hatchling"),
        "helm": versions()[4],
        "machine": f"{sys.platform}-{platform.machine()}",
    }
    if image is not None:
        made_with["engine"] = image.engine
    return {"id": "https://trainingjob.dev/builders/make-release", "version": made_with}


def engine_version(program: str) -> str:
    """Return an engine's name and version, as it reports them."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip()


def sha256(path: Path) -> str:
    """Return the digest of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
