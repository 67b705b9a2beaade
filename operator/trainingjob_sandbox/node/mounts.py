"""Mounts a container's volumes at their mount paths, with bind mounts in a private mount namespace.

It runs in the process that becomes the container, never in the node's process. As root it needs
only the mount namespace; as another user it also needs a user namespace, if the machine allows it.

A mount path that does not exist is created without writing to the machine's folders. Its nearest
existing parent folder is shadowed: a small tmpfs is mounted over it, every entry of the folder is
bind-mounted into the tmpfs, and the mount path is created there. The container sees the same folder
with one more entry. Files that it creates directly in a shadowed folder are lost when it ends.
"""

# Descriptors, /proc paths and a start that must be fast: os, not pathlib.
# ruff: noqa: PTH102, PTH110, PTH112, PTH115, PTH120, PTH123, PTH211

import ctypes
import errno
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_MS_RDONLY: Final = 0x1
_MS_REMOUNT: Final = 0x20
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SLAVE: Final = 0x80000
_SHADOW_OPTIONS: Final = "mode=0755,size=16m"
_UNREADABLE: Final = frozenset({errno.ENOENT, errno.EACCES, errno.ENOTCONN})


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a container.

    Attributes:
        source: the folder or file to mount.
        target: the absolute mount path.
        read_only: True for a read-only mount.
    """

    source: str
    target: str
    read_only: bool = False


def enter_namespace() -> None:
    """Enter a new mount namespace, and as an unprivileged user also a new user namespace.

    The user id stays the same: a process that is not root has no additional rights after `exec`.

    Raises:
        OSError: this machine does not allow it.
    """
    uid, gid = os.geteuid(), os.getegid()
    rootless = uid != 0
    _check(_libc().unshare(_CLONE_NEWNS | (_CLONE_NEWUSER if rootless else 0)), "unshare")
    if rootless:
        for file, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{file}", "w", encoding="ascii") as out:
                out.write(text)
    # Slave, not private: later mounts of the machine still appear here, and ours do not appear there.
    _mount(None, "/", None, _MS_SLAVE | _MS_REC)


@dataclass(slots=True)
class Mounter:
    """Mounts volumes in the namespace of `enter_namespace`."""

    _writable: list[str] = field(default_factory=list)
    """Mount paths of read-write volumes: missing mount paths below them are created in the volume."""

    _made: set[str] = field(default_factory=set)
    """Shadowed folders, and the folders created in them."""

    def apply(self, mounts: Iterable[Mount]) -> None:
        """Mount all of them, parent folders first.

        Raises:
            OSError: a mount failed; `filename` is its mount path.
        """
        ordered = sorted(mounts, key=lambda mount: mount.target.rstrip("/").count("/"))
        # Open all sources first: a mount may hide the source of another one.
        opened = [(mount, os.open(mount.source, os.O_PATH | os.O_CLOEXEC)) for mount in ordered]
        for mount, source in opened:
            try:
                self._bind(source, mount)
            except OSError as error:
                raise OSError(error.errno, os.strerror(error.errno or 0), mount.target) from error
            finally:
                os.close(source)

    def _bind(self, source: int, mount: Mount) -> None:
        path = f"/proc/self/fd/{source}"
        target = os.path.realpath(mount.target)
        if target == "/":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), target)
        self._make_mount_point(target, directory=os.path.isdir(path))
        _mount(path, target, None, _MS_BIND | _MS_REC)
        if mount.read_only:
            _mount(None, target, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _flags(target))
        else:
            self._writable.append(target)

    def _make_mount_point(self, target: str, *, directory: bool) -> None:
        if os.path.exists(target):
            return
        parent = os.path.dirname(target)
        missing = [target]
        while not os.path.isdir(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        if not self._may_write(parent):
            _shadow(parent)
            self._made.add(parent)
        for path in reversed(missing[1:]):
            os.mkdir(path)
        if directory:
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        if parent in self._made:
            self._made.update(missing[1:])

    def _may_write(self, path: str) -> bool:
        if path in self._made:
            return True
        return any(path == root or path.startswith(f"{root}/") for root in self._writable)


def _shadow(directory: str) -> None:
    """Mount a tmpfs over a folder, with the same entries, so that entries can be added."""
    old = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with os.scandir(directory) as scan:
        entries = list(scan)
    _mount("tmpfs", directory, "tmpfs", 0, _SHADOW_OPTIONS)
    # "/" is this process's old root; only ".." resolves to the tmpfs that was mounted over it.
    new = os.open("/.." if directory == "/" else directory, os.O_PATH | os.O_CLOEXEC)
    for entry in entries:
        try:
            _show(entry, old, new)
        except OSError as error:
            # Deleted meanwhile, or another user's FUSE mount, which we cannot read: leave it out.
            if error.errno not in _UNREADABLE:
                raise
    if directory == "/":
        os.fchdir(new)
        os.chroot(".")
    os.close(old)
    os.close(new)


def _show(entry: "os.DirEntry[str]", old: int, new: int) -> None:
    source, target = f"/proc/self/fd/{old}/{entry.name}", f"/proc/self/fd/{new}/{entry.name}"
    if entry.is_symlink():
        os.symlink(os.readlink(source), target)
        return
    if entry.is_dir(follow_symlinks=False):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    _mount(source, target, None, _MS_BIND | _MS_REC)


def _flags(path: str) -> int:
    """Return the mount flags that a remount must repeat: a user namespace may not clear them."""
    flags = os.statvfs(path).f_flag
    return flags & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    result = _libc().mount(
        os.fsencode(source) if source is not None else None,
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    _check(result, target)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def main() -> int:
    """Test whether mounting works on this machine: return 0, or print the error and return 1."""
    try:
        enter_namespace()
        Mounter().apply([Mount("/dev/null", "/.trainingjob-mount-probe/file")])
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
