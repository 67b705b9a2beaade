"""Small JSON files on the volume: written whole or not at all, read with suspicion."""

import errno
import json
import os
import stat
from contextlib import suppress
from typing import Any, Final

from trainingjob_operator.volume.opening import open_file

MAX_BYTES: Final = 65_536
_NO_LINKS_HERE: Final = frozenset(
    {errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV}
)
"""What file systems say that have no hard links."""


def read_document(name: str, *, at: int) -> dict[str, Any] | None:
    """The object in a file; None: it is not there.

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
