"""A program: becomes another one that dies with the process that started it (Linux).

    python -I -S tether.py PARENT PROGRAM ARGUMENTS...

PARENT is the starter's process id. Run by path, with the standard library only, so that asking the
kernel costs milliseconds; `preexec_fn` would run Python between fork and exec of a process with
threads.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Ask the kernel, then become the program: the wish survives `exec`."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    if os.getppid() == parent:  # else it has died before the kernel was asked
        os.execvp(program[0], program)  # noqa: S606 - the starter's own command


if __name__ == "__main__":
    main()
