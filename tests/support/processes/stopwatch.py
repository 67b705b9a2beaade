"""Measures elapsed time without the time that processes waited for a CPU."""

import os
import time
from pathlib import Path
from typing import Final


class Stopwatch:
    """A stopwatch that excludes the time in which these processes waited for a CPU.

       A time limit of a process can then be checked on a machine that is busy with other work; on
    an idle one these are the seconds of the clock.

       Args:
           *processes: PIDs of the processes that do the measured work.
    """

    def __init__(self, *processes: int) -> None:
        self._processes: Final = processes
        self._waited = dict.fromkeys(processes, 0.0)
        self.sample()
        self._before: Final = dict(self._waited)
        self._begun: Final = time.monotonic()

    @classmethod
    def including_this_process(cls, *processes: int) -> "Stopwatch":
        """Return a stopwatch that also covers this process."""
        return cls(os.getpid(), *processes)

    def seconds(self) -> float:
        """The time since the start. Of a process that has ended, the last value read before counts."""
        self.sample()
        waited = sum(self._waited.values()) - sum(self._before.values())
        return max(time.monotonic() - self._begun - waited, 0.0)

    def sample(self) -> None:
        """Read how long each process has waited so far."""
        for pid in self._processes:
            # An ended process keeps its last value; max() keeps ended threads from lowering the sum.
            self._waited[pid] = max(self._waited[pid], waited_for_cpu_s(pid))


def waited_for_cpu_s(pid: int) -> float:
    """Return the seconds for which the threads of a process were runnable but not running; 0: unknown."""
    waited = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            waited += int(task.read_text().split()[1])
        except (OSError, IndexError):
            continue  # the thread has ended meanwhile
    return waited / 1e9
