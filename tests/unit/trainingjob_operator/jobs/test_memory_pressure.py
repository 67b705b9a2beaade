"""Under memory pressure the index evicts sooner; nothing else changes."""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from tests.support.clock import START, FakeClock
from tests.support.cluster.simulated_time import LoopClock, in_simulated_time
from trainingjob_operator.clock import Clock, SteadyTime
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.job import Condition, JobKey, JobStatus, JobView
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.memory_pressure import MemoryPressure
from trainingjob_operator.jobs.memory_use import MemoryUse
from trainingjob_operator.settings import MemorySettings

HOUR_S: Final = 3600.0


class Memory:
    """As full as a test says; what is trimmed is noted."""

    def __init__(self, percent: int) -> None:
        self.percent: int | None = percent
        self.trims = 0
        self.announced: list[Event] = []
        self.can_tell = True

    def read(self) -> MemoryUse | None:
        return MemoryUse(self.percent, 100, "cgroup") if self.percent is not None else None

    def announce(self, event: Event) -> bool:
        if self.can_tell:
            self.announced.append(event)
        return self.can_tell

    def trim(self) -> bool:
        self.trims += 1
        return True


def job(name: str, *, ended_at: datetime | None = None, state: str = "Stored") -> JobView:
    ended = Condition(
        type="Complete", status=True, reason="x", message="", last_transition_time=START
    )
    status = JobStatus(conditions=(ended,), completion_time=ended_at, record_state=state)
    return JobView(
        key=JobKey("ml", name),
        uid=f"uid-of-{name}",
        resource_version="1",
        generation=1,
        created_at=START,
        status=status if ended_at is not None else JobStatus(),
    )


def index_of_ages(now: datetime) -> JobIndex:
    """Jobs that ended 5, 20 and 50 minutes ago, the last with its record unstored; and a live one."""
    index = JobIndex(100)
    index.observe_job(job("live"))
    for minutes in (50, 20, 5):
        state = "Pending" if minutes == 50 else "Stored"
        ended_at = now - timedelta(minutes=minutes)
        index.observe_job(job(f"ended-{minutes}", ended_at=ended_at, state=state))
    return index


def names(index: JobIndex) -> list[str]:
    return sorted(entry.job.key.name for entry in index)


def pressure_on(
    index: JobIndex,
    memory: Memory,
    *,
    clock: Clock | None = None,
    settings: MemorySettings | None = None,
) -> MemoryPressure:
    return MemoryPressure(
        settings or MemorySettings(),
        index,
        SteadyTime(clock or FakeClock()),
        retention_s=HOUR_S,
        read=memory.read,
        trim=memory.trim,
        announce=memory.announce,
    )


def test_below_the_limit_nothing_is_evicted() -> None:
    index, memory = index_of_ages(START), Memory(80)
    pressure = pressure_on(index, memory)
    pressure.check()
    assert len(index) == 4
    assert pressure.retention_s() == HOUR_S
    assert not memory.trims


def test_under_pressure_what_ended_a_quarter_of_an_hour_ago_is_forgotten() -> None:
    index, memory = index_of_ages(START), Memory(81)
    pressure = pressure_on(index, memory)
    pressure.check()
    assert names(index) == ["ended-5", "live"]
    assert pressure.retention_s() == 900
    assert pressure.forgotten_total == index.forgotten_total == 2
    assert memory.trims == 1, "and the memory is handed back"


def test_pressure_ends_below_the_lower_mark_and_not_before() -> None:
    memory = Memory(95)
    pressure = pressure_on(JobIndex(1), memory)
    seen = []
    for memory.percent in (95, 79, 70, 69, 71, 80, 81, 69):
        pressure.check()
        seen.append(pressure.is_on)
    assert seen == [True, True, True, False, False, False, True, False]
    assert (pressure.begun_total, pressure.ended_total) == (2, 2)
    assert pressure.retention_s() == HOUR_S


def test_each_change_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    memory = Memory(95)
    pressure = pressure_on(JobIndex(1), memory)
    for memory.percent in (95, 75, 95, 95, 60, 60):
        pressure.check()
    said = [record.getMessage().split(":")[0] for record in caplog.records]
    assert said == ["memory pressure", "memory pressure stays", "memory pressure is over"]
    assert "95 % of the limit" in caplog.messages[0]
    assert "TRAININGJOB_INDEX__MAX_JOBS" in caplog.messages[1], "it says what can be done"
    begun, over = memory.announced
    assert (begun.reason, begun.warning) == ("MemoryPressure", True)
    assert begun.message == (
        "memory pressure: 95 % of the limit (0 of 0 MiB); finished and suspended jobs leave the "
        "operator's memory after 900 s instead of 3600 s (objects, records and files stay)"
    )
    assert (over.reason, over.warning) == ("MemoryPressureOver", False)
    assert over.message == (
        "memory pressure is over: 60 % of the limit (0 of 0 MiB); finished and suspended jobs stay "
        "in the operator's memory for 3600 s again"
    )


def test_a_change_that_could_not_be_announced_is_announced_later_and_once() -> None:
    memory = Memory(95)
    memory.can_tell = False
    pressure = pressure_on(JobIndex(1), memory)
    for memory.percent in (95, 95):
        pressure.check()
    assert memory.announced == []
    memory.can_tell, memory.percent = True, None
    for _ in range(3):
        pressure.check()
    assert [event.reason for event in memory.announced] == ["MemoryPressure"]
    assert "95 % of the limit" in memory.announced[0].message


def test_of_several_changes_that_could_not_be_announced_only_the_last_one_is() -> None:
    memory = Memory(95)
    memory.can_tell = False
    pressure = pressure_on(JobIndex(1), memory)
    for memory.percent in (95, 60, 95, 60):
        pressure.check()
    memory.can_tell = True
    pressure.check()
    memory.percent = 95
    pressure.check()
    assert [event.reason for event in memory.announced] == ["MemoryPressureOver", "MemoryPressure"]


def test_a_retention_that_is_shorter_anyway_does_not_become_longer() -> None:
    settings = MemorySettings(retention=2 * HOUR_S)
    pressure = pressure_on(JobIndex(1), Memory(95), settings=settings)
    pressure.check()
    assert pressure.is_on
    assert pressure.retention_s() == HOUR_S


def test_memory_that_cannot_be_read_changes_nothing() -> None:
    index, memory = index_of_ages(START), Memory(95)
    pressure = pressure_on(index, memory)
    memory.percent = None
    pressure.check()
    assert not pressure.is_on
    memory.percent = 95
    pressure.check()
    memory.percent = None
    pressure.check()
    assert pressure.is_on


@in_simulated_time
async def test_it_is_seen_within_ten_seconds_and_goes_on_with_time() -> None:
    clock = LoopClock()
    index, memory = index_of_ages(clock.now()), Memory(50)
    pressure = pressure_on(index, memory, clock=clock)
    task = asyncio.create_task(pressure.watch_memory())
    await asyncio.sleep(60)
    assert len(index) == 4
    memory.percent = 90
    await asyncio.sleep(10)
    assert names(index) == ["ended-5", "live"]
    await asyncio.sleep(600)
    assert names(index) == ["live"]
    memory.percent = 50
    await asyncio.sleep(10)
    assert not pressure.is_on
    task.cancel()


@in_simulated_time
async def test_a_fault_at_one_look_does_not_end_the_watch() -> None:
    memory = Memory(95)

    class Broken(JobIndex):
        def evict_finished_before(self, when: datetime) -> int:
            raise ValueError("a bug")

    pressure = pressure_on(Broken(1), memory, clock=LoopClock())
    task = asyncio.create_task(pressure.watch_memory())
    await asyncio.sleep(60)
    assert not task.done()
    task.cancel()


def test_what_runs_stays_though_its_job_has_ended() -> None:
    index = index_of_ages(START)
    unfinished = replace(job("resumed"), resource_version="2")
    index.observe_job(unfinished)
    pressure_on(index, Memory(95)).check()
    assert "resumed" in names(index)
