"""Refuses volume roots that cannot be right: system directories, homes, and the program's own.

A typing error in a setting must not make the sweep delete a machine's files.
"""

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

_HOME_PARENTS: Final = ("/home", "/var/home", "/export/home", "/Users")
"""Parents of home directories. /etc/passwd lacks the users of a directory service (LDAP), and in a
container those of its node."""


def check_path(path: str) -> str:
    """Return the normalised path of a root: absolute, without a trailing slash.

    Raises:
        VolumeError: it is not absolute, or is `/`.
    """
    parts = Path(path).parts
    if not Path(path).is_absolute() or ".." in parts:
        raise _refuse(path, "is not absolute")
    plain = "/" + "/".join(parts[1:])
    if plain == "/":
        raise _refuse(path, "is the root of the machine")
    return plain


def check_directory(path: str, fd: int) -> None:
    """Refuse a system directory, a home directory, or one that contains this program.

    Compares device and inode, so a link or a bind mount under another name is found, too.

    Raises:
        VolumeError: it is one of those.
    """
    found = os.fstat(fd)
    identity = (found.st_dev, found.st_ino)
    for what, forbidden in _forbidden():
        if _identity(forbidden) == identity:
            raise _refuse(path, what)
    above = os.stat("..", dir_fd=fd)
    if (above.st_dev, above.st_ino) in {_identity(each) for each in _HOME_PARENTS}:
        raise _refuse(path, "is a home directory")


def _forbidden() -> Iterator[tuple[str, str]]:
    yield "is the root of the machine", "/"
    for directory in _SYSTEM:
        yield "is a system directory", directory
    for home in _homes():
        yield "is or contains a home directory", home
        yield from (("is or contains a home directory", str(p)) for p in Path(home).parents)
    for each in (Path(__file__).resolve().parent, Path(sys.prefix), Path(sys.executable).parent):
        yield "contains this program", str(each)
        yield from (("contains this program", str(parent)) for parent in each.parents)


def _homes() -> Iterator[str]:
    """Yield the home directories of all users: as root, the operator could remove any of them."""
    yield from {entry.pw_dir for entry in pwd.getpwall()}


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse(path: str, why: str) -> VolumeError:
    return VolumeError(
        f"{path!r} {why}: the volume's root must be a dedicated directory, given as an absolute "
        "path (TRAININGJOB_VOLUME__ROOT, --root)",
        reason=REASON_UNSAFE_ROOT,
    )
