"""Seconds as they pass for processes that share the machine with others."""

import os
import time
from pathlib import Path
from typing import Final


class FairTime:
    """A stopwatch that leaves out the time in which these processes waited for a CPU.

    So a promise of seconds can be held against a process on a machine that is busy with something
    else; on an idle one these are the seconds of the clock.

    Args:
        *processes: the pids of those that the measured work is done by.
    """

    def __init__(self, *processes: int) -> None:
        self._processes: Final = processes
        self._waited = dict.fromkeys(processes, 0.0)
        self.look()
        self._before: Final = dict(self._waited)
        self._begun: Final = time.monotonic()

    @classmethod
    def with_us(cls, *processes: int) -> "FairTime":
        """A stopwatch for work that this process has a part in, too."""
        return cls(os.getpid(), *processes)

    def seconds(self) -> float:
        """The time since the start. To be asked while the processes live; the last word counts."""
        self.look()
        waited = sum(self._waited.values()) - sum(self._before.values())
        return max(time.monotonic() - self._begun - waited, 0.0)

    def look(self) -> None:
        """Note how long each has waited by now."""
        for pid in self._processes:
            # One that has ended keeps the last figure; so threads that have ended lower no sum.
            self._waited[pid] = max(self._waited[pid], waited_for_cpu_s(pid))


def waited_for_cpu_s(pid: int) -> float:
    """Seconds that the threads of a process were ready to run and did not; 0: it is not known."""
    waited = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            waited += int(task.read_text().split()[1])
        except (OSError, IndexError):
            continue  # the thread has ended meanwhile
    return waited / 1e9
