"""Errors of one job's entry, as against errors of the whole volume.

Jobs write to their own directories, as root if they like: whatever they do there must cost nobody
else a log or a sweep. Errors that do not depend on the entry are the volume's.
"""

import errno
import os
from typing import Final

from trainingjob_api.constants import REASON_VOLUME_UNAVAILABLE
from trainingjob_api.errors import EntryError, VolumeError
from trainingjob_operator.volume.full import NO_ROOM
from trainingjob_operator.volume.root import explain

_OF_VOLUME: Final = NO_ROOM | {errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE}


_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


def is_of_volume(error: OSError) -> bool:
    """True if an error at one entry speaks of the whole volume, or of the process.

    Any other error may be the entry's alone; whether it is, the volume has to be asked.
    """
    return error.errno in _OF_VOLUME


def explain_entry(error: OSError, name: str) -> EntryError:
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


def explain_refusal(error: OSError, path: str) -> VolumeError:
    """Return what the sweep says of the volume after an error at one of its entries.

    Args:
        error: of the file system.
        path: the volume's root.
    """
    if error.errno in _DENIED or is_of_volume(error):
        return explain(error, path)
    said = error.strerror or os.strerror(error.errno or 0)
    return VolumeError(
        f"an entry of {path} cannot be read or removed ({said}): it stays, and the others are "
        "swept; check the file system if this goes on",
        reason=REASON_VOLUME_UNAVAILABLE,
    )
