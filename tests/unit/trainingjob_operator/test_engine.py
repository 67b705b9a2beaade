"""The engine: all its structures are bounded, and it reports all bounds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster.cluster import FakeCluster
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.core.bounded import Bounded
from trainingjob_operator.engine import Engine
from trainingjob_operator.log_archive.log_volume import log_volume_from
from trainingjob_operator.observability.metrics import Metrics
from trainingjob_operator.settings import PersistSettings, Settings, VolumeSettings

LIMITS = ("limit", "limit_bytes", "max_jobs", "max_keys", "max_waiting")


class Endpoint:
    """Nothing is sent to it."""

    async def write(self, record: dict[str, Any]) -> None:
        raise NotImplementedError


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine with a record endpoint and a log volume."""
    clock = SystemClock()
    settings = Settings(
        persist=PersistSettings(url="https://records.example/jobs"),
        volume=VolumeSettings(root=str(tmp_path)),
    )
    return Engine(
        settings,
        FakeCluster(clock),
        clock,
        namespace="ops",
        on_pass=print,
        counts=Metrics().gc,
        endpoint=Endpoint(),
        volume=log_volume_from(settings, clock),
    )


def parts_of(thing: object, seen: set[int]) -> Iterator[object]:
    """Everything of ours that can be reached from here, once."""
    if id(thing) in seen or not type(thing).__module__.startswith("trainingjob_operator."):
        return
    seen.add(id(thing))
    yield thing
    slots = [name for each in type(thing).__mro__ for name in getattr(each, "__slots__", ())]
    held = [*vars(thing).values()] if hasattr(thing, "__dict__") else []
    held += [getattr(thing, name, None) for name in slots]
    for each in held:
        owner = getattr(each, "__self__", each)  # of a bound method, as callbacks are
        yield from parts_of(owner, seen)


async def test_it_reports_every_structure_that_has_a_limit(engine: Engine) -> None:
    reported = {bound.name: bound for bound in engine.bounded}
    assert len(reported) == len(engine.bounded), "each once"
    limits = {bound.limit for bound in engine.bounded}
    found = list(parts_of(engine, set()))
    assert {"JobIndex", "Outbox", "LogSweep"} <= {type(each).__name__ for each in found}
    settings = "trainingjob_operator.settings"
    for part in found:
        if isinstance(part, Bounded):
            assert {bound.name for bound in part.bounds} <= set(reported), part
        elif type(part).__module__ != settings:
            for limit in (getattr(part, name, None) for name in LIMITS):
                assert limit is None or limit in limits, part
