"""Removes one entry: moves it to the trash, judges it again, then deletes it or puts it back."""

from contextlib import suppress
from typing import Final

from trainingjob_api.constants import REASON_VOLUME_UNAVAILABLE
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.layout import TRASH, Entry, EntryDirectories, printable
from trainingjob_operator.volume.sweep.budget import Budget, BudgetError
from trainingjob_operator.volume.sweep.counters import SweepCounters
from trainingjob_operator.volume.sweep.deleter_pool import (
    MIN_FILES_FOR_PROCESS,
    DeleterPool,
    Deletion,
)
from trainingjob_operator.volume.sweep.entry_verdict import SweepContext, judge_again, refusal
from trainingjob_operator.volume.sweep.rules import Reason, judge_job
from trainingjob_operator.volume.sweep.trash import Leftover, Trash
from trainingjob_operator.volume.sweep.tree_age import Tree, stat_entry

_NOWHERE: Final = -1


class EntryRemover:
    """Removes entries of one root. Not thread-safe; must be closed."""

    def __init__(
        self,
        trash: Trash,
        directories: EntryDirectories,
        counters: SweepCounters,
        budget: Budget,
        *,
        processes: int,
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            trash: the root's trash.
            directories: the directories of entries, to put leftovers of the trash back.
            counters: counts removed and kept entries.
            budget: the budget of the sweep.
            processes: maximum number of deleter processes.
        """
        self._trash: Final = trash
        self._directories: Final = directories
        self._counters: Final = counters
        self._budget: Final = budget
        self._deleters: Final = DeleterPool(
            trash, limit=processes, tick=budget.tick, settle=self._settle
        )

    @property
    def processes(self) -> int:
        """Number of running deleter processes."""
        return self._deleters.running

    def finish(self) -> None:
        """Wait until all removed entries are deleted and counted.

        Raises:
            BudgetError: the time is used up.
            VolumeError: the volume is read-only.
        """
        self._deleters.finish()

    def close(self) -> None:
        """Stop running deletions; the next sweep continues them."""
        self._deleters.close()

    def remove(self, context: SweepContext, entry: Entry, before: Tree) -> None:
        """Remove an expired entry, unless it has changed since it was judged.

        Raises:
            BudgetError: the time is used up; the next sweep continues the removal.
            VolumeError: the volume is read-only.
        """
        if not self._budget.spend():
            self._counters.skip(Reason.CAPPED)
            return
        try:
            _, now = stat_entry(entry.name, at=entry.at)
            if now != before.top or now.ctime_ns != before.top.ctime_ns:
                self._counters.skip(Reason.CHANGED)
                return
            name = self._trash.move_in(entry)
        except FileNotFoundError:
            return
        except OSError as error:
            self._counters.kept(refusal(error))
            return
        self._finish(context, entry, name, before)

    def _finish(self, context: SweepContext, entry: Entry, name: str, before: Tree | None) -> None:
        """Delete an entry that is in the trash, or put it back."""
        try:
            verdict = judge_again(context, entry, name=name, trash=self._trash.fd, before=before)
        except BudgetError:
            # Keep it in the trash, where the next sweep starts. Putting it back would make it
            # younger, and a tree that takes longer to judge than one sweep would never be removed.
            self._counters.skip(Reason.CAPPED)
            raise
        except BaseException:
            self._put_back(entry, name)
            raise
        if verdict.is_removal:
            self._delete(name, entry.name, verdict.tree)
            return
        self._put_back(entry, name)
        self._counters.kept(verdict)

    def _put_back(self, entry: Entry, name: str) -> None:
        if entry.at == _NOWHERE:  # `datasets` is missing: keep it in the trash until that exists
            return
        try:
            self._trash.put_back(name, entry.name, entry.at)
        except FileNotFoundError:
            return
        except OSError as error:
            self._counters.fault(
                VolumeError(
                    f"{printable(entry.path)} could not be put back from {TRASH}/"
                    f"{printable(name)} ({error.strerror}): its name has been used again; move it "
                    "back by hand",
                    reason=REASON_VOLUME_UNAVAILABLE,
                ),
                errors=1,
            )

    def _delete(self, name: str, origin: str, tree: Tree | None) -> None:
        # A leftover was not measured, and may be large.
        bytes_, files = (tree.bytes, tree.files) if tree else (0, MIN_FILES_FOR_PROCESS)
        self._budget.freed(bytes_)  # in advance, as processes may delete it only later
        with suppress(BudgetError):  # the next tick raises it again
            self._deleters.delete(Deletion(name, origin, bytes_), files=files)

    def _settle(self, deletion: Deletion) -> None:
        """Count the result of a deletion.

        Raises:
            VolumeError: the volume is read-only.
        """
        gone = deletion.done and deletion.error is None
        self._counters.removed_entry(deletion.tally, deletion.bytes if gone else 0)
        if deletion.error is not None:
            self._counters.kept(refusal(deletion.error))
        elif not deletion.done:
            self._counters.skip(Reason.CAPPED)

    def finish_leftovers(self, context: SweepContext) -> None:
        """Judge the leftovers of an earlier sweep in the trash: their jobs may exist after all.

        Raises:
            BudgetError: the time is used up.
            VolumeError: the volume is read-only.
        """
        for leftover in self._trash.leftovers():
            self._budget.tick()
            if leftover.below is None:
                self._finish_condemned(context, leftover)
                continue
            at = self._directories.descriptor(leftover.below)
            place = _NOWHERE if at is None else at
            entry = Entry(leftover.origin, leftover.job_id, place, leftover.below)
            self._finish(context, entry, leftover.name, None)

    def _finish_condemned(self, context: SweepContext, leftover: Leftover) -> None:
        reason = judge_job(leftover.job_id, context.live, legacy=True)
        if reason is not None:
            self._counters.skip(reason)
        else:
            self._delete(leftover.name, leftover.origin, None)
