"""The verdict about one entry: goes or stays. The cheapest question is asked first."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from trainingjob_api.errors import EntryChangedError
from trainingjob_operator.volume.layout import KEEP, Entry, directory_name
from trainingjob_operator.volume.mark_registry import registered_mark
from trainingjob_operator.volume.owner_files import read_mark
from trainingjob_operator.volume.ownership import Mark, Owner
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.safe_open import open_directory
from trainingjob_operator.volume.sweep.rules import LiveJobs, Reason, judge_job, judge_mark
from trainingjob_operator.volume.sweep.tree_age import Tree, measure
from trainingjob_operator.volume.sweep.young_entries import YoungEntries

_BUSY: Final = frozenset({errno.EBUSY, errno.ENOTEMPTY})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Question:
    """All that is the same for the entries of a sweep.

    Attributes:
        root: the volume.
        owner: whose it is.
        live: what the cluster knows.
        now_ns: the volume's time.
        cutoff_ns: what changed after this stays.
        pressure_cutoff_ns: what changed after this stays however full the volume is.
        legacy: whether ids that are no uid may go.
        tick: called now and then.
        young_entries: what is known to be young.
    """

    root: Root
    owner: Owner
    live: LiveJobs
    now_ns: int
    cutoff_ns: int
    pressure_cutoff_ns: int
    legacy: bool
    tick: Callable[[], None]
    young_entries: YoungEntries


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict about an entry.

    Attributes:
        reason: why it goes or stays.
        tree: what it is, as far as it was looked at.
        error: what the volume said, if that is why.
    """

    reason: Reason
    tree: Tree | None = None
    error: OSError | None = None

    @property
    def goes(self) -> bool:
        """True if the entry is to be removed."""
        return self.reason is Reason.EXPIRED or self.reason is Reason.PRESSURE


_STAYS: Final = {reason: Verdict(reason) for reason in Reason}
"""Made once: of most entries nothing else is ever said."""


def judge(question: Question, entry: Entry) -> Verdict | None:
    """Return whether an entry goes; None: it has gone already."""
    reason = judge_job(entry.job_id, question.live, legacy=question.legacy)
    if reason is None and question.young_entries.is_young(entry.path, question.cutoff_ns):
        reason = Reason.YOUNG
    if reason is not None:
        return _STAYS[reason]
    question.tick()  # the walk asks now and then, and never in a tree of a few files
    try:
        tree = _measure(question, entry.name, entry.at, moved=False)
        if tree.young:
            question.young_entries.note(entry.path, tree.newest_ns)
            return Verdict(Reason.YOUNG, tree)
        held = _held(question, entry.name, entry.job_id, entry.at)
        return Verdict(held or Reason.EXPIRED, tree)
    except FileNotFoundError:
        return None
    except EntryChangedError:
        return Verdict(Reason.CHANGED)
    except OSError as error:
        return refusal(error)


def judge_again(
    question: Question, entry: Entry, *, name: str, trash: int, before: Tree | None
) -> Verdict:
    """Return whether an entry goes that is in the trash already, where no job finds it any more.

    It may have been written to, or swapped, between the first verdict and the rename.

    Args:
        question: as for the first verdict; of what was younger then, the cut-off is its age.
        entry: what it was.
        name: its name in the trash.
        trash: the trash.
        before: what it was at the first verdict; None: that is unknown.
    """
    reason = judge_job(entry.job_id, question.live, legacy=question.legacy)
    if reason is not None:
        return Verdict(reason)
    try:
        tree = _measure(question, name, trash, moved=True)
        if before is not None and tree.top != before.top:
            return Verdict(Reason.CHANGED, tree)
        if tree.young:
            return Verdict(Reason.YOUNG if before is None else Reason.CHANGED, tree)
        held = _held(question, name, entry.job_id, trash)
        return Verdict(held or Reason.EXPIRED, tree)
    except (EntryChangedError, FileNotFoundError):
        return Verdict(Reason.CHANGED)
    except OSError as error:
        return refusal(error)


def refusal(error: OSError) -> Verdict:
    """Return the verdict after an error. An entry that cannot be read is neither old nor empty."""
    if error.errno == errno.EXDEV:
        return Verdict(Reason.MOUNT, error=error)
    if error.errno in _DENIED:
        return Verdict(Reason.DENIED, error=error)
    if error.errno in _BUSY:
        return Verdict(Reason.BUSY, error=error)
    return Verdict(Reason.UNREADABLE, error=error)


def _measure(question: Question, name: str, at: int, *, moved: bool) -> Tree:
    return measure(
        name,
        at=at,
        device=question.root.device,
        now_ns=question.now_ns,
        cutoff_ns=question.cutoff_ns,
        moved=moved,
        tick=question.tick,
    )


def _held(question: Question, name: str, job_id: str, at: int) -> Reason | None:
    """Return why a file `.keep` or a mark keeps it: its own, or that of the job's directory.

    A log and data sets have no mark themselves: they belong to the owner of the job's directory.
    What the register says goes before what a job may have made of its mark.
    """
    root = question.root
    noted = registered_mark(job_id, at=root.fd, device=root.device)
    places = [(name, at)]
    if (name, at) != (directory_name(job_id), root.fd):
        places.append((directory_name(job_id), root.fd))
    for directory, place in places:
        kept, mark = _look_into(directory, place, root.device)
        if kept:
            return Reason.KEPT
        foreign = judge_mark(job_id, noted or mark, question.owner)
        if foreign is not None:
            return foreign
    return None


def _look_into(name: str, at: int, device: int) -> tuple[bool, Mark | None]:
    try:
        fd, _ = open_directory(name, at=at, device=device)
    except (FileNotFoundError, NotADirectoryError):
        return False, None
    try:
        with suppress(FileNotFoundError):
            os.stat(KEEP, dir_fd=fd, follow_symlinks=False)
            return True, None
        return False, read_mark(at=fd)
    finally:
        os.close(fd)
