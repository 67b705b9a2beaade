"""The files that say whose a volume and its directories are: written whole, read with suspicion.

`.trainingjob-volume`, the sentinel, says which volume this is, and whose. The owner is an identity
(see `volume.identity`): a cluster's name is `default` everywhere. A file of version 1 has no
identity: the owner is unknown until a person adopts the volume. An empty directory where a volume
should be mounted looks like a volume whose jobs have all gone, and a mistyped root is another
program's data. So nothing is ever removed where this file is not.

`job_<uid>/.trainingjob`, the mark, says whose a job's directory is. It is written before the job's
first pod. The job can write there as well: a mark can keep a directory on the volume, and can never
make anything go that would not have gone without it. It keeps nothing where the register
(`volume.mark_registry`), which the job cannot reach, says whose the directory is.
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
"""Errors of file systems that have no hard links."""

_UNREADABLE: Final = Mark(uid="", namespace="", name="", cluster="")
"""A mark that cannot be understood: no job has it."""

# --- the sentinel -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The contents of the file: which volume it is, and its owner."""

    volume_id: str
    owner: Owner


def new_sentinel(owner: Owner) -> Sentinel:
    """Return a sentinel for a volume that has none."""
    return Sentinel(volume_id=str(uuid4()), owner=owner)


def write_sentinel(sentinel: Sentinel, *, at: int) -> None:
    """Write whose this volume is, in place of what is there.

    Raises:
        OSError: the volume does not take it.
    """
    write_document(SENTINEL, _sentinel_document(sentinel), at=at)


def create_sentinel(sentinel: Sentinel, *, at: int) -> None:
    """Write whose this volume is, if it has no sentinel: of two that try, one succeeds.

    Raises:
        FileExistsError: it has one.
        OSError: the volume does not take it.
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
    """Return what the file says; None: it is not there.

    Raises:
        VolumeError: it cannot be understood.
        OSError: it cannot be read.
    """
    try:
        document = read_document(SENTINEL, at=at)
        return None if document is None else _sentinel(document)
    except ValueError as error:
        raise VolumeError(
            f"{path}/{SENTINEL} cannot be understood ({error}): look at it, remove it, and run "
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
        raise ValueError("its namespaces are no list of names")
    if version == _WITHOUT_IDENTITY:
        return Sentinel(volume_id, Owner(cluster, tuple(namespaces)))
    identity, adopted = document.get("identity"), document.get("adopted")
    if not (isinstance(identity, str) and identity):
        raise ValueError("it has no identity")
    if not isinstance(adopted, list) or not all(isinstance(each, str) for each in adopted):
        raise ValueError("the identities that it adopted are no list")
    return Sentinel(volume_id, Owner(cluster, tuple(namespaces), identity, tuple(adopted)))


# --- marks ----------------------------------------------------------------------------------


def write_mark(mark: Mark, *, at: int, name: str = MARK) -> None:
    """Write whose this directory is.

    Raises:
        OSError: the volume does not take it.
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
        OSError: the mark is there and cannot be read.
    """
    try:
        document = read_document(name, at=at)
    except ValueError:
        return _UNREADABLE
    return None if document is None else _mark(document)


def _mark(document: dict[str, Any]) -> Mark:
    values = [document.get(key) for key in ("uid", "namespace", "name", "cluster")]
    values.append(document.get("identity", ""))  # early marks have none, and then have no owner
    texts = [value for value in values if isinstance(value, str)]
    return Mark(*texts) if len(texts) == len(values) else _UNREADABLE


# --- JSON files -----------------------------------------------------------------------------


def read_document(name: str, *, at: int) -> dict[str, Any] | None:
    """Return the object in a file; None: it is not there.

    Raises:
        ValueError: it is no plain file, too large, or holds no JSON object.
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
                raise ValueError(f"{name} is no plain file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{name} is no plain file")
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
        raise ValueError(f"{name} holds no JSON object")  # noqa: TRY004 - as for text that is none
    return document


def write_document(name: str, document: dict[str, Any], *, at: int) -> None:
    """Put an object into a file, in place of what is there. Whoever reads sees one or the other.

    Raises:
        OSError: it cannot be written; nothing has changed.
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
    """Put an object into a file that is not there: of two that try, on whatever node, one succeeds.

    By a hard link, so that the file is whole when it appears. Where there are none (SMB, some FUSE
    file systems) it is made in its place, and a crash there can leave it half written: then it
    cannot be understood, and a person has to look.

    Raises:
        FileExistsError: it is there.
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
