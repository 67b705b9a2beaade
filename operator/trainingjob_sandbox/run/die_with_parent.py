"""A program that executes another one with a parent-death signal (`PR_SET_PDEATHSIG`, Linux).

    python -I -S die_with_parent.py PARENT PROGRAM ARGUMENTS...

PARENT is the process id of the parent. The file is run by path and imports only the standard
library, so it starts in milliseconds. `preexec_fn` would do the same, but it is not safe in a
process with threads: it runs Python between fork and exec.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Set the parent-death signal, which survives `exec`, then execute the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    if os.getppid() == parent:  # else the parent died before the signal was set
        os.execvp(program[0], program)  # noqa: S606 - the parent's own command


if __name__ == "__main__":
    main()
