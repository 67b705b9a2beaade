"""Rewrites an image archive reproducibly: one OCI image layout without build times.

An engine's own archive contains the time of each step in its configuration and in the layers. Here no
file is newer than the commit, and the layers are compressed again.
"""

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from hack.release.source import ReleaseError

Object = dict[str, Any]

_OCI: Final = "application/vnd.oci.image"
_BUILD: Final = re.compile(r"(?<=(?:dir|ile):)[0-9a-f]{64}")
"""Buildah's history entry for copied files, whose digest depends on file times."""


@dataclass(frozen=True)
class Written:
    """A written archive.

    Attributes:
        digest: of its manifest, which identifies the image in a registry: `sha256:...`.
        files: the content of the requested files, by path.
    """

    digest: str
    files: dict[str, bytes]


def normalize(
    archive: Path, out: Path, *, name: str, epoch: int, wanted: Callable[[str], bool]
) -> Written:
    """Rewrite an engine's archive, so that the same files give the same archive.

    Args:
        archive: one image, as `Engine.save_layout` writes it.
        out: where the new archive goes.
        name: of the image, with its tag.
        epoch: the latest time that a file in it may have, in seconds since 1970.
        wanted: returns True for the paths whose content is returned.

    Raises:
        ReleaseError: it is no archive of one image, or its compiled modules are stale.
    """
    with tempfile.TemporaryDirectory(prefix="trainingjob-layout-", dir=out.parent) as scratch:
        layout, fresh = Path(scratch) / "layout", Path(scratch) / "fresh"
        with tarfile.open(archive) as opened:
            opened.extractall(layout, filter="data")
        manifest, look = _manifest(layout), _Look(wanted)
        (fresh / "blobs" / "sha256").mkdir(parents=True)
        layers = [
            _copy_layer(_blob(layout, each), fresh, epoch, look) for each in manifest["layers"]
        ]
        if stale := look.stale():
            raise ReleaseError(f"Python would compile modules anew at each start: {stale[:5]}")
        config = json.loads(_blob(layout, manifest["config"]).read_bytes())
        digest = _write_index(fresh, name, epoch, _undated(config, layers, epoch), layers)
        _write_archive(fresh, out, epoch)
    return Written(digest, look.files)


# --- what an engine has written -----------------------------------------------------------------


def _manifest(layout: Path) -> Object:
    found = json.loads((layout / "index.json").read_bytes())
    while "manifests" in found:
        # An index may also contain the builder's attestations, which have no platform.
        listed = [
            each
            for each in found["manifests"]
            if each.get("platform", {}).get("architecture") != "unknown"
        ]
        if len(listed) != 1:
            raise ReleaseError(f"the archive has {len(listed)} images, and one is wanted")
        found = json.loads(_blob(layout, listed[0]).read_bytes())
    return dict(found)


def _blob(layout: Path, descriptor: Object) -> Path:
    return layout / "blobs" / Path(*descriptor["digest"].split(":"))


# --- layers -------------------------------------------------------------------------------------


class _Look:
    """Collects the content of wanted files, and checks compiled modules, while layers are copied."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self._wanted: Final = wanted
        self._sources: Final[dict[str, int]] = {}
        self._compiled: Final[dict[str, int]] = {}
        self.files: Final[dict[str, bytes]] = {}

    def wants(self, path: str) -> bool:
        """Return True for a file whose content is needed."""
        return path.endswith((".py", ".pyc")) or self._wanted(path)

    def see(self, path: str, mtime: int, data: bytes) -> None:
        """Store the content of a wanted file, or the time of a source or a compiled module."""
        if self._wanted(path):
            self.files[path] = data
        if path.endswith(".py"):
            self._sources[path] = mtime
        elif path.endswith(".pyc") and data[4:8] == bytes(4):  # 0: checked by time, not by hash
            folder, _, name = path.rpartition("__pycache__/")
            source = f"{folder}{name.partition('.')[0]}.py"
            self._compiled[source] = int.from_bytes(data[8:12], "little")

    def stale(self) -> list[str]:
        """Return the sources whose time differs from that in their compiled module."""
        return sorted(
            path
            for path, mtime in self._compiled.items()
            if self._sources.get(path, mtime) != mtime
        )


def _copy_layer(blob: Path, fresh: Path, epoch: int, look: _Look) -> Object:
    """Copy one layer; return its descriptor, and the digest of its unpacked content."""
    draft = fresh / "layer"
    with (
        tarfile.open(blob, "r:*") as given,
        draft.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as compressed,
    ):
        unpacked = _Hashing(compressed)
        with tarfile.open(fileobj=unpacked, mode="w|", format=tarfile.PAX_FORMAT) as copy:  # type: ignore[call-overload]
            for member in given:
                _copy_member(given, member, copy, epoch, look)
    diff_id = f"sha256:{unpacked.hash.hexdigest()}"
    return {"mediaType": f"{_OCI}.layer.v1.tar+gzip", **_store(fresh, draft), "diff_id": diff_id}


def _copy_member(
    given: tarfile.TarFile,
    member: tarfile.TarInfo,
    copy: tarfile.TarFile,
    epoch: int,
    look: _Look,
) -> None:
    member.mtime = min(int(member.mtime), epoch)
    member.uname = member.gname = ""
    attributes = sorted(member.pax_headers.items())
    member.pax_headers = {k: v for k, v in attributes if k.startswith("SCHILY.xattr.")}
    content: IO[bytes] | None = given.extractfile(member) if member.isreg() else None
    path = member.name.removeprefix("./").removeprefix("/")
    if content is not None and look.wants(path):
        data = content.read()
        look.see(path, int(member.mtime), data)
        content = io.BytesIO(data)
    copy.addfile(member, content)


class _Hashing:
    """A writer that hashes and counts the bytes written through it."""

    def __init__(self, target: gzip.GzipFile) -> None:
        self._target: Final = target
        self.hash: Final = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write, and count."""
        self.hash.update(data)
        return self._target.write(data)


# --- what describes them ------------------------------------------------------------------------


def _undated(config: Object, layers: list[Object], epoch: int) -> Object:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    history = [
        {
            k: _BUILD.sub("", v) if k == "created_by" else v
            for k, v in each.items()
            if k != "comment"
        }
        | {"created": created}
        for each in config.get("history", [])
    ]
    rootfs = {"type": "layers", "diff_ids": [each["diff_id"] for each in layers]}
    return config | {"created": created, "history": history, "rootfs": rootfs}


def _write_index(fresh: Path, name: str, epoch: int, config: Object, layers: list[Object]) -> str:
    """Write configuration, manifest and index; return the digest of the manifest."""
    described = _store_json(fresh, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": {"mediaType": f"{_OCI}.config.v1+json", **described},
        "layers": [{k: v for k, v in each.items() if k != "diff_id"} for each in layers],
    }
    stored = _store_json(fresh, manifest)
    annotations = {
        "io.containerd.image.name": f"docker.io/library/{name}",
        "org.opencontainers.image.created": config["created"],
        "org.opencontainers.image.ref.name": name,
    }
    platform = {key: config[key] for key in ("architecture", "os")}
    listed = {
        "mediaType": manifest["mediaType"],
        **stored,
        "platform": platform,
        "annotations": annotations,
    }
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [listed]}
    (fresh / "index.json").write_bytes(_json(index))
    (fresh / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return str(stored["digest"])


def _json(value: Object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _store_json(fresh: Path, value: Object) -> Object:
    draft = fresh / "document"
    draft.write_bytes(_json(value))
    return _store(fresh, draft)


def _store(fresh: Path, draft: Path) -> Object:
    """Move a file to the path of its digest; return size and digest."""
    with draft.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = draft.stat().st_size
    draft.rename(fresh / "blobs" / "sha256" / digest)
    return {"digest": f"sha256:{digest}", "size": size}


def _write_archive(fresh: Path, out: Path, epoch: int) -> None:
    draft = out.with_suffix(".draft")
    with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(path for path in fresh.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(str(path.relative_to(fresh)))
            member.size, member.mode, member.mtime = path.stat().st_size, 0o644, epoch
            with path.open("rb") as file:
                archive.addfile(member, file)
    shutil.move(draft, out)
