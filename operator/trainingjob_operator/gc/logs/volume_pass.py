"""One sweep of the volume, from the first look at the root to the report."""

import heapq
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from trainingjob_operator.constants import REASON_UNSAFE_LAYOUT
from trainingjob_operator.core.pruning import Reason, excess, judge_job, share
from trainingjob_operator.errors import EntryChangedError, VolumeError
from trainingjob_operator.gc.logs.budget import Budget, BudgetError, Limits
from trainingjob_operator.gc.logs.judge import Question, Verdict, judge
from trainingjob_operator.gc.logs.ledger import Ledger
from trainingjob_operator.gc.logs.relief import Probe, Relief, nothing_freed
from trainingjob_operator.gc.logs.remover import Remover
from trainingjob_operator.volume.entries import Entry, Places
from trainingjob_operator.volume.names import DATASETS
from trainingjob_operator.volume.opening import open_directory
from trainingjob_operator.volume.priority import be_idle
from trainingjob_operator.volume.trash import Trash
from trainingjob_operator.volume.walk import Tree

_OLDEST: Final = 10_000
"""Entries that a full volume may have to give up, of which it remembers the oldest."""

Seen = Callable[[Entry, Verdict], None]
"""Told of every entry that was judged."""


@dataclass(frozen=True, slots=True)
class Due:
    """An entry that goes, and what it was when that was found."""

    entry: Entry
    tree: Tree


class VolumePass:
    """One sweep."""

    def __init__(
        self,
        question: Question,
        limits: Limits,
        budget: Budget,
        ledger: Ledger,
        relief: Relief,
        *,
        after: str = "",
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            question: what is the same for all entries.
            limits: what may be done.
            budget: what is left of that.
            ledger: counts what is done.
            relief: knows whether it helps to remove what is not due yet.
            after: the entry at which the last sweep ran out of time; this one begins there.
        """
        self._question: Final = question
        self._limits: Final = limits
        self._budget: Final = budget
        self._ledger: Final = ledger
        self._relief: Final = relief
        self._after: Final = after
        self.stopped_at = ""
        """The entry at which the time was over, for the next sweep."""
        self.is_stuck = False
        """Whether the time was over before the first question was answered."""
        self._remover: Remover | None = None

    @property
    def processes(self) -> int:
        """How many processes delete just now."""
        return self._remover.processes if self._remover is not None else 0

    def look(self, seen: Seen) -> None:
        """Judge every entry, and remove nothing.

        Raises:
            VolumeError: the volume cannot be used.
        """
        with ExitStack() as stack, suppress(BudgetError):
            places = self._open_places(stack)
            for due in self._due(places.entries(), seen):
                seen(due.entry, Verdict(Reason.EXPIRED, due.tree))

    def run(self) -> None:
        """Remove what is due, and more if the volume is too full.

        Raises:
            VolumeError: the volume cannot be used, or takes no changes.
        """
        be_idle()
        with ExitStack() as stack:
            places = self._open_places(stack)
            trash = Trash.open(self._question.root.fd, self._question.root.device, self._tick)
            stack.callback(trash.close)
            with suppress(FileNotFoundError):
                trash.adopt(self._question.root.fd)
            remover = Remover(
                trash, places, self._ledger, self._budget, processes=self._limits.processes
            )
            stack.callback(remover.close)
            self._remover = remover
            self._budget.allow(self._share_of(places))
            with suppress(BudgetError):
                with self._stuck_without_time():
                    remover.finish_leftovers(self._question)
                self._remove_due(places, remover)
                self._relieve(places, remover)

    def _tick(self) -> None:
        self._budget.tick()

    @contextmanager
    def _stuck_without_time(self) -> Iterator[None]:
        """What has to be got through with, or the next sweep begins with the same again."""
        try:
            yield
        except BudgetError:
            self.is_stuck = True
            raise

    def _open_places(self, stack: ExitStack) -> Places:
        root = self._question.root
        datasets = None
        try:
            datasets, _ = open_directory(DATASETS, at=root.fd, device=root.device)
            stack.callback(os.close, datasets)
        except FileNotFoundError:
            pass
        except (OSError, EntryChangedError) as error:
            self._ledger.fault(
                VolumeError(
                    f"{root.path}/{DATASETS} is no directory of this volume ({error}): it is not "
                    "entered; make it a plain directory, or set the root to where it is",
                    reason=REASON_UNSAFE_LAYOUT,
                ),
                errors=1,
            )
        return Places(root.fd, datasets)

    def _share_of(self, places: Places) -> int:
        entries = sum(1 for _ in places.entries())
        return share(entries, percent=self._limits.share_percent, at_least=self._limits.at_least)

    # --- what is due --------------------------------------------------------------------------

    def _remove_due(self, places: Places, remover: Remover) -> None:
        with closing(self._due(self._in_turn(places), self._count)) as found:
            for due in found:
                remover.remove(self._question, due.entry, due.tree)
        remover.finish()

    def _count(self, entry: Entry, verdict: Verdict) -> None:
        self._ledger.kept(verdict)

    def _due(self, entries: Iterator[Entry], kept: Seen) -> Generator[Due, None, None]:
        """The entries that go; of the others the caller is told."""
        for entry in entries:
            try:
                verdict = judge(self._question, entry)
            except BudgetError:
                self.stopped_at = entry.path
                self.is_stuck = entry.path == self._after
                raise
            if verdict is None:
                continue
            if verdict.goes and verdict.tree is not None:
                yield Due(entry, verdict.tree)
            else:
                kept(entry, verdict)

    def _in_turn(self, places: Places) -> Iterator[Entry]:
        """All entries, beginning where the last sweep ran out of time.

        Else one entry that takes longer than a sweep would keep all behind it for ever.
        """
        met = not self._after
        for entry in places.entries():
            met = met or entry.path == self._after
            if met:
                yield entry
        if self._after:
            for entry in places.entries():
                if met and entry.path == self._after:
                    return
                yield entry

    # --- when the volume is too full ----------------------------------------------------------

    def _relieve(self, places: Places, remover: Remover) -> None:
        """Remove the oldest of what no job owns until the volume is below its low mark."""
        limits = self._limits
        if limits.high_percent >= 100:  # noqa: PLR2004 - percent
            return
        needed = self._excess(limits.high_percent)
        if not needed:
            self._relief.reset()
            return
        if self._relief.is_paused():
            self._ledger.fault(nothing_freed(self._question.root.path))
            return
        begun = self._ledger.bytes_freed
        probe = Probe(self._used, needed, self._budget, limits.settle_s)
        with self._stuck_without_time():
            oldest = self._oldest(places)
        for _, _, due in oldest:
            if self._ledger.bytes_freed - begun >= needed or not self._excess(limits.low_percent):
                return
            if 2 * due.tree.linked > due.tree.files:
                continue  # other names keep what is in it
            # What is younger than it was when it was chosen is not the oldest any more.
            question = replace(self._question, cutoff_ns=due.tree.newest_ns)
            remover.remove(question, due.entry, due.tree)
            remover.finish()
            if probe.is_in_vain(self._ledger.bytes_freed - begun):
                self._relief.pause()
                self._ledger.fault(nothing_freed(self._question.root.path))
                return

    def _used(self) -> int:
        return self._question.root.usage().used

    def _excess(self, high_percent: float) -> int:
        return excess(
            self._question.root.usage(),
            high_percent=high_percent,
            low_percent=self._limits.low_percent,
        )

    def _oldest(self, places: Places) -> list[tuple[int, int, Due]]:
        heap: list[tuple[int, int, Due]] = []
        cutoff_ns = self._question.pressure_cutoff_ns
        question = replace(self._question, cutoff_ns=cutoff_ns, legacy=False)
        for number, entry in enumerate(places.entries()):
            if judge_job(entry.job_id, question.live) is not None:
                continue
            verdict = judge(question, entry)
            if verdict is None or not verdict.goes or verdict.tree is None:
                continue
            item = (-verdict.tree.newest_ns, number, Due(entry, verdict.tree))
            if len(heap) < _OLDEST:
                heapq.heappush(heap, item)
            else:
                heapq.heappushpop(heap, item)
        return sorted(heap, reverse=True)
