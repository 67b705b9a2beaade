"""Reads and writes the owner files of a volume: the sentinel and the marks. Writes are atomic.

`.trainingjob-volume`, the sentinel, holds the id of the volume and its owner. The owner is an
identity (see `volume.identity`), since a cluster's name is `default` everywhere. A file of version
1 has no identity: the owner is unknown until somebody runs `trainingjob prune --adopt`.
Nothing is ever removed from a root without a sentinel: an unmounted volume is an empty directory,
which looks like a volume whose jobs are all deleted, and a mistyped root is another program's data.

`job_<uid>/.trainingjob`, the mark, holds the owner of a job's directory. It is written before the
job's first pod is created. The job can write to it as well, so its contents are not trusted. A mark
can only keep a directory on the volume, never cause a removal. Even that has no effect if the mark
registry (`volume.mark_registry`), which the job cannot reach, names the owner.
"""

import errno
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from trainingjob_api.constants import REASON_SENTINEL_MISSING
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.layout import MARK, SENTINEL
from trainingjob_operator.volume.ownership import Mark, Owner
from trainingjob_operator.volume.safe_open import open_file

MAX_BYTES: Final = 65_536
_VERSION: Final = 2
_WITHOUT_IDENTITY: Final = 1
_NO_LINKS_HERE: Final = frozenset(
    {errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV}
)
"""Errors of file systems that do not support hard links."""

_UNREADABLE: Final = Mark(uid="", namespace="", name="", cluster="")
"""Stands for a mark that cannot be parsed; it matches no job."""

# --- the sentinel -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The contents of the sentinel: the id of the volume, and its owner."""

    volume_id: str
    owner: Owner


def new_sentinel(owner: Owner) -> Sentinel:
    """Return a sentinel with a new volume id."""
    return Sentinel(volume_id=str(uuid4()), owner=owner)


def write_sentinel(sentinel: Sentinel, *, at: int) -> None:
    """Write the sentinel, and replace an existing one.

    Raises:
        OSError: it cannot be written.
    """
    write_document(SENTINEL, _sentinel_document(sentinel), at=at)


def create_sentinel(sentinel: Sentinel, *, at: int) -> None:
    """Write the sentinel of a volume that has none; of two concurrent callers one succeeds.

    Raises:
        FileExistsError: the volume has a sentinel.
        OSError: it cannot be written.
    """
    create_document(SENTINEL, _sentinel_document(sentinel), at=at)


def _sentinel_document(sentinel: Sentinel) -> dict[str, Any]:
    owner = sentinel.owner
    return {
        "version": _VERSION,
        "volumeId": sentinel.volume_id,
        "identity": owner.identity,
        "cluster": owner.cluster,
        "namespaces": list(owner.namespaces),
        "adopted": list(owner.adopted),
    }


def read_sentinel(*, at: int, path: str) -> Sentinel | None:
    """Return the sentinel of the root; None: there is none.

    Raises:
        VolumeError: it cannot be parsed.
        OSError: it cannot be read.
    """
    try:
        document = read_document(SENTINEL, at=at)
        return None if document is None else _sentinel(document)
    except ValueError as error:
        raise VolumeError(
            f"{path}/{SENTINEL} cannot be parsed ({error}): inspect it, delete it, and run "
            f"`trainingjob prune --init --root {path}`",
            reason=REASON_SENTINEL_MISSING,
        ) from error


def _sentinel(document: dict[str, Any]) -> Sentinel:
    volume_id, cluster = document.get("volumeId"), document.get("cluster")
    namespaces = document.get("namespaces")
    version = document.get("version")
    if version not in {_VERSION, _WITHOUT_IDENTITY} or isinstance(version, bool):
        raise ValueError(f"its version is not {_VERSION}")
    if not (isinstance(volume_id, str) and volume_id and isinstance(cluster, str) and cluster):
        raise ValueError("it has no volumeId or no cluster")
    if not isinstance(namespaces, list) or not all(isinstance(n, str) for n in namespaces):
        raise ValueError("its namespaces are not a list of names")
    if version == _WITHOUT_IDENTITY:
        return Sentinel(volume_id, Owner(cluster, tuple(namespaces)))
    identity, adopted = document.get("identity"), document.get("adopted")
    if not (isinstance(identity, str) and identity):
        raise ValueError("it has no identity")
    if not isinstance(adopted, list) or not all(isinstance(each, str) for each in adopted):
        raise ValueError("its adopted identities are not a list of strings")
    return Sentinel(volume_id, Owner(cluster, tuple(namespaces), identity, tuple(adopted)))


# --- marks ----------------------------------------------------------------------------------


def write_mark(mark: Mark, *, at: int, name: str = MARK) -> None:
    """Write the mark with the owner of a directory.

    Raises:
        OSError: it cannot be written.
    """
    document = {
        "uid": mark.uid,
        "namespace": mark.namespace,
        "name": mark.name,
        "cluster": mark.cluster,
        "identity": mark.identity,
    }
    write_document(name, document, at=at)


def read_mark(*, at: int, name: str = MARK) -> Mark | None:
    """Return the mark of a directory; None: it has none.

    Raises:
        OSError: the mark exists and cannot be read.
    """
    try:
        document = read_document(name, at=at)
    except ValueError:
        return _UNREADABLE
    return None if document is None else _mark(document)


def _mark(document: dict[str, Any]) -> Mark:
    values = [document.get(key) for key in ("uid", "namespace", "name", "cluster")]
    values.append(document.get("identity", ""))  # missing in early marks: their owner is unknown
    texts = [value for value in values if isinstance(value, str)]
    return Mark(*texts) if len(texts) == len(values) else _UNREADABLE


# --- JSON files -----------------------------------------------------------------------------


def read_document(name: str, *, at: int) -> dict[str, Any] | None:
    """Return the JSON object in a file; None: the file does not exist.

    Raises:
        ValueError: it is not a regular file, is too large, or does not hold a JSON object.
        OSError: it cannot be read.
    """
    try:
        fd = open_file(name, at=at)
    except FileNotFoundError:
        return None
    except OSError as error:
        with suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=at, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):  # a link, a socket
                raise ValueError(f"{name} is not a regular file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{name} is not a regular file")
        data = os.read(fd, MAX_BYTES + 1)
    finally:
        os.close(fd)
    return _object(name, data)


def _object(name: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data) if len(data) <= MAX_BYTES else None
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError(f"{name} is not a JSON object")  # noqa: TRY004 - as for invalid JSON
    return document


def write_document(name: str, document: dict[str, Any], *, at: int) -> None:
    """Write a JSON object to a file, and replace the file atomically.

    Raises:
        OSError: it cannot be written; the old file is unchanged.
    """
    draft = f"{name}.{os.urandom(6).hex()}"
    try:
        _write_new(draft, document, at=at)
        os.rename(draft, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft, dir_fd=at)
        raise


def create_document(name: str, document: dict[str, Any], *, at: int) -> None:
    """Write a JSON object to a new file; of two concurrent callers, on any nodes, one succeeds.

    The file is linked into place, so it is complete when it appears. Where hard links are not
    supported (SMB, some FUSE file systems) it is written in place. A crash can then leave a partial
    file, which cannot be parsed and has to be deleted by hand.

    Raises:
        FileExistsError: the file exists.
        OSError: it cannot be written.
    """
    draft = f"{name}.{os.urandom(6).hex()}"
    try:
        _write_new(draft, document, at=at)
        os.link(draft, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS_HERE:
            raise
        _write_new(name, document, at=at)
    finally:
        with suppress(OSError):
            os.unlink(draft, dir_fd=at)


def _write_new(name: str, document: dict[str, Any], *, at: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o644, dir_fd=at)
    try:
        _write_all(fd, json.dumps(document, indent=2).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
