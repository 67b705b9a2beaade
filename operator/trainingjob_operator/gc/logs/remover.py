"""Removing one entry: into the trash, judged once more, and then for good or back again."""

from typing import Final

from trainingjob_operator.constants import REASON_VOLUME_UNAVAILABLE
from trainingjob_operator.core.pruning import Reason, judge_job
from trainingjob_operator.errors import VolumeError
from trainingjob_operator.gc.logs.budget import Budget, BudgetError
from trainingjob_operator.gc.logs.judge import Question, Verdict, judge_again, refusal
from trainingjob_operator.gc.logs.ledger import Ledger
from trainingjob_operator.volume.entries import Entry, Places
from trainingjob_operator.volume.names import TRASH, printable
from trainingjob_operator.volume.trash import Leftover, Tally, Trash
from trainingjob_operator.volume.walk import Tree, look_at

_NOWHERE: Final = -1


class Remover:
    """Removes entries of one root. Safe to use from several threads."""

    def __init__(self, trash: Trash, places: Places, ledger: Ledger, budget: Budget) -> None:
        """Prepare; nothing is done yet.

        Args:
            trash: the root's.
            places: where entries lie, for what is left in the trash.
            ledger: counts what is done.
            budget: what may be done.
        """
        self._trash: Final = trash
        self._places: Final = places
        self._ledger: Final = ledger
        self._budget: Final = budget

    def remove(self, question: Question, entry: Entry, before: Tree) -> None:
        """Remove an entry that is due, unless it has changed since it was judged.

        Raises:
            VolumeError: the whole volume takes no changes.
        """
        if not self._budget.spend():
            self._ledger.skip(Reason.CAPPED)
            return
        try:
            _, now = look_at(entry.name, at=entry.at)
            if now != before.top or now.ctime_ns != before.top.ctime_ns:
                self._ledger.skip(Reason.CHANGED)
                return
            name = self._trash.take(entry)
        except FileNotFoundError:
            return
        except OSError as error:
            self._ledger.kept(refusal(error))
            return
        self._finish(question, entry, name, before)

    def _finish(self, question: Question, entry: Entry, name: str, before: Tree | None) -> None:
        """What lies in the trash under its own name goes, or goes back."""
        verdict: Verdict | None = None
        try:
            verdict = judge_again(question, entry, name=name, trash=self._trash.fd, before=before)
        except BudgetError:
            self._ledger.skip(Reason.CAPPED)
        finally:
            if verdict is None or not verdict.goes:
                self._put_back(entry, name)
        if verdict is None:
            return
        if not verdict.goes:
            self._ledger.kept(verdict)
            return
        self._delete(name, entry.name, verdict.tree.bytes if verdict.tree else 0)

    def _put_back(self, entry: Entry, name: str) -> None:
        if entry.at == _NOWHERE:  # it stays in the trash until its place is there again
            return
        try:
            self._trash.put_back(name, entry.name, entry.at)
        except FileNotFoundError:
            return
        except OSError as error:
            self._ledger.fault(
                VolumeError(
                    f"{printable(entry.path)} could not be put back from {TRASH}/"
                    f"{printable(name)} ({error.strerror}): its place was taken meanwhile; move it "
                    "where it belongs",
                    reason=REASON_VOLUME_UNAVAILABLE,
                ),
                errors=1,
            )

    def _delete(self, name: str, origin: str, bytes_: int) -> None:
        tally = Tally()
        try:
            self._trash.delete(name, origin, tally)
        except BudgetError:
            self._ledger.skip(Reason.CAPPED)
            bytes_ = 0
        except OSError as error:
            self._ledger.kept(refusal(error))
            bytes_ = 0
        finally:
            self._ledger.removed_entry(tally, bytes_)
            self._budget.freed(bytes_)

    def finish_leftovers(self, question: Question) -> None:
        """See to what an earlier process left in the trash: its jobs may live after all.

        Raises:
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
            self._ledger.skip(reason)
        else:
            self._delete(leftover.name, leftover.origin, 0)
