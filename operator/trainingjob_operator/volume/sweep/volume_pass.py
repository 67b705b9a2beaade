"""Runs one sweep: leftovers of the trash, expired entries, stale marks, then the quota."""

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
from trainingjob_operator.volume.sweep.entry_remover import EntryRemover
from trainingjob_operator.volume.sweep.entry_verdict import SweepContext, Verdict, judge
from trainingjob_operator.volume.sweep.quota import Candidates, QuotaSchedule
from trainingjob_operator.volume.sweep.rules import Reason, judge_job, share
from trainingjob_operator.volume.sweep.trash import Trash
from trainingjob_operator.volume.sweep.tree_age import Tree

_logger = logging.getLogger(__name__)

OnVerdict = Callable[[Entry, Verdict], None]
"""Called with each judged entry and its verdict."""


@dataclass(frozen=True, slots=True)
class Due:
    """An entry to remove, and its tree as measured for the verdict."""

    entry: Entry
    tree: Tree


class VolumePass:
    """One sweep, or one dry run."""

    def __init__(
        self,
        context: SweepContext,
        limits: Limits,
        budget: Budget,
        counters: SweepCounters,
        quota_schedule: QuotaSchedule,
        *,
        after: str = "",
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            context: the inputs that are the same for all entries.
            limits: the limits of the sweep.
            budget: the remaining budget.
            counters: counts removed and kept entries.
            quota_schedule: decides when the sizes are measured for the quota.
            after: the entry at which the last sweep ran out of time; this one starts there.
        """
        self._context: Final = context
        self._limits: Final = limits
        self._budget: Final = budget
        self._counters: Final = counters
        self._quota_schedule: Final = quota_schedule
        self._after: Final = after
        self.stopped_at = ""
        """The entry at which the time ran out; the next sweep starts with it."""
        self.is_stuck = False
        """True if the time ran out in the step that the sweep started with."""
        self._remover: EntryRemover | None = None

    @property
    def processes(self) -> int:
        """Number of running deleter processes."""
        return self._remover.processes if self._remover is not None else 0

    def dry_run(self, on_verdict: OnVerdict) -> None:
        """Judge every entry, and remove nothing.

        Raises:
            VolumeError: the volume cannot be used.
        """
        with ExitStack() as stack, suppress(BudgetError):
            directories = self._open_directories(stack)
            for due in self._due(directories.entries(), on_verdict):
                on_verdict(due.entry, Verdict(Reason.EXPIRED, due.tree))

    def sweep(self) -> None:
        """Remove expired entries, and further ones if files without a job exceed their quota.

        Raises:
            VolumeError: the volume cannot be used, or is read-only.
        """
        set_idle_io_class()
        with ExitStack() as stack:
            directories = self._open_directories(stack)
            trash = Trash.open(self._context.root.fd, self._context.root.device, self._tick)
            stack.callback(trash.close)
            with suppress(FileNotFoundError):
                trash.adopt(self._context.root.fd)
            remover = EntryRemover(
                trash, directories, self._counters, self._budget, processes=self._limits.processes
            )
            stack.callback(remover.close)
            self._remover = remover
            self._budget.set_entry_limit(self._entry_limit(directories))
            with suppress(BudgetError):
                with self._stuck_without_time():
                    remover.finish_leftovers(self._context)
                self._remove_due(directories, remover)
                self._forget_marks(directories)
                self._enforce_quota(directories, remover)

    def _tick(self) -> None:
        self._budget.tick()

    @contextmanager
    def _stuck_without_time(self) -> Iterator[None]:
        """Set `is_stuck` if the time runs out in this step, so that the next sweep gets more."""
        try:
            yield
        except BudgetError:
            self.is_stuck = True
            raise

    def _open_directories(self, stack: ExitStack) -> EntryDirectories:
        root = self._context.root
        datasets = None
        try:
            datasets, _ = open_directory(DATASETS, at=root.fd, device=root.device)
            stack.callback(os.close, datasets)
        except FileNotFoundError:
            pass
        except (OSError, EntryChangedError) as error:
            self._counters.fault(
                VolumeError(
                    f"{root.path}/{DATASETS} is not a directory of this volume ({error}): it is "
                    "not swept; make it a plain directory, or set the root to where it is",
                    reason=REASON_UNSAFE_LAYOUT,
                ),
                errors=1,
            )
        return EntryDirectories(root.fd, datasets)

    def _entry_limit(self, directories: EntryDirectories) -> int:
        entries = sum(1 for _ in directories.entries())
        return share(entries, percent=self._limits.share_percent, at_least=self._limits.at_least)

    # --- expired entries ----------------------------------------------------------------------

    def _remove_due(self, directories: EntryDirectories, remover: EntryRemover) -> None:
        with closing(self._due(self._entries_from_last_stop(directories), self._count)) as found:
            for due in found:
                remover.remove(self._context, due.entry, due.tree)
        remover.finish()

    def _count(self, entry: Entry, verdict: Verdict) -> None:
        self._counters.kept(verdict)

    def _due(self, entries: Iterator[Entry], kept: OnVerdict) -> Generator[Due, None, None]:
        """Yield the entries to remove; call `kept` with the others."""
        for entry in entries:
            try:
                verdict = judge(self._context, entry)
            except BudgetError:
                self.stopped_at = entry.path
                self.is_stuck = entry.path == self._after
                raise
            if verdict is None:
                continue
            if verdict.is_removal and verdict.tree is not None:
                yield Due(entry, verdict.tree)
            else:
                kept(entry, verdict)

    def _entries_from_last_stop(self, directories: EntryDirectories) -> Iterator[Entry]:
        """Yield all entries, starting where the last sweep ran out of time.

        Otherwise one entry that takes longer than a sweep would block all later entries for ever.
        """
        met = not self._after
        for entry in directories.entries():
            met = met or entry.path == self._after
            if met:
                yield entry
        if self._after:
            for entry in directories.entries():
                if met and entry.path == self._after:
                    return
                yield entry

    def _forget_marks(self, directories: EntryDirectories) -> None:
        """Remove old registered marks of deleted jobs without files."""
        context = self._context
        registry = MarkRegistry.open(at=context.root.fd, device=context.root.device)
        if registry is None:
            return
        with closing(registry):
            for name, uid, changed_ns in registry.entries():
                self._tick()
                is_old = changed_ns <= context.cutoff_ns
                if (
                    is_old
                    and judge_job(uid, context.live) is None
                    and not directories.has_any_of(uid)
                ):
                    registry.forget(name)

    # --- the quota ----------------------------------------------------------------------------

    def _enforce_quota(self, directories: EntryDirectories, remover: EntryRemover) -> None:
        """Remove unexpired entries without a job until they are within their quota.

        Nothing is removed before all sizes are measured. If the time runs out before that, the next
        sweep gets more.
        """
        quota = self._limits.quota
        if not quota or not self._quota_schedule.is_due():
            return
        self._quota_schedule.begin()
        with self._stuck_without_time():
            candidates = self._candidates(directories)
        self._quota_schedule.end()
        chosen = candidates.victims(quota)
        if not chosen:
            return
        _logger.warning(
            "%s: files that no job owns take %d bytes, more than the quota of %d: up to %d entries "
            "are removed before they expire",
            self._context.root.path,
            candidates.bytes,
            quota,
            len(chosen),
        )
        for entry, tree in chosen:
            # An entry that changed since it was chosen is no longer among the oldest: keep it.
            context = replace(self._context, cutoff_ns=tree.newest_ns)
            remover.remove(context, entry, tree)
        remover.finish()

    def _candidates(self, directories: EntryDirectories) -> Candidates:
        candidates = Candidates()
        cutoff_ns = self._context.pressure_cutoff_ns
        context = replace(self._context, cutoff_ns=cutoff_ns, legacy=False)
        for entry in directories.entries():
            if judge_job(entry.job_id, context.live) is not None:
                continue
            verdict = judge(context, entry)
            if verdict is not None and verdict.is_removal and verdict.tree is not None:
                candidates.add(entry, verdict.tree)
        return candidates
