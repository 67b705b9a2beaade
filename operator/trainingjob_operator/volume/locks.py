"""Locks on files of the volume, which exclude other processes, on other nodes as well."""

import errno
import fcntl
from typing import Final

NO_LOCKS_HERE: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP})
"""Errors by which a file system says that it has no locks, or none of this kind."""


def lock(fd: int) -> bool:
    """Lock an open file without waiting. The lock ends when the file is closed, or its process.

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
