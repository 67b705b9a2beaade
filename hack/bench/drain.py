"""Measures how fast waiting records are stored after an outage of the endpoint."""

import asyncio
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hack.bench import audit
from hack.bench.access import Access, changes
from hack.bench.arena import arena
from hack.bench.contestants import OURS
from hack.bench.endpoints import record_service, recording_to
from hack.bench.manifests import collection
from hack.bench.measure import measure
from hack.bench.usage import cpu_s
from hack.bench.workload import Workload
from hack.ports import free_port

_LOOK_S: Final = 0.01
_PATIENCE_S: Final = 180.0


@dataclass(frozen=True)
class Drain:
    """The results of a drain.

    Attributes:
        records: records that were stored after the first look.
        seconds: from the first row in the database to the last one.
        settled_s: from the first row until every job says that its record is stored.
        cpu_ms: milliseconds of CPU of each process for each record, from the moment at which the
            record service is up until every job says that its record is stored.
        requests: own requests meanwhile, by verb and resource.
    """

    records: int
    seconds: float
    settled_s: float
    cpu_ms: dict[str, float]
    requests: Counter[str]

    @property
    def rate(self) -> float:
        """Return the records stored per second."""
        return self.records / max(self.seconds, 0.001)

    @property
    def acknowledged_rate(self) -> float:
        """Return the jobs per second whose status changed to stored."""
        return self.records / max(self.settled_s, 0.001)


def drain(assets: Path, root: Path, *, jobs: int) -> Drain:
    """Run this many jobs while the endpoint is down, then start the record service with SQLite.

    Raises:
        RuntimeError: jobs or records are missing at the end.
    """
    port, token_file = free_port(), root.with_name("bench.token")
    database = root.with_name("records.db")
    workload = Workload(name="outage", jobs=jobs, run_ms=100)
    with (
        recording_to(port, token_file),
        arena(assets, root, OURS, "completer") as ready,
    ):
        [measured] = asyncio.run(measure(ready, [workload]))
        if measured.finished < jobs:
            raise RuntimeError(f"{jobs - measured.finished} jobs did not end in the outage")
        # Not the observer's name: its certificate would be replaced while it runs.
        access = ready.access("bench-drain")
        waiting = asyncio.run(_waiting(access))
        log = ready.plane.audit_log
        start = audit.size(log)
        with record_service(root, port, database, token_file) as service:
            pids = ready.pids | {"records": service}
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            records, seconds, settled_s = asyncio.run(_watch(access, database, waiting))
            spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
        requests = audit.count(log, OURS.users, start=start, end=audit.size(log))
    return Drain(
        records,
        seconds,
        settled_s,
        cpu_ms={name: 1000 * each / waiting for name, each in spent.items()},
        requests=requests.detail,
    )


async def _watch(access: Access, database: Path, waiting: int) -> tuple[int, float, float]:
    """Return the records and seconds of a drain, from the database itself and from a watch of the jobs.

    Requests to the record service, or lists from the API server, would disturb the measurement.
    """
    settled = asyncio.create_task(_settled_at(access))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            first, first_at = await _rows(database, at_least=1)
            total, last_at = await _rows(database, at_least=waiting)
            return total - first, last_at - first_at, await settled - first_at
    except TimeoutError as error:
        raise RuntimeError(f"not all of {waiting} jobs had their record stored") from error
    finally:
        settled.cancel()


async def _rows(database: Path, *, at_least: int) -> tuple[int, float]:
    """Wait for this many rows; return their number and the time at which it was seen."""
    while True:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            [[found]] = connection.execute("SELECT count(*) FROM records").fetchall()
        if found >= at_least:
            return int(found), time.monotonic()
        await asyncio.sleep(_LOOK_S)


async def _settled_at(access: Access) -> float:
    """Wait until no record waits; return the time of the last job's status change."""
    waiting = set[str]()
    async with access.session(connections=1) as session:
        async for change in changes(session, collection("TrainingJob")):
            uid = change.object["metadata"]["uid"]
            if change.object["status"].get("recordState") == "Pending":
                waiting.add(uid)
            elif uid in waiting:
                waiting.remove(uid)
                if not waiting:
                    return change.at
    raise AssertionError("a watch goes on for ever")


async def _waiting(access: Access) -> int:
    """Return the number of jobs whose status has a waiting record."""
    query = {"fieldSelector": "status.recordState=Pending"}
    async with (
        access.session(connections=1) as session,
        session.get(collection("TrainingJob"), params=query) as answer,
    ):
        answer.raise_for_status()
        return len((await answer.json())["items"])
