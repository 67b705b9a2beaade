"""Real memory pressure: a cgroup with a limit, and a process that fills it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.cgroup import memory_cgroup

MIB = 1024 * 1024
LIMIT = 256 * MIB
PROGRAM = """
import asyncio, json, sys, time
from datetime import timedelta
from pathlib import Path

Path(sys.argv[1]).write_text("0")  # enter the cgroup, before anything is allocated

from trainingjob_operator.clock import SteadyTime, SystemClock
from trainingjob_operator.core.job import Condition, JobKey, JobStatus, JobView
from trainingjob_operator.jobs.memory_use import MemoryMeter
from trainingjob_operator.jobs.memory_pressure import MemoryPressure
from trainingjob_operator.settings import MemorySettings
from trainingjob_operator.jobs.job_index import JobIndex

MIB = 1024 * 1024
clock, meter = SteadyTime(SystemClock()), MemoryMeter()
index = JobIndex(100_000)
pressure = MemoryPressure(
    MemorySettings(), index, clock, retention_s=3600.0, read=meter.read
)


def job(number, minutes):
    at = clock.now() - timedelta(minutes=minutes)
    ended = Condition(
        type="Complete", status=True, reason="x", message=f"{number}" * 50, last_transition_time=at
    )
    status = JobStatus(conditions=(ended,), completion_time=at) if minutes else JobStatus()
    return JobView(
        key=JobKey("ml", f"job-{number}"), uid=f"uid-{number}", resource_version=str(number),
        generation=1, created_at=at, status=status,
    )


async def until(holds):
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() < begun + 30, (meter.read(), len(index))
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


async def main():
    for number in range(60_000):
        index.observe_job(job(number, 20 if number >= 200 else 5 if number >= 100 else 0))
    task = asyncio.create_task(pressure.watch_memory())
    await asyncio.sleep(0)
    quiet = pressure.is_on
    full = meter.read()
    ballast = []
    while meter.read().percent < 85:
        ballast.append(bytearray(MIB))
        ballast[-1][:] = b"x" * MIB
    pressed = meter.read()
    forgot_s = await until(lambda: len(index) < 60_000)
    after = meter.read()
    left = len(index)
    ballast.clear()
    over_s = await until(lambda: not pressure.is_on)
    task.cancel()
    print(json.dumps({
        "source": full.source, "limit": full.limit, "quiet": quiet, "percent": pressed.percent,
        "forgot_s": forgot_s, "freed": pressed.used - after.used, "left": left, "over_s": over_s,
        "begun": pressure.begun_total, "ended": pressure.ended_total,
    }))


asyncio.run(main())
"""


def test_under_memory_pressure_caches_are_evicted_earlier_and_memory_is_freed(
    tmp_path: Path,
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with memory_cgroup(LIMIT) as cgroup:
        command = [sys.executable, str(program), str(cgroup / "cgroup.procs")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    print("memory pressure:", said)  # noqa: T201 - with `pytest -s` the figures
    assert said["source"] == "cgroup"
    assert said["limit"] == LIMIT
    assert not said["quiet"], "the start was to be without pressure"
    assert said["percent"] > 80
    assert said["forgot_s"] <= 10
    assert said["left"] == 200, "the live ones, and those that have just ended"
    assert said["freed"] > 20 * MIB, "the kernel has the memory back"
    assert said["over_s"] <= 10
    assert (said["begun"], said["ended"]) == (1, 1)
