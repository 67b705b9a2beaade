"""Raises the soft limit of open file descriptors (RLIMIT_NOFILE).

Container runtimes start processes with a soft limit of 1,024, for old programs that use `select`,
and a much higher hard limit, up to which a process may raise its own.
"""

import contextlib
import resource
from typing import Final

_ENOUGH: Final = 65_536
"""More are never needed here, and a limit of a billion makes some programs slow."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit up to the hard limit or `_ENOUGH`; return the resulting limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # forbidden in some sandboxes: go on
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return descriptor_limit()


def descriptor_limit() -> int:
    """Return the current soft limit of open files, at most `_ENOUGH`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)
