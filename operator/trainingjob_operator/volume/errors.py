"""Errors of the file system: what they mean for the volume, or for one job's entry alone.

Jobs write to their own directories, as root if they like: whatever they do there must cost no
other job a log or a sweep. Errors that do not depend on the entry are the volume's.
"""

import errno
import os
from typing import Final

from trainingjob_api.constants import (
    REASON_PERMISSION_DENIED,
    REASON_READ_ONLY,
    REASON_UNSAFE_ROOT,
    REASON_VOLUME_UNAVAILABLE,
)
from trainingjob_api.errors import EntryError, VolumeError

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a full volume, or of one that has no inodes left."""

_OF_VOLUME: Final = DISK_FULL | {errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE}
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


def affects_whole_volume(error: OSError) -> bool:
    """True if an error at one entry concerns the whole volume, or the process.

    Any other error may be the entry's alone; whether it is, the volume has to be asked.
    """
    return error.errno in _OF_VOLUME


def to_volume_error(error: OSError, path: str) -> VolumeError:
    """Return what an error of the file system means for the volume, and what mends it."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return VolumeError(
            f"the files on {path} belong to other users ({error.strerror}): set "
            "`logVolume.asRoot=true` in the chart, or let the trainers and the operator share a "
            "group (`fsGroup`) and a umask of 002",
            reason=REASON_PERMISSION_DENIED,
        )
    if error.errno == errno.EROFS:
        return VolumeError(
            f"{path} is read-only: mount it writable in the operator's pod, or mend the volume "
            "if its file system turned read-only after an error",
            reason=REASON_READ_ONLY,
        )
    if error.errno in DISK_FULL:
        return VolumeError(
            f"{path} is full ({error.strerror}): remove what is not needed any more, or make the "
            "volume larger; `trainingjob prune` removes on a full volume, too",
            reason=REASON_VOLUME_UNAVAILABLE,
        )
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return VolumeError(
            f"{path} is a symbolic link or a file: name the directory itself",
            reason=REASON_UNSAFE_ROOT,
        )
    return VolumeError(
        f"{path} cannot be used ({error.strerror}): is the volume mounted there?",
        reason=REASON_VOLUME_UNAVAILABLE,
    )


def to_entry_error(error: OSError, name: str) -> EntryError:
    """Return what an error at one entry means for its job, and what mends it.

    Args:
        error: of the file system.
        name: the entry's, in the root.
    """
    said = error.strerror or os.strerror(error.errno or 0)
    if error.errno in _DENIED:
        return EntryError(
            f"{name} on the log volume does not let the operator in ({said}): give it back the "
            "permissions of the volume's root, or set `logVolume.asRoot=true` in the chart"
        )
    return EntryError(
        f"{name} on the log volume cannot be used ({said}): move away what lies there if it is "
        "not what the operator made"
    )


def to_sweep_error(error: OSError, path: str) -> VolumeError:
    """Return what the sweep says of the volume after an error at one of its entries.

    Args:
        error: of the file system.
        path: the volume's root.
    """
    if error.errno in _DENIED or affects_whole_volume(error):
        return to_volume_error(error, path)
    said = error.strerror or os.strerror(error.errno or 0)
    return VolumeError(
        f"an entry of {path} cannot be read or removed ({said}): it stays, and the others are "
        "swept; check the file system if this goes on",
        reason=REASON_VOLUME_UNAVAILABLE,
    )
