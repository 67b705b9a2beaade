"""Opens directories and files safely against symbolic links, mounts and races; and locks files.

Uses openat2 with RESOLVE_BENEATH where the kernel has it. In any case it opens with O_NOFOLLOW, and
compares the inode before and after.
"""

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
_OPENAT2: Final = 437  # the number on all architectures but Alpha, since Linux 5.6
_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_STAY_HERE: Final = (
    _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
)
_TRIES: Final = 8
NO_LOCKS_HERE: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP})
"""Errors of a file system that does not support locks, or not this kind of lock."""


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_root(path: str) -> int:
    """Open the directory at an absolute path; fails if the last component is a symbolic link."""
    return os.open(path, _FLAGS)


def open_directory(name: str, *, at: int, device: int) -> tuple[int, os.stat_result]:
    """Open a subdirectory; return its descriptor and its `os.stat_result`.

    Raises:
        EntryChangedError: it was replaced by another directory between stat and open.
        OSError: ENOTDIR or ELOOP: it is not a directory; EXDEV: a file system is mounted on it; or
            any other error of the volume.
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
    """Open the parent of a directory; the caller has to check that it is still the expected one."""
    return os.open("..", _FLAGS, dir_fd=fd)


def open_file(name: str, *, at: int) -> int:
    """Open a file for reading; never follows a link and never blocks on a named pipe."""
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=at)


def lock(fd: int) -> bool:
    """Take an exclusive lock on an open file without waiting, across processes and nodes.

    The lock is released when the file is closed or the process ends.

    Args:
        fd: must be open for writing on NFS, which locks no other descriptors.

    Returns:
        False if the file system does not support locks.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: any other error of the file system.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in NO_LOCKS_HERE:
            raise
        return False
    return True


def _open(name: str, at: int) -> int:
    """Open with openat2, the only call that detects a bind mount of the same file system.

    Without openat2 such a bind mount goes unnoticed.
    """
    if not has_openat2():
        return os.open(name, _FLAGS, dir_fd=at)
    for _ in range(_TRIES):
        opened, code = _openat2(name, at, _STAY_HERE)
        if code != errno.EAGAIN:  # EAGAIN: a rename somewhere on the system interfered; try again
            break
    if opened < 0:
        raise OSError(code, os.strerror(code), name)
    return opened


@cache
def has_openat2() -> bool:
    """True if the kernel has openat2 and the container's seccomp profile allows it."""
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
