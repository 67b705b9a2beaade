"""A program that removes a folder at the end of file of its standard input, a pipe.

That is when the last process with the pipe's write end has exited. It is run by path and imports
only the standard library and `folders`. See `workspace`.
"""

import signal
import sys
import time
from pathlib import Path
from typing import Final

KEEP: Final = b"keep"
"""Written into the pipe to keep the folder."""

_TRIES: Final = 50
_PAUSE_S: Final = 0.1


def main() -> None:
    """Wait for the end of file, then remove the folder."""
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from trainingjob_sandbox.folders import remove_tree  # noqa: PLC0415 - not on the path before

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    if sys.stdin.buffer.read() == KEEP:
        return
    for _ in range(_TRIES):
        # A process that has just been killed may still be writing a file.
        remove_tree(folder)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
