"""Writes the software bill of materials (SBOM) of the image: CycloneDX 1.6, JSON.

It is read from the image's own files, not from the build inputs: the metadata of each Python distribution,
and the list of Debian packages. Ours needs a dozen fields of CycloneDX; its library would add six
dependencies.
"""

import email.parser
import re
import time
import uuid
from email.message import Message
from typing import Any, Final
from urllib.parse import quote

from hack.release.source import ReleaseError

Object = dict[str, Any]

_METADATA: Final = re.compile(r"opt/venv/lib/python[\d.]+/site-packages/[^/]+\.dist-info/METADATA")
_PACKAGES: Final = "var/lib/dpkg/status"
_SYSTEM: Final = ("etc/os-release", "usr/lib/os-release")
_LONGEST_LICENSE: Final = 60
"""A longer value is the text of a licence, not its name."""


def wanted(path: str) -> bool:
    """Return True for the files of an image that the SBOM is made from."""
    return path == _PACKAGES or path in _SYSTEM or _METADATA.fullmatch(path) is not None


def bill(files: dict[str, bytes], *, name: str, version: str, digest: str, epoch: int) -> Object:
    """Return the SBOM of an image.

    Args:
        files: its `wanted` files.
        name: the image's.
        version: its tag.
        digest: of its manifest.
        epoch: the time to write into it, in seconds since 1970.

    Raises:
        ReleaseError: no packages of the one or of the other kind are in the image.
    """
    purl = f"pkg:oci/{name}@{quote(digest, safe='')}"
    subject = {
        "type": "container",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
    }
    components = [*python_components(files), *debian_components(files)]
    references = [each["bom-ref"] for each in components]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, purl)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [{"type": "application", "name": "hack.release"}]},
            "component": subject,
        },
        "components": components,
        "dependencies": [{"ref": purl, "dependsOn": references}],
        "compositions": [{"aggregate": "complete", "assemblies": [purl]}],
    }


def python_components(files: dict[str, bytes]) -> list[Object]:
    """Return the Python distributions, sorted by name."""
    parser = email.parser.BytesParser()
    found = [
        _python_component(parser.parsebytes(data, headersonly=True))
        for path, data in files.items()
        if _METADATA.fullmatch(path)
    ]
    if not found:
        raise ReleaseError("the image has no Python distributions")
    return sorted(found, key=lambda each: str(each["name"]))


def _python_component(metadata: Message) -> Object:
    name = normalized(metadata["Name"])
    purl = f"pkg:pypi/{name}@{quote(metadata['Version'])}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": metadata["Version"],
        **_described(metadata["Summary"]),
        **_licensed(metadata),
        "purl": purl,
    }


def normalized(name: str) -> str:
    """Return the normalised name of a distribution in a package index."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _licensed(metadata: Message) -> Object:
    if expression := metadata["License-Expression"]:
        return {"licenses": [{"expression": expression}]}
    kinds = [each for each in metadata.get_all("Classifier", []) if each.startswith("License ::")]
    named = [(metadata["License"] or "").strip(), *(each.split(" :: ")[-1] for each in kinds)]
    for name in named:
        if name and "\n" not in name and len(name) <= _LONGEST_LICENSE:
            return {"licenses": [{"license": {"name": name}}]}
    return {}


def _described(summary: str | None) -> Object:
    return {"description": summary.strip()} if summary and summary.strip() else {}


def debian_components(files: dict[str, bytes]) -> list[Object]:
    """Return the installed Debian packages, sorted by name."""
    release = "-".join(_system(files).get(key, "") for key in ("ID", "VERSION_ID"))
    parser = email.parser.BytesParser()
    parts = files.get(_PACKAGES, b"").split(b"\n\n")
    packages = [parser.parsebytes(part + b"\n\n") for part in parts if part.strip()]
    found = [
        _debian_component(each, release)
        for each in packages
        if each["Status"].endswith(" installed")
    ]
    if not found:
        raise ReleaseError("the image has no packages of Debian")
    return sorted(found, key=lambda each: str(each["bom-ref"]))


def _debian_component(package: Message, release: str) -> Object:
    name, version = package["Package"], package["Version"]
    qualifiers = f"arch={package['Architecture']}&distro={release}"
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?{qualifiers}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        **_described(str(package["Description"] or "").partition("\n")[0]),
        "purl": purl,
    }


def _system(files: dict[str, bytes]) -> dict[str, str]:
    text = next((files[path].decode() for path in _SYSTEM if path in files), "")
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip('"') for key, _, value in pairs if value}
