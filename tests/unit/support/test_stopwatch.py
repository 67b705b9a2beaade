"""The stopwatch that leaves out what the machine gives to others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import stopwatch
from tests.support.processes.child import ChildProcess
from tests.support.processes.stopwatch import Stopwatch, waited_for_cpu_s


def test_the_time_that_a_process_waited_for_a_cpu_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, waited = 10.0, {1: 3.0, 2: 0.5}
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(stopwatch, "waited_for_cpu_s", lambda pid: waited[pid])
    took = Stopwatch(1, 2)
    now, waited = 15.0, {1: 4.0, 2: 1.0}
    assert took.seconds() == 3.5

    waited = {1: 0.0, 2: 1.0}  # it has ended
    assert took.seconds() == 3.5


def test_a_process_that_sleeps_does_not_wait_for_a_cpu() -> None:
    with subprocess.Popen(["sleep", "1"]) as process:
        took = Stopwatch(process.pid)
        process.wait()
        assert took.seconds() > 0.9
    assert waited_for_cpu_s(process.pid) == 0


def test_processes_that_share_a_cpu_wait_for_it() -> None:
    one = min(os.sched_getaffinity(0))
    loop = f"import os; os.sched_setaffinity(0, [{one}])\nwhile True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", loop]) for _ in "ab"]
    try:
        deadline = time.monotonic() + 30
        while not all(waited_for_cpu_s(each.pid) > 0.1 for each in busy):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        for each in busy:
            each.kill()
            each.wait()


class Sleeper(ChildProcess):
    def start(self) -> None:
        self.spawn(["sh", "-c", "trap 'exit 3' TERM; echo here; while :; do sleep 0.02; done"])


def test_a_child_is_asked_to_end_and_says_how_long_it_took(tmp_path: Path) -> None:
    with Sleeper(tmp_path / "log") as sleeper:
        while "here" not in sleeper.log():
            time.sleep(0.01)
        code, seconds = sleeper.terminate()
    assert (code, seconds < 5) == (3, True)
    assert not sleeper.is_running
