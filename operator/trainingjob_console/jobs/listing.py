"""A page of the live jobs: filtered, counted, sorted and cut here, so that a browser holds one page.

The cursor names the last row by its place in the order, not by counting: rows that come and go in
between neither double nor hide another row.
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
    """The place where the next page begins.

    Attributes:
        sort: the order that it is a place of.
        now: seconds since 1970, when the first page was made: what runs on has a duration of then.
        after: the key of the last row, and its uid; None: the beginning.
        history: the record service's own cursor; empty: the beginning of the history.
        through: the live jobs are through.
    """

    sort: str
    now: int
    after: Key | None
    history: str = ""
    through: bool = False

    def go_on(self, after: Key) -> "Cursor":
        """Return the place after a live job."""
        return Cursor(self.sort, self.now, after)

    def go_through(self, history: str) -> "Cursor":
        """Return a place in the history."""
        return Cursor(self.sort, self.now, None, history, through=True)

    def encode(self) -> str:
        """Return it as a word that fits into a query."""
        after = list(self.after) if self.after else None
        place = [self.sort, self.now, after, self.history, self.through]
        return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, word: str) -> "Cursor":
        """Read such a word.

        Raises:
            BadRequestError: it was not made by `encode`.
        """
        try:
            if len(word) > _MAX_CURSOR:
                raise ValueError(word)  # noqa: TRY301 - one answer for all that is no cursor
            padded = word + "=" * (-len(word) % 4)
            place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            sort, now, after, history, through = place
            known = sort in SORTS and isinstance(history, str) and _is_key(after)
            known = known and type(now) is int and type(through) is bool
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise BadRequestError("cursor: must be the `next` of an earlier answer") from error
        if not known or (after is not None and isinstance(after[0], str) != (sort in _BY_TEXT)):
            raise BadRequestError("cursor: must be the `next` of an earlier answer")
        key = (after[0], after[1]) if after is not None else None
        return cls(sort, now, key, history, through)


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
"""Each order by name; the uid decides between equals. `duration`: the longest first."""

_BY_TEXT: Final = frozenset({"name", "phase"})


@dataclass(frozen=True, slots=True)
class LivePage:
    """Rows of live jobs.

    Attributes:
        jobs: in order.
        total: how many match the filter.
        counts: how many match it by phase, whatever the filter's own phase.
        namespaces: those with jobs that the user may list, at most `MAX_NAMESPACES`, sorted.
        after: the key of the last row if there are more.
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
    through: bool = False,
) -> Work[LivePage]:
    """Make a page, of the jobs as they are at the first step.

    Args:
        jobs: all live jobs.
        wanted: the filter.
        visible: the namespaces that the user may list.
        sort: one of `SORTS`.
        now: seconds since 1970.
        after: the key of the last row before; None: the beginning.
        limit: rows at most.
        through: the live jobs are through: only count them.
    """
    counts: Counter[str] = Counter()
    namespaces: dict[str, bool] = {}
    place = SORTS[sort]
    found: list[tuple[Key, Summary]] = []
    for number, job in enumerate(list(jobs), start=1):
        if not number % STEP:
            # No more than the page is kept, and one row that says whether there are more.
            found = heapq.nsmallest(limit + 1, found, key=_key)
            yield
        seen = namespaces.get(job.namespace)
        if seen is None:
            seen = namespaces[job.namespace] = visible(job.namespace)
        if not seen or not wanted.matches(job, any_phase=True):
            continue
        counts[job.phase] += 1
        if not through and (not wanted.phase or job.phase == wanted.phase):
            key = (place(job, now), job.uid)
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
