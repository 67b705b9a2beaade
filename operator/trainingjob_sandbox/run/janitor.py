"""A program: removes a folder when nobody holds the other end of its standard input any more.

Run by path, with the standard library only. See `workspace`.
"""

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

KEEP: Final = b"keep"
"""Written into the pipe: leave the folder where it is."""

_TRIES: Final = 50
_PAUSE_S: Final = 0.1


def main() -> None:
    """Wait, then remove."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    if sys.stdin.buffer.read() == KEEP:
        return
    for _ in range(_TRIES):
        # A process that was killed a moment ago may still be writing its last file.
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
