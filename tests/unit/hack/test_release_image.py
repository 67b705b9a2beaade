"""Tests of a release's image: the archive depends only on its files, and the SBOM lists them."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hack.release import sbom
from hack.release.image import Written, normalize
from hack.release.source import ReleaseError

EPOCH = 1_700_000_000
SITE = "opt/venv/lib/python3.11/site-packages"
FILES = {
    f"{SITE}/Some_Name-1.0.dist-info/METADATA": (
        b"Metadata-Version: 2.4\nName: Some_Name\nVersion: 1.0\nSummary: Some.\n"
        b"License-Expression: MIT\n\nIts readme.\n"
    ),
    f"{SITE}/old-2.0.dist-info/METADATA": (
        b"Metadata-Version: 2.1\nName: old\nVersion: 2.0+a\nLicense: Some License\n"
    ),
    f"{SITE}/very-3.0.dist-info/METADATA": (
        b"Metadata-Version: 2.1\nName: very\nVersion: 3\nLicense: The whole text,\n of a licence\n"
        b"Classifier: Topic :: Any\nClassifier: License :: OSI Approved :: Its License\n"
    ),
    "var/lib/dpkg/status": (
        b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u1\n"
        b"Description: GNU C Library: Shared libraries\n More of it.\n\n"
        b"Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n"
    ),
    "usr/lib/os-release": b'ID=debian\nVERSION_ID="12"\n',
}


def layer(files: Mapping[str, bytes], mtime: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mtime, member.uname = len(data), mtime, "builder"
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def image(path: Path, files: Mapping[str, bytes], *, mtime: int, compress: bool) -> Path:
    """An archive as an engine writes it, at this time."""
    blobs: dict[str, bytes] = {}

    def store(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    plain = layer(files, mtime)
    stored = store(gzip.compress(plain, mtime=mtime) if compress else plain)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": f"at {mtime}",
        "config": {"Entrypoint": ["/bin/true"]},
        "history": [
            {
                "created": f"at {mtime}",
                "comment": f"FROM {mtime}",
                "created_by": f"COPY dir:{hashlib.sha256(plain).hexdigest()} in /opt",
            }
        ],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    }
    manifest = {
        "config": store(json.dumps(config).encode()),
        "layers": [stored],
        "annotations": {"created": f"at {mtime}"},
    }
    index = {"manifests": [store(json.dumps(manifest).encode())]}
    blobs["index.json"] = json.dumps(index).encode()
    path.write_bytes(layer(blobs, mtime))
    return path


def written(folder: Path, files: Mapping[str, bytes], *, mtime: int, compress: bool) -> Written:
    given = image(folder / f"given-{mtime}.tar", files, mtime=mtime, compress=compress)
    out = folder / f"out-{mtime}.tar"
    return normalize(given, out, name="some:1", epoch=EPOCH, wanted=sbom.wanted)


def test_the_time_of_a_build_and_its_compression_change_nothing(tmp_path: Path) -> None:
    first = written(tmp_path, FILES, mtime=EPOCH + 10, compress=True)
    second = written(tmp_path, FILES, mtime=EPOCH + 20, compress=False)
    assert first == second
    archives = [(tmp_path / f"out-{EPOCH + later}.tar").read_bytes() for later in (10, 20)]
    assert archives[0] == archives[1]
    assert first.files == FILES

    other = written(tmp_path, FILES | {"more": b""}, mtime=EPOCH + 30, compress=True)
    assert other.digest != first.digest


def test_what_is_written_is_an_image_whose_digests_fit(tmp_path: Path) -> None:
    digest = written(tmp_path, FILES, mtime=EPOCH + 10, compress=True).digest
    with tarfile.open(tmp_path / f"out-{EPOCH + 10}.tar") as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    [listed] = json.loads(files["index.json"])["manifests"]
    assert listed["digest"] == digest
    assert listed["annotations"]["io.containerd.image.name"] == "docker.io/library/some:1"

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = files[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]
        assert len(data) == descriptor["size"]
        return data

    manifest = json.loads(blob(listed))
    config = json.loads(blob(manifest["config"]))
    assert config["config"] == {"Entrypoint": ["/bin/true"]}
    assert config["created"] == config["history"][0]["created"] == "2023-11-14T22:13:20Z"
    assert config["history"][0]["created_by"] == "COPY dir: in /opt"
    plain = gzip.decompress(blob(manifest["layers"][0]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(plain)) as members:
        assert {(m.mtime, m.uname) for m in members} == {(EPOCH, "")}


@pytest.mark.parametrize("named", [EPOCH, EPOCH - 1])
def test_a_module_that_python_would_compile_anew_is_refused(tmp_path: Path, named: int) -> None:
    compiled = b"\xa7\r\r\n" + bytes(4) + named.to_bytes(4, "little") + bytes(4)
    files = FILES | {
        f"{SITE}/a.py": b"",
        f"{SITE}/__pycache__/a.cpython-311.pyc": compiled,
    }
    if named == EPOCH:
        assert written(tmp_path, files, mtime=EPOCH + 1, compress=True).digest
        return
    with pytest.raises(ReleaseError, match=r"anew at each start: .*/a\.py"):
        written(tmp_path, files, mtime=EPOCH + 1, compress=True)


def test_the_bill_lists_what_is_installed_by_names_that_scanners_know(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    bill = sbom.bill(FILES, name="some", version="1", digest=digest, epoch=EPOCH)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    found = [(each["purl"], each.get("licenses")) for each in bill["components"]]
    assert found == [
        ("pkg:pypi/old@2.0%2Ba", [{"license": {"name": "Some License"}}]),
        ("pkg:pypi/some-name@1.0", [{"expression": "MIT"}]),
        ("pkg:pypi/very@3", [{"license": {"name": "Its License"}}]),
        ("pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12", None),
    ]
    references = {each["bom-ref"] for each in bill["components"]}
    [everything] = bill["dependencies"]
    assert set(everything["dependsOn"]) == references
    assert len(references) == len(found)


@pytest.mark.parametrize("kind", ["dpkg", "METADATA"])
def test_a_bill_with_a_kind_of_packages_missing_is_none(kind: str) -> None:
    files = {path: data for path, data in FILES.items() if kind not in path}
    with pytest.raises(ReleaseError, match="the image has no"):
        sbom.bill(files, name="some", version="1", digest="sha256:0", epoch=EPOCH)
