"""The run's folder, which goes away with the run, whatever way the run ends.

A process that is killed cannot tidy up. So a small process apart, the janitor, waits until the run
and all its children are gone and then removes the folder. It knows by a pipe: every one of them
holds the pipe's writing end, and its end of file comes when the last of them has ended.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from trainingjob_sandbox.run import janitor

_TIDY_S: Final = 15.0


class Workspace:
    """A fresh folder as a context manager.

    Attributes:
        folder: where it is.
        lifeline: a file descriptor that every child must inherit (`pass_fds`).
    """

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="trainingjob-run-")).resolve()
        end, self.lifeline = os.pipe()
        self._janitor = subprocess.Popen(
            # Isolated and without site-packages: it starts in milliseconds and stays small.
            [sys.executable, "-I", "-S", janitor.__file__, str(self.folder)],
            stdin=end,
            stdout=subprocess.DEVNULL,  # whoever reads the run's output need not wait for it
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is not for the janitor
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
            os.write(self.lifeline, janitor.KEEP)
        os.close(self.lifeline)
        self._janitor.wait(_TIDY_S)
