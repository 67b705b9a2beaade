"""Runs `trainingjob` with a wrong wall clock: `python -m tests.support.processes.wrong_clock`.

`clock.py` is the only reader of time, so a machine with another wall clock is one with another `now`;
the monotonic clock, which nobody can set, stays as it is. The seconds that it is ahead by are read
from a file at each look, so that a test sets the clock of a process that runs.
"""

import os
import runpy
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Self

from tests.support.processes.operator import OperatorProcess
from tests.support.repository import ROOT
from trainingjob_operator.clock import SystemClock

AHEAD = "AHEAD_BY_SECONDS_IN"
"""Variable with the path of that file."""


class OperatorWithWrongClock(OperatorProcess):
    """An operator whose wall clock is set by the test."""

    MODULE: ClassVar = "tests.support.processes.wrong_clock"

    def __init__(self, kubeconfig: Path, log: Path, ahead_s: float, **settings: str) -> None:
        self._file = log.with_suffix(".ahead")
        self.set_clock(ahead_s)
        paths = {AHEAD: str(self._file), "PYTHONPATH": str(ROOT)}
        super().__init__(kubeconfig, log, **settings, **paths)

    @classmethod
    def like(cls, operator: OperatorProcess, ahead_s: float) -> Self:
        """Return the same operator, with a wrong clock."""
        return cls(operator.kubeconfig, operator.log_path, ahead_s, **operator.settings)

    def set_clock(self, ahead_s: float) -> None:
        """Set the wall clock ahead of the true one; negative: behind it."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead_s))
        new.replace(self._file)


def main() -> None:
    """Run `trainingjob` with the arguments of this program."""
    file = Path(os.environ.pop(AHEAD))

    def now(_: SystemClock) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(file.read_text()))

    setattr(SystemClock, SystemClock.now.__name__, now)
    runpy.run_module("trainingjob_cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    sys.argv[0] = "trainingjob"
    main()
