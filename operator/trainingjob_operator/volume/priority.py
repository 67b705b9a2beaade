"""I/O that waits for everybody else's."""

import ctypes
import platform
from contextlib import suppress
from typing import Final

_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
_THIS_THREAD: Final = (1, 0)
_IDLE: Final = 3 << 13


def be_idle() -> None:
    """Give this thread the idle I/O class, where the machine has one.

    The class of its own I/O alone: its share of the processor stays, because a thread that holds
    Python's lock and is not given a processor would hold up the event loop.
    """
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).syscall(number, *_THIS_THREAD, _IDLE)
