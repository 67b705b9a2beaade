"""A cache of job specs and labels, which are too large for the index.

Starting a job needs its template, and its record the whole spec. The cache saves a read of the job,
whose manifest a watch event or the response to a write contained a moment ago. Nothing depends on
an entry: without one the job is read live.

Bound: `limit_bytes` in all, as compact JSON; at the limit the oldest entry is evicted. Manifests
larger than `LARGEST` are not cached; they are read when needed, within a limit of memory.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import JobKey, JobView

LIMIT_BYTES: Final = 16 * 1024 * 1024
LARGEST: Final = 64 * 1024
"""Bytes of the largest manifest that is kept."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The labels and the spec of a job, as its user wrote them.

    Attributes:
        seen_at: monotonic time in seconds.
    """

    labels: dict[str, str]
    spec: dict[str, Any]
    seen_at: float


@dataclass(frozen=True, slots=True)
class _Entry:
    uid: str
    version: str
    seen_at: float
    packed: bytes


class ManifestCache:
    """Manifests by job; each is returned only for the resourceVersion in which it was seen."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes: Final = limit_bytes
        self.used_bytes = 0
        self._entries: Final[OrderedDict[JobKey, _Entry]] = OrderedDict()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("manifest_cache_bytes", self.used_bytes, self.limit_bytes),)

    def __len__(self) -> int:
        return len(self._entries)

    def remember(self, job: JobView, raw: dict[str, Any], *, now: float) -> None:
        """Cache the manifest of a job as it was just seen.

        Args:
            job: the job; its spec is a valid one.
            raw: the job as decoded from JSON.
            now: monotonic time in seconds.
        """
        self.drop(job.key)
        manifest = [raw["metadata"].get("labels") or {}, raw["spec"]]
        # Not escaped, as the API server sends it: escapes would triple the size. `surrogatepass`,
        # because JSON can contain lone surrogates.
        text = json.dumps(manifest, ensure_ascii=False, separators=(",", ":"))
        packed = text.encode("utf-8", "surrogatepass")
        if len(packed) > min(self.limit_bytes, LARGEST):
            return
        self._entries[job.key] = _Entry(job.uid, job.resource_version, now, packed)
        self.used_bytes += len(packed)
        while self.used_bytes > self.limit_bytes:
            self.drop(next(iter(self._entries)))

    def get(self, job: JobView) -> Manifest | None:
        """Return the manifest of exactly this version of the job, if it is cached."""
        entry = self._entries.get(job.key)
        if entry is None or (entry.uid, entry.version) != (job.uid, job.resource_version):
            return None
        labels, spec = json.loads(entry.packed)
        return Manifest(labels, spec, entry.seen_at)

    def take_spec(self, job: JobView, *, not_before: float) -> dict[str, Any] | None:
        """Remove and return the spec of exactly this version, if it was seen at `not_before` or later."""
        manifest = self.get(job)
        self.drop(job.key)
        return manifest.spec if manifest is not None and manifest.seen_at >= not_before else None

    def drop(self, key: JobKey) -> None:
        """Forget a job's manifest, if there is one."""
        if (entry := self._entries.pop(key, None)) is not None:
            self.used_bytes -= len(entry.packed)
