"""The temporary folder of a run, removed when the run ends, even if it is killed.

A killed process cannot clean up. So a separate small process (`folder_cleanup`) waits until the
run and all its children have exited, and then removes the folder. All of them hold the write end
of a pipe: its reader sees end of file when the last of them has exited.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from trainingjob_sandbox.run import folder_cleanup

_TIDY_S: Final = 15.0


class Workspace:
    """A context manager of a new temporary folder.

    Attributes:
        folder: the path of the folder.
        lifeline: the pipe's write end, which every child must inherit (`pass_fds`).
    """

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="trainingjob-run-")).resolve()
        end, self.lifeline = os.pipe()
        self._cleanup = subprocess.Popen(
            # Isolated and without site-packages: it starts in milliseconds and stays small.
            [sys.executable, "-I", "-S", folder_cleanup.__file__, str(self.folder)],
            stdin=end,
            stdout=subprocess.DEVNULL,  # a reader of the run's output must not wait for its exit
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal must not reach it
        )
        os.close(end)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._keep:
            os.write(self.lifeline, folder_cleanup.KEEP)
        os.close(self.lifeline)
        self._cleanup.wait(_TIDY_S)
