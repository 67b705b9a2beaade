"""Roots that no setting may name: a typing error must not make a machine's files our own."""

import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trainingjob_api.constants import REASON_UNSAFE_ROOT
from trainingjob_api.errors import VolumeError

_SYSTEM: Final = (
    *("/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt"),
    *("/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/Users"),  # noqa: S108
    *("/usr/local", "/usr/lib", "/usr/share", "/var/lib", "/var/log", "/var/tmp", "/var/run"),  # noqa: S108
)

_HOLDS_HOMES: Final = ("/home", "/var/home", "/export/home", "/Users")
"""Directories that hold home directories. The table of users lists none of a directory service,
and that of a container none of its node."""


def check_path(path: str) -> str:
    """Return a root's path as it is opened: absolute, without a slash at its end.

    Raises:
        VolumeError: it is not absolute, or is `/`.
    """
    parts = Path(path).parts
    if not Path(path).is_absolute() or ".." in parts:
        raise _refuse(path, "is not absolute")
    plain = "/" + "/".join(parts[1:])
    if plain == "/":
        raise _refuse(path, "is the whole machine")
    return plain


def check_directory(path: str, fd: int) -> None:
    """Refuse a directory of the system, a home, or one that holds this very program.

    By device and inode, so that no link or bind mount gives it another name.

    Raises:
        VolumeError: it is one of those.
    """
    found = os.fstat(fd)
    identity = (found.st_dev, found.st_ino)
    for what, forbidden in _forbidden():
        if _identity(forbidden) == identity:
            raise _refuse(path, what)
    above = os.stat("..", dir_fd=fd)
    if (above.st_dev, above.st_ino) in {_identity(each) for each in _HOLDS_HOMES}:
        raise _refuse(path, "is a home directory")


def _forbidden() -> Iterator[tuple[str, str]]:
    yield "is the whole machine", "/"
    for directory in _SYSTEM:
        yield "is a directory of the system", directory
    for home in _homes():
        yield "is or holds a home directory", home
        yield from (("is or holds a home directory", str(p)) for p in Path(home).parents)
    for place in (Path(__file__).resolve().parent, Path(sys.prefix), Path(sys.executable).parent):
        yield "holds this program", str(place)
        yield from (("holds this program", str(parent)) for parent in place.parents)


def _homes() -> Iterator[str]:
    """Return the homes of all users: as root, the operator could remove them all."""
    yield from {entry.pw_dir for entry in pwd.getpwall()}


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse(path: str, why: str) -> VolumeError:
    return VolumeError(
        f"{path!r} {why}: the volume's root must be a directory of its own, given by its whole "
        "path (TRAININGJOB_VOLUME__ROOT, --root)",
        reason=REASON_UNSAFE_ROOT,
    )
