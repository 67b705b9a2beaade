"""One sweep of the volume, from the first look at the root to the report."""

import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from trainingjob_api.constants import REASON_UNSAFE_LAYOUT
from trainingjob_api.errors import EntryChangedError, VolumeError
from trainingjob_operator.volume.layout import DATASETS, Entry, EntryDirectories
from trainingjob_operator.volume.mark_registry import MarkRegistry
from trainingjob_operator.volume.safe_open import open_directory
from trainingjob_operator.volume.sweep.budget import Budget, BudgetError, Limits, set_idle_io_class
from trainingjob_operator.volume.sweep.counters import SweepCounters
from trainingjob_operator.volume.sweep.entry_remover import Remover
from trainingjob_operator.volume.sweep.entry_verdict import Question, Verdict, judge
from trainingjob_operator.volume.sweep.quota import Candidates, QuotaSchedule
from trainingjob_operator.volume.sweep.rules import Reason, judge_job, share
from trainingjob_operator.volume.sweep.trash import Trash
from trainingjob_operator.volume.sweep.tree_age import Tree

_logger = logging.getLogger(__name__)

OnVerdict = Callable[[Entry, Verdict], None]
"""Called with every entry that was judged."""


@dataclass(frozen=True, slots=True)
class Due:
    """An entry that goes, and what it was at its verdict."""

    entry: Entry
    tree: Tree


class VolumePass:
    """One sweep."""

    def __init__(
        self,
        question: Question,
        limits: Limits,
        budget: Budget,
        sweep_tally: SweepCounters,
        quota_schedule: QuotaSchedule,
        *,
        after: str = "",
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            question: what is the same for all entries.
            limits: what may be done.
            budget: what is left of that.
            sweep_tally: counts what is done.
            quota_schedule: knows when the quota is looked at again.
            after: the entry at which the last sweep ran out of time; this one begins there.
        """
        self._question: Final = question
        self._limits: Final = limits
        self._budget: Final = budget
        self._sweep_tally: Final = sweep_tally
        self._quota_schedule: Final = quota_schedule
        self._after: Final = after
        self.stopped_at = ""
        """The entry at which the time was over, for the next sweep to begin with."""
        self.is_stuck = False
        """True if the time was over before the first question was answered."""
        self._remover: Remover | None = None

    @property
    def processes(self) -> int:
        """Processes that delete just now."""
        return self._remover.processes if self._remover is not None else 0

    def look(self, seen: OnVerdict) -> None:
        """Judge every entry, and remove nothing.

        Raises:
            VolumeError: the volume cannot be used.
        """
        with ExitStack() as stack, suppress(BudgetError):
            places = self._open_places(stack)
            for due in self._due(places.entries(), seen):
                seen(due.entry, Verdict(Reason.EXPIRED, due.tree))

    def sweep(self) -> None:
        """Remove what is due, and more if what no job owns takes more than its quota.

        Raises:
            VolumeError: the volume cannot be used, or takes no changes.
        """
        set_idle_io_class()
        with ExitStack() as stack:
            places = self._open_places(stack)
            trash = Trash.open(self._question.root.fd, self._question.root.device, self._tick)
            stack.callback(trash.close)
            with suppress(FileNotFoundError):
                trash.adopt(self._question.root.fd)
            remover = Remover(
                trash, places, self._sweep_tally, self._budget, processes=self._limits.processes
            )
            stack.callback(remover.close)
            self._remover = remover
            self._budget.allow(self._share_of(places))
            with suppress(BudgetError):
                with self._stuck_without_time():
                    remover.finish_leftovers(self._question)
                self._remove_due(places, remover)
                self._forget_marks(places)
                self._relieve(places, remover)

    def _tick(self) -> None:
        self._budget.tick()

    @contextmanager
    def _stuck_without_time(self) -> Iterator[None]:
        """Note that the next sweep needs more time, if this step does not come to its end."""
        try:
            yield
        except BudgetError:
            self.is_stuck = True
            raise

    def _open_places(self, stack: ExitStack) -> EntryDirectories:
        root = self._question.root
        datasets = None
        try:
            datasets, _ = open_directory(DATASETS, at=root.fd, device=root.device)
            stack.callback(os.close, datasets)
        except FileNotFoundError:
            pass
        except (OSError, EntryChangedError) as error:
            self._sweep_tally.fault(
                VolumeError(
                    f"{root.path}/{DATASETS} is no directory of this volume ({error}): it is not "
                    "entered; make it a plain directory, or set the root to where it is",
                    reason=REASON_UNSAFE_LAYOUT,
                ),
                errors=1,
            )
        return EntryDirectories(root.fd, datasets)

    def _share_of(self, places: EntryDirectories) -> int:
        entries = sum(1 for _ in places.entries())
        return share(entries, percent=self._limits.share_percent, at_least=self._limits.at_least)

    # --- what is due --------------------------------------------------------------------------

    def _remove_due(self, places: EntryDirectories, remover: Remover) -> None:
        with closing(self._due(self._in_turn(places), self._count)) as found:
            for due in found:
                remover.remove(self._question, due.entry, due.tree)
        remover.finish()

    def _count(self, entry: Entry, verdict: Verdict) -> None:
        self._sweep_tally.kept(verdict)

    def _due(self, entries: Iterator[Entry], kept: OnVerdict) -> Generator[Due, None, None]:
        """Yield the entries that go; call `kept` with the others."""
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

    def _in_turn(self, places: EntryDirectories) -> Iterator[Entry]:
        """Yield all entries, beginning where the last sweep ran out of time.

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

    def _forget_marks(self, places: EntryDirectories) -> None:
        """Forget whose files a job's were when there have been none for the maximum age."""
        question = self._question
        registry = MarkRegistry.open(at=question.root.fd, device=question.root.device)
        if registry is None:
            return
        with closing(registry):
            for name, uid, changed_ns in registry.entries():
                self._tick()
                is_old = changed_ns <= question.cutoff_ns
                if is_old and judge_job(uid, question.live) is None and not places.has_any_of(uid):
                    registry.forget(name)

    # --- when what no job owns takes too much -------------------------------------------------

    def _relieve(self, places: EntryDirectories, remover: Remover) -> None:
        """Remove before its time what no job owns, as far as it takes more than its quota.

        Nothing goes before all sizes are known: without the time for that, the next sweep has more.
        """
        quota = self._limits.quota
        if not quota or not self._quota_schedule.is_due():
            return
        self._quota_schedule.begin()
        with self._stuck_without_time():
            candidates = self._candidates(places)
        self._quota_schedule.rest()
        chosen = candidates.to_go(quota)
        if not chosen:
            return
        _logger.warning(
            "%s: files that no job owns take %d bytes, more than the quota of %d: up to %d entries "
            "go before their time",
            self._question.root.path,
            candidates.bytes,
            quota,
            len(chosen),
        )
        for entry, tree in chosen:
            # What is younger than it was when it was chosen is not the first to go any more.
            question = replace(self._question, cutoff_ns=tree.newest_ns)
            remover.remove(question, entry, tree)
        remover.finish()

    def _candidates(self, places: EntryDirectories) -> Candidates:
        candidates = Candidates()
        cutoff_ns = self._question.pressure_cutoff_ns
        question = replace(self._question, cutoff_ns=cutoff_ns, legacy=False)
        for entry in places.entries():
            if judge_job(entry.job_id, question.live) is not None:
                continue
            verdict = judge(question, entry)
            if verdict is not None and verdict.goes and verdict.tree is not None:
                candidates.add(entry, verdict.tree)
        return candidates
