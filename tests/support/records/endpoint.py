"""An in-memory fake of the record endpoint, on the simulated clock and with simulated crashes."""

import asyncio
from typing import Any

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.objects import Request, copied
from trainingjob_api.errors import EndpointUnavailableError, RecordConflictError, RecordError

Object = dict[str, Any]


class FakeEndpoint:
    """Keeps the highest revision of each record.

    Attributes:
        rows: by uid.
        writes: every record that arrived, in order.
        taken: those of them that were stored, or were stored before.
        down: while it is set, nothing arrives and this is raised.
        lost: so many answers are lost after the record was stored.
        delay_s: before each answer.
        in_flight, most_in_flight: writes at once.
    """

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self.rows: dict[str, Object] = {}
        self.writes: list[Object] = []
        self.taken: list[Object] = []
        self.down: RecordError | None = None
        self.lost = 0
        self.delay_s = 0.0
        self.tries = 0
        self.in_flight = self.most_in_flight = 0

    async def write(self, record: Object) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            async with Request(self._cluster, "put_record", record["name"]):
                await self._write(copied(record))
        finally:
            self.in_flight -= 1

    async def _write(self, record: Object) -> None:
        self.tries += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.down is not None:
            raise self.down
        self.writes.append(record)
        known = self.rows.get(record["uid"])
        if known is not None and known["revision"] == record["revision"] and known != record:
            raise RecordConflictError("HTTP 409: another record of this revision")
        self.taken.append(record)
        if known is None or known["revision"] < record["revision"]:
            self.rows[record["uid"]] = record
        if self.lost > 0:
            self.lost -= 1
            raise EndpointUnavailableError("no answer")

    def row(self, name: str = "mnist") -> Object:
        """Return the only row of the job of this name."""
        found = [row for row in self.rows.values() if row["name"] == name]
        assert len(found) == 1, found
        return found[0]
