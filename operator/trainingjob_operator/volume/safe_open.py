"""Opening directories such that no link, no mount and no race leads anywhere else; and locks."""

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from functools import cache
from typing import Final

from trainingjob_api.errors import EntryChangedError

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPENAT2: Final = 437  # on every architecture that Linux has had since 5.6, but Alpha
_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_STAY_HERE: Final = (
    _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
)
_TRIES: Final = 8
NO_LOCKS_HERE: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP})
"""Errors by which a file system says that it has no locks, or none of this kind."""


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_root(path: str) -> int:
    """Open the directory at an absolute path, itself no link."""
    return os.open(path, _FLAGS)


def open_directory(name: str, *, at: int, device: int) -> tuple[int, os.stat_result]:
    """Open a directory in another one, and say what it is.

    Raises:
        EntryChangedError: it was swapped for another one between two looks.
        OSError: ENOTDIR or ELOOP: it is no directory; EXDEV: something is mounted on it; or what
            the volume says.
    """
    before = os.stat(name, dir_fd=at, follow_symlinks=False)
    if not stat.S_ISDIR(before.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "no directory", name)
    opened = _open(name, at)
    try:
        after = os.fstat(opened)
        _compare(name, before, after, device)
    except BaseException:
        os.close(opened)
        raise
    return opened, after


def _compare(name: str, before: os.stat_result, after: os.stat_result, device: int) -> None:
    if after.st_dev != device:
        raise OSError(errno.EXDEV, "another file system is mounted on it", name)
    if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
        raise EntryChangedError("a directory was swapped for another one")


def open_parent(fd: int) -> int:
    """Open what a directory lies in; whether it still is the right one, the caller has to ask."""
    return os.open("..", _FLAGS, dir_fd=fd)


def open_file(name: str, *, at: int) -> int:
    """Open a file to read it; never a link, and never waiting for the other end of a pipe."""
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=at)


def lock(fd: int) -> bool:
    """Lock an open file without waiting: other processes, on other nodes as well, are excluded.

    The lock ends when the file is closed, or its process.

    Args:
        fd: opened for writing: NFS locks nothing else.

    Returns:
        False where the file system has no locks.

    Raises:
        BlockingIOError: another one holds the lock.
        OSError: as the file system raises it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS_HERE:
            raise
        return False
    return True


def _open(name: str, at: int) -> int:
    """By openat2, which alone sees a bind mount of the same file system; else as well as it goes."""
    if not has_openat2():
        return os.open(name, _FLAGS, dir_fd=at)
    for _ in range(_TRIES):
        opened, code = _openat2(name, at, _STAY_HERE)
        if code != errno.EAGAIN:  # something was renamed meanwhile, anywhere: ask again
            break
    if opened < 0:
        raise OSError(code, os.strerror(code), name)
    return opened


@cache
def has_openat2() -> bool:
    """True if the kernel, and the container's seccomp profile, know openat2."""
    opened, _ = _openat2("/", -1, 0)
    if opened >= 0:
        os.close(opened)
    return opened >= 0


def _openat2(name: str, at: int, resolve: int) -> tuple[int, int]:
    how = _How(_FLAGS, 0, resolve)
    result = _syscall()(_OPENAT2, at, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how))
    return result, ctypes.get_errno() if result < 0 else 0


@cache
def _syscall() -> Callable[..., int]:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    return function
