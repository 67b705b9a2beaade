"""Pages of the live jobs: filters, counts, sorts and pages them on the server.

The cursor holds the sort key of the last row, not an offset: rows that are added or removed between two pages
neither repeat nor hide another row.
"""

import base64
import binascii
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.fair_scheduler import STEP, Work
from trainingjob_console.jobs.filters import Filter, Visible
from trainingjob_console.jobs.summary import Summary

MAX_PAGE: Final = 200
MAX_NAMESPACES: Final = 1000
_MAX_CURSOR: Final = 1024

Key = tuple[int | str, str]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position where the next page begins: first in the live jobs, then in the history.

    Attributes:
        sort: the sort order, a key of `SORTS`.
        now: the time of the first page in seconds since 1970. All pages compute the durations of running jobs
            with it, so that the order is stable.
        after: the sort key and the uid of the last row; None: the beginning.
        history: the cursor of the history; empty: the beginning of the history.
        live_done: True if all live jobs have been returned.
    """

    sort: str
    now: int
    after: Key | None
    history: str = ""
    live_done: bool = False

    def after_live_job(self, after: Key) -> "Cursor":
        """Return the position after a live job."""
        return Cursor(self.sort, self.now, after)

    def in_history(self, history: str) -> "Cursor":
        """Return a position in the history."""
        return Cursor(self.sort, self.now, None, history, live_done=True)

    def encode(self) -> str:
        """Return the cursor as URL-safe base64."""
        after = list(self.after) if self.after else None
        state = [self.sort, self.now, after, self.history, self.live_done]
        return base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Parse an encoded cursor.

        Raises:
            BadRequestError: it was not made by `encode`.
        """
        try:
            if len(text) > _MAX_CURSOR:
                raise ValueError(text)  # noqa: TRY301 - one error for every invalid cursor
            padded = text + "=" * (-len(text) % 4)
            state = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            sort, now, after, history, live_done = state
            known = sort in SORTS and isinstance(history, str) and _is_key(after)
            known = known and type(now) is int and type(live_done) is bool
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise BadRequestError("cursor: must be the `next` of an earlier answer") from error
        if not known or (after is not None and isinstance(after[0], str) != (sort in _BY_TEXT)):
            raise BadRequestError("cursor: must be the `next` of an earlier answer")
        key = (after[0], after[1]) if after is not None else None
        return cls(sort, now, key, history, live_done)


def _is_key(after: Any) -> bool:
    if after is None:
        return True
    first, uid = after
    return type(first) in (int, str) and isinstance(uid, str)


SORTS: Final[dict[str, Callable[[Summary, int], int | str]]] = {
    "-created": lambda job, _: -job.created,
    "created": lambda job, _: job.created,
    "name": lambda job, _: f"{job.name}/{job.namespace}",
    "phase": lambda job, _: job.phase,
    "duration": lambda job, now: -job.duration(now),
}
"""The sort orders by name, with their key functions. The uid breaks ties. `duration`: the longest first."""

_BY_TEXT: Final = frozenset({"name", "phase"})


@dataclass(frozen=True, slots=True)
class LivePage:
    """A page of live jobs.

    Attributes:
        jobs: the jobs of the page, sorted.
        total: the number of jobs that match the filter.
        counts: the number of matching jobs by phase, ignoring the filter's own phase.
        namespaces: at most `MAX_NAMESPACES` namespaces with jobs that the user may list, sorted.
        after: the sort key of the last row if there are more rows; None: this is the last page.
    """

    jobs: list[Summary]
    total: int
    counts: dict[str, int]
    namespaces: list[str]
    after: Key | None


def live_page(
    jobs: Iterable[Summary],
    wanted: Filter,
    visible: Visible,
    *,
    sort: str,
    now: int,
    after: Key | None,
    limit: int,
    live_done: bool = False,
) -> Work[LivePage]:
    """Compute a page in steps, from a snapshot of the jobs taken at the first step.

    Args:
        jobs: all live jobs.
        wanted: the filter.
        visible: returns True for namespaces whose jobs the user may list.
        sort: one of `SORTS`.
        now: seconds since 1970.
        after: the sort key of the previous page's last row; None: the beginning.
        limit: the maximum number of rows.
        live_done: all live jobs have been returned: only count them.
    """
    counts: Counter[str] = Counter()
    namespaces: dict[str, bool] = {}
    sort_key = SORTS[sort]
    found: list[tuple[Key, Summary]] = []
    for number, job in enumerate(list(jobs), start=1):
        if not number % STEP:
            # Keep only the page, and one more row that tells whether there are more.
            found = heapq.nsmallest(limit + 1, found, key=_key)
            yield
        seen = namespaces.get(job.namespace)
        if seen is None:
            seen = namespaces[job.namespace] = visible(job.namespace)
        if not seen or not wanted.matches(job, any_phase=True):
            continue
        counts[job.phase] += 1
        if not live_done and (not wanted.phase or job.phase == wanted.phase):
            key = (sort_key(job, now), job.uid)
            if after is None or key > after:
                found.append((key, job))
    found = heapq.nsmallest(limit + 1, found, key=_key)
    page = found[:limit]
    return LivePage(
        jobs=[job for _, job in page],
        total=counts[wanted.phase] if wanted.phase else counts.total(),
        counts={phase: number for phase, number in sorted(counts.items()) if number},
        namespaces=sorted(name for name, seen in namespaces.items() if seen)[:MAX_NAMESPACES],
        after=page[-1][0] if len(found) > len(page) else None,
    )


def _key(row: tuple[Key, Summary]) -> Key:
    return row[0]
