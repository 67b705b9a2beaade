"""Removing one entry: into the trash, judged once more, and then for good or back again."""

from contextlib import suppress
from typing import Final

from trainingjob_api.constants import REASON_VOLUME_UNAVAILABLE
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.layout import TRASH, Entry, EntryDirectories, printable
from trainingjob_operator.volume.sweep.budget import Budget, BudgetError
from trainingjob_operator.volume.sweep.counters import SweepCounters
from trainingjob_operator.volume.sweep.deleter_pool import WORTH_STARTING, DeleterPool, Deletion
from trainingjob_operator.volume.sweep.entry_verdict import Question, judge_again, refusal
from trainingjob_operator.volume.sweep.rules import Reason, judge_job
from trainingjob_operator.volume.sweep.trash import Leftover, Trash
from trainingjob_operator.volume.sweep.tree_age import Tree, look_at

_NOWHERE: Final = -1


class Remover:
    """Removes entries of one root. For one thread; `close` it."""

    def __init__(
        self,
        trash: Trash,
        places: EntryDirectories,
        sweep_tally: SweepCounters,
        budget: Budget,
        *,
        processes: int,
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            trash: the root's.
            places: where entries lie, for what is left in the trash.
            sweep_tally: counts what is done.
            budget: what may be done.
            processes: that delete beside this one, at most.
        """
        self._trash: Final = trash
        self._places: Final = places
        self._sweep_tally: Final = sweep_tally
        self._budget: Final = budget
        self._deleters: Final = DeleterPool(
            trash, limit=processes, tick=budget.tick, settle=self._settle
        )

    @property
    def processes(self) -> int:
        """Processes that delete just now."""
        return self._deleters.running

    def finish(self) -> None:
        """Wait until what was removed is deleted, and counted.

        Raises:
            BudgetError: the time is over.
            VolumeError: the whole volume takes no changes.
        """
        self._deleters.finish()

    def close(self) -> None:
        """End what is still being deleted; the next sweep goes on with it."""
        self._deleters.close()

    def remove(self, question: Question, entry: Entry, before: Tree) -> None:
        """Remove an entry that is due, unless it has changed since it was judged.

        Raises:
            BudgetError: the time is over; the next sweep goes on with it.
            VolumeError: the whole volume takes no changes.
        """
        if not self._budget.spend():
            self._sweep_tally.skip(Reason.CAPPED)
            return
        try:
            _, now = look_at(entry.name, at=entry.at)
            if now != before.top or now.ctime_ns != before.top.ctime_ns:
                self._sweep_tally.skip(Reason.CHANGED)
                return
            name = self._trash.move_in(entry)
        except FileNotFoundError:
            return
        except OSError as error:
            self._sweep_tally.kept(refusal(error))
            return
        self._finish(question, entry, name, before)

    def _finish(self, question: Question, entry: Entry, name: str, before: Tree | None) -> None:
        """Delete an entry that is in the trash, or put it back."""
        try:
            verdict = judge_again(question, entry, name=name, trash=self._trash.fd, before=before)
        except BudgetError:
            # It stays here, where the next sweep begins: put back it would be younger by that, and
            # what takes longer than a sweep would never go.
            self._sweep_tally.skip(Reason.CAPPED)
            raise
        except BaseException:
            self._put_back(entry, name)
            raise
        if verdict.goes:
            self._delete(name, entry.name, verdict.tree)
            return
        self._put_back(entry, name)
        self._sweep_tally.kept(verdict)

    def _put_back(self, entry: Entry, name: str) -> None:
        if entry.at == _NOWHERE:  # it stays in the trash until its place is there again
            return
        try:
            self._trash.put_back(name, entry.name, entry.at)
        except FileNotFoundError:
            return
        except OSError as error:
            self._sweep_tally.fault(
                VolumeError(
                    f"{printable(entry.path)} could not be put back from {TRASH}/"
                    f"{printable(name)} ({error.strerror}): its place was taken meanwhile; move it "
                    "where it belongs",
                    reason=REASON_VOLUME_UNAVAILABLE,
                ),
                errors=1,
            )

    def _delete(self, name: str, origin: str, tree: Tree | None) -> None:
        # What is left of a tree that was not measured may be large.
        bytes_, files = (tree.bytes, tree.files) if tree else (0, WORTH_STARTING)
        self._budget.freed(bytes_)  # before they are: what is deleted beside us counts as well
        with suppress(BudgetError):  # the next tick raises it again
            self._deleters.delete(Deletion(name, origin, bytes_), files=files)

    def _settle(self, deletion: Deletion) -> None:
        """Count what was deleted.

        Raises:
            VolumeError: the whole volume takes no changes.
        """
        gone = deletion.done and deletion.error is None
        self._sweep_tally.removed_entry(deletion.tally, deletion.bytes if gone else 0)
        if deletion.error is not None:
            self._sweep_tally.kept(refusal(deletion.error))
        elif not deletion.done:
            self._sweep_tally.skip(Reason.CAPPED)

    def finish_leftovers(self, question: Question) -> None:
        """Judge what an earlier sweep left in the trash: its jobs may exist after all.

        Raises:
            BudgetError: the time is over.
            VolumeError: the whole volume takes no changes.
        """
        for leftover in self._trash.leftovers():
            self._budget.tick()
            if leftover.below is None:
                self._finish_condemned(question, leftover)
                continue
            at = self._places.descriptor(leftover.below)
            place = _NOWHERE if at is None else at
            entry = Entry(leftover.origin, leftover.job_id, place, leftover.below)
            self._finish(question, entry, leftover.name, None)

    def _finish_condemned(self, question: Question, leftover: Leftover) -> None:
        reason = judge_job(leftover.job_id, question.live, legacy=True)
        if reason is not None:
            self._sweep_tally.skip(reason)
        else:
            self._delete(leftover.name, leftover.origin, None)
