"""A program: removes a folder when no process holds the other end of its standard input any more.

Run by path, with the standard library and `folders` only. See `workspace`.
"""

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
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    from trainingjob_sandbox.folders import remove_tree  # noqa: PLC0415 - not on the path before

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    if sys.stdin.buffer.read() == KEEP:
        return
    for _ in range(_TRIES):
        # A process that was killed a moment ago may still be writing its last file.
        remove_tree(folder)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
