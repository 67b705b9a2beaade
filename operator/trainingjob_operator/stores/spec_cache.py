"""The specs of jobs that wait for their first pods, as the watch brought them.

The index holds no templates. Without this cache every job's start would read the job once more,
to get what the watch delivered a moment ago. Nothing depends on an entry being here: without one
the job is read live.

Bound: `limit_bytes` in all, as compact JSON; at the limit the oldest entry goes first. An entry is
taken once, and is no good after `MAX_AGE_S`.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_operator.core.job import JobKey, JobView

LIMIT_BYTES: Final = 16 * 1024 * 1024
MAX_AGE_S: Final = 60.0
"""A watch can be dead for a minute before it is noticed; an older picture starts nothing."""


@dataclass(frozen=True, slots=True)
class _Entry:
    uid: str
    version: str
    seen_at: float
    spec: bytes


class SpecCache:
    """Specs by job; each is handed out for the very version of the job that it was seen in."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes: Final = limit_bytes
        self.used_bytes = 0
        self._entries: Final[OrderedDict[JobKey, _Entry]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, job: JobView, spec: dict[str, Any], *, now: float) -> None:
        """Keep the spec of a job as it was just seen.

        Args:
            job: the job; its spec is a valid one.
            spec: `spec` as decoded from JSON.
            now: monotonic time in seconds.
        """
        self.drop(job.key)
        packed = json.dumps(spec, separators=(",", ":")).encode()
        if len(packed) > self.limit_bytes:
            return
        self._entries[job.key] = _Entry(job.uid, job.resource_version, now, packed)
        self.used_bytes += len(packed)
        while self.used_bytes > self.limit_bytes:
            self.drop(next(iter(self._entries)))

    def take(self, job: JobView, *, now: float) -> dict[str, Any] | None:
        """The spec of exactly this version of the job, if it is here and fresh; it goes with it."""
        entry = self._entries.get(job.key)
        if entry is None:
            return None
        self.drop(job.key)
        is_this = (entry.uid, entry.version) == (job.uid, job.resource_version)
        if not is_this or now - entry.seen_at > MAX_AGE_S:
            return None
        spec: dict[str, Any] = json.loads(entry.spec)
        return spec

    def drop(self, key: JobKey) -> None:
        """Forget a job's spec, if there is one."""
        if (entry := self._entries.pop(key, None)) is not None:
            self.used_bytes -= len(entry.spec)
