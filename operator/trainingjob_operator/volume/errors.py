"""Translates file system errors (errno) into errors of the whole volume, or of one job's entry.

Jobs write to their own directories, possibly as root. Whatever they do there must not stop the
logs or the sweep of other jobs. Only errors that cannot depend on the entry count as errors of the
volume.
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
"""Errors of a volume without free space or inodes, or with an exhausted quota."""

_OF_VOLUME: Final = DISK_FULL | {errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE}
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


def affects_whole_volume(error: OSError) -> bool:
    """True if an error at one entry certainly affects the whole volume, or the process.

    Any other error may affect only the entry; the caller has to probe the volume to find out.
    """
    return error.errno in _OF_VOLUME


def to_volume_error(error: OSError, path: str) -> VolumeError:
    """Return the error to report for the volume; its message says how to fix it."""
    if error.errno in {errno.EACCES, errno.EPERM}:
        return VolumeError(
            f"the files on {path} belong to other users ({error.strerror}): set "
            "`logVolume.asRoot=true` in the chart, or let the trainers and the operator share a "
            "group (`fsGroup`) and use a umask of 002",
            reason=REASON_PERMISSION_DENIED,
        )
    if error.errno == errno.EROFS:
        return VolumeError(
            f"{path} is read-only: mount it writable in the operator's pod, or repair the volume "
            "if its file system became read-only after an error",
            reason=REASON_READ_ONLY,
        )
    if error.errno in DISK_FULL:
        return VolumeError(
            f"{path} is full ({error.strerror}): delete files that are no longer needed, or "
            "enlarge the volume; `trainingjob prune` also works on a full volume",
            reason=REASON_VOLUME_UNAVAILABLE,
        )
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return VolumeError(
            f"{path} is a symbolic link or a file: set the path of the directory itself",
            reason=REASON_UNSAFE_ROOT,
        )
    return VolumeError(
        f"{path} cannot be used ({error.strerror}): is the volume mounted there?",
        reason=REASON_VOLUME_UNAVAILABLE,
    )


def to_entry_error(error: OSError, name: str) -> EntryError:
    """Return the error to report for one job's entry; its message says how to fix it.

    Args:
        error: the file system's error.
        name: the name of the entry in the root.
    """
    said = error.strerror or os.strerror(error.errno or 0)
    if error.errno in _DENIED:
        return EntryError(
            f"the operator has no access to {name} on the log volume ({said}): restore the "
            "permissions of the volume's root on it, or set `logVolume.asRoot=true` in the chart"
        )
    return EntryError(
        f"{name} on the log volume cannot be used ({said}): move it away if the operator did not "
        "create it"
    )


def to_sweep_error(error: OSError, path: str) -> VolumeError:
    """Return the volume error that the sweep reports after an error at one of the entries.

    Args:
        error: the file system's error.
        path: the volume's root.
    """
    if error.errno in _DENIED or affects_whole_volume(error):
        return to_volume_error(error, path)
    said = error.strerror or os.strerror(error.errno or 0)
    return VolumeError(
        f"an entry of {path} cannot be read or removed ({said}): it is kept, and the others are "
        "swept; check the file system if this persists",
        reason=REASON_VOLUME_UNAVAILABLE,
    )
