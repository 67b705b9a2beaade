"""How many files and sockets the process may have open.

Container runtimes start processes with a soft limit of 1,024 for programs of the last century that
cannot count further, and a much larger hard one up to which each process may raise its own.
"""

import contextlib
import resource
from typing import Final

_ENOUGH: Final = 65_536
"""Nothing here needs more, and a limit of a billion makes some programs slow."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files as far as is allowed and of use; return what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: go on with less
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return descriptor_limit()


def descriptor_limit() -> int:
    """Return how many files the process may have open now, `_ENOUGH` at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)
