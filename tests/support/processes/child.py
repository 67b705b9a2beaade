"""A program of ours as a process of its own, with its output in a file."""

import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes.fair_time import FairTime
from tests.support.processes.starts import Running, start, starts_anew

_LOOK_S = 0.005


class ChildProcess:
    """A process that is started with the context and killed with it. Who inherits says how to start."""

    def __init__(self, log: Path) -> None:
        self.log_path = log
        self._process: Running | None = None
        self._is_anew = starts_anew()  # also when it is started again, by another test
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
        """Start the process; a log that is there is continued."""
        raise NotImplementedError

    def spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Run a command, its output going to the log."""
        with self.log_path.open("ab") as log:
            self._offset = log.tell()
            self._process = start(command, environment, log, log, anew=self._is_anew)

    @property
    def process(self) -> Running:
        """The process, which was started."""
        assert self._process is not None
        return self._process

    @property
    def is_running(self) -> bool:
        """True while the process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: no warning and no last words."""
        self.process.kill()
        self.process.wait()

    def terminate(self, *, patience_s: float = 60.0) -> tuple[int, float]:
        """SIGTERM: the exit code, and the seconds until it came, as `FairTime` counts them."""
        took = FairTime(self.process.pid)
        deadline = time.monotonic() + patience_s
        self.process.send_signal(signal.SIGTERM)
        while self.process.poll() is None:
            took.look()
            assert time.monotonic() < deadline, self.log()
            time.sleep(_LOOK_S)
        return self.process.wait(), took.seconds()

    def log(self) -> str:
        """What the process has logged since it was last started."""
        with self.log_path.open("rb") as log:
            log.seek(self._offset)
            return log.read().decode()


def clean_environment(*unwanted: str) -> dict[str, str]:
    """The variables of this process, without settings of ours and these."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TRAININGJOB_") and name not in unwanted
    }
