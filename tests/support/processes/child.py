"""Runs one of the project's programs as a child process that logs to a file."""

import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes.process_start import ProcessHandle, start_process, starts_anew
from tests.support.processes.stopwatch import Stopwatch

_LOOK_S = 0.005


class ChildProcess:
    """A process that is started and killed with the context. Subclasses define how to start it."""

    def __init__(self, log: Path) -> None:
        self.log_path = log
        self._process: ProcessHandle | None = None
        self._is_anew = starts_anew()  # also for later restarts by another test
        self._offset = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_running:
            self.kill()

    def start(self) -> None:
        """Start the process; an existing log is appended to."""
        raise NotImplementedError

    def spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Run a command, its output going to the log."""
        with self.log_path.open("ab") as log:
            self._offset = log.tell()
            self._process = start_process(command, environment, log, log, anew=self._is_anew)

    @property
    def process(self) -> ProcessHandle:
        """Return the started process."""
        assert self._process is not None
        return self._process

    @property
    def is_running(self) -> bool:
        """True while the process exists."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self, *, patience_s: float = 60.0) -> tuple[int, float]:
        """Send SIGTERM; return the exit code, and the seconds until the exit as measured by `Stopwatch`."""
        took = Stopwatch(self.process.pid)
        deadline = time.monotonic() + patience_s
        self.process.send_signal(signal.SIGTERM)
        while self.process.poll() is None:
            took.sample()
            assert time.monotonic() < deadline, self.log()
            time.sleep(_LOOK_S)
        return self.process.wait(), took.seconds()

    def log(self) -> str:
        """Return the log of the process since its last start."""
        with self.log_path.open("rb") as log:
            log.seek(self._offset)
            return log.read().decode()


def clean_environment(*unwanted: str) -> dict[str, str]:
    """Return the environment of this process, without the project's settings and these variables."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TRAININGJOB_") and name not in unwanted
    }
