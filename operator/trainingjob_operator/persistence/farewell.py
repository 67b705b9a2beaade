"""For the day the operator goes: frees every object that our finalizers hold.

Run it with the operator scaled to 0, or it puts them back. Records that wait are stored first, for
as long as there is patience; what cannot be stored holds its job, unless it is given up, and then
its content goes where the caller says, before the job goes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from trainingjob_operator.constants import FINALIZER_RECORD, FINALIZER_RETENTION
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.rawread import mapping
from trainingjob_operator.core.recording import PENDING, REJECTED, is_owed
from trainingjob_operator.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    RecordConflictError,
    RecordError,
)
from trainingjob_operator.persistence.outbox import Writer
from trainingjob_operator.persistence.record import build_record

_AT_ONCE: Final = 8
_TRIES: Final = 5

Object = dict[str, Any]


class PageOfObjects(Protocol):
    """A part of a list."""

    @property
    def items(self) -> list[Object]:
        """The objects."""
        ...


class Objects(Protocol):
    """What it needs of the gateway."""

    def list_jobs(self, namespace: str | None) -> AsyncIterator[PageOfObjects]:
        """All jobs."""
        ...

    def list_policies(self, namespace: str | None) -> AsyncIterator[PageOfObjects]:
        """All RetentionPolicies."""
        ...

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        """Take a finalizer off an object, if it is still the version that was seen."""
        ...


@dataclass
class Account:
    """What became of everything.

    Attributes:
        released: objects that nothing of ours holds any more.
        stored: records that were stored on the way.
        lost: how many records were given up.
        held: what is still held: its record is not stored, or what the API server said.
    """

    released: int = 0
    stored: int = 0
    lost: int = 0
    held: list[str] = field(default_factory=list)


class Farewell:
    """Walks over all jobs and policies once."""

    def __init__(
        self,
        objects: Objects,
        writer: Writer | None,
        *,
        cluster: str,
        namespaces: Sequence[str | None],
        give_up: Callable[[Object], None] | None,
        patience_s: float,
        clock: Callable[[], float],
        policies_too: Sequence[str] = (),
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            objects: where jobs and policies are.
            writer: writes one record; None: there is no endpoint.
            cluster: the name of this cluster, for the record.
            namespaces: where to look; None alone stands for everywhere.
            give_up: takes a record that cannot be stored, whose job is freed then. It can come
                again, when its job changes just then. None: such jobs are held.
            patience_s: seconds for which records are tried, all in all.
            clock: monotonic seconds.
            policies_too: where to look for policies beside that.
        """
        self._objects: Final = objects
        self._writer: Final = writer
        self._cluster: Final = cluster
        self._namespaces: Final = namespaces
        self._policies_too: Final = policies_too
        self._give_up: Final = give_up
        self._clock: Final = clock
        self._until: Final = clock() + patience_s
        self._account: Final = Account()

    async def run(self) -> Account:
        """Free everything that may go.

        Raises:
            KubernetesError: the API server refused, or did not answer; run it again.
        """
        for namespace in self._namespaces:
            async for page in self._objects.list_jobs(namespace):
                held = [raw for raw in page.items if is_owed(job_view(raw))]
                for start in range(0, len(held), _AT_ONCE):
                    batch = held[start : start + _AT_ONCE]
                    # Let all of them end: a client that is closed below them tells nothing.
                    results = await asyncio.gather(
                        *(self._free_job(raw) for raw in batch), return_exceptions=True
                    )
                    for error in (result for result in results if result is not None):
                        raise error
            await self._free_policies(namespace)
        for namespace in self._policies_too:
            await self._free_policies(namespace)
        return self._account

    async def _free_policies(self, namespace: str | None) -> None:
        async for page in self._objects.list_policies(namespace):
            for raw in page.items:
                if FINALIZER_RETENTION in mapping(raw["metadata"]).get("finalizers", []):
                    await self._free(raw, FINALIZER_RETENTION)

    async def _free_job(self, raw: Object) -> None:
        job, is_lost = job_view(raw), False
        if job.status.is_finished and job.status.record_state in {PENDING, REJECTED}:
            record = self._record(job, raw)
            if await self._store(record):
                self._account.stored += 1
            elif self._give_up is not None:
                self._give_up(record)
                is_lost = True
            else:
                self._account.held.append(str(job.key))
                return
        if await self._free(raw, FINALIZER_RECORD):
            self._account.lost += is_lost

    async def _free(self, raw: Object, finalizer: str) -> bool:
        try:
            await self._objects.remove_finalizer(raw, finalizer)
        except (ConflictError, ForbiddenError, InvalidError) as error:
            # Somebody writes to it just now, or it is a namesake's by now (a failed `test` of a
            # JSON patch is a 422), or somebody's admission says no. That must not hold the others;
            # it is found again when this is run again.
            metadata = raw["metadata"]
            name = f"{metadata['namespace']}/{metadata['name']}"
            self._account.held.append(f"{name}: {error}")
            return False
        self._account.released += 1
        return True

    def _record(self, job: JobView, raw: Object) -> Object:
        labels = mapping(raw["metadata"].get("labels"))
        spec = mapping(raw.get("spec"))
        return build_record(job, job.status, labels=labels, spec=spec, cluster=self._cluster)

    async def _store(self, record: Object) -> bool:
        for number in range(_TRIES):
            left = self._until - self._clock()
            if self._writer is None or left <= 0:
                return False
            try:
                async with asyncio.timeout(left):
                    await self._writer.write(record)
            except RecordConflictError:
                if record["revision"] > 1:
                    return False
                # Stored before the terminal write, and then the process died. The object is the
                # truth, and a higher revision wins; see `core.recording`.
                record = record | {"revision": 2}
            except (RecordError, TimeoutError):
                await asyncio.sleep(min(0.2 * 2**number, left))
            else:
                return True
        return False
