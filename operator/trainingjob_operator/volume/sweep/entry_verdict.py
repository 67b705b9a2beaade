"""Judges one entry: remove it or keep it. The cheapest checks come first."""

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
class SweepContext:
    """The inputs of a sweep that are the same for all entries.

    Attributes:
        root: the volume.
        owner: the volume's owner.
        live: the jobs of the cluster.
        now_ns: the volume's time.
        cutoff_ns: an entry with a change after this time is kept.
        pressure_cutoff_ns: the same for removals over the quota.
        legacy: whether entries whose id is not a uid may be removed.
        tick: called regularly, to check the budget.
        young_entries: the cache of entries known to be young.
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
        reason: why it is removed or kept.
        tree: the result of measuring it, if it was measured.
        error: the error of the volume, if that is the reason.
    """

    reason: Reason
    tree: Tree | None = None
    error: OSError | None = None

    @property
    def is_removal(self) -> bool:
        """True if the entry is to be removed."""
        return self.reason is Reason.EXPIRED or self.reason is Reason.PRESSURE


_STAYS: Final = {reason: Verdict(reason) for reason in Reason}
"""Verdicts with a reason only, created once, since most entries get one of these."""


def judge(context: SweepContext, entry: Entry) -> Verdict | None:
    """Return the verdict about an entry; None: it no longer exists."""
    reason = judge_job(entry.job_id, context.live, legacy=context.legacy)
    if reason is None and context.young_entries.is_young(entry.path, context.cutoff_ns):
        reason = Reason.YOUNG
    if reason is not None:
        return _STAYS[reason]
    context.tick()  # `measure` does not call it in a tree of few files
    try:
        tree = _measure(context, entry.name, entry.at, moved=False)
        if tree.young:
            context.young_entries.note(entry.path, tree.newest_ns)
            return Verdict(Reason.YOUNG, tree)
        kept = _kept_reason(context, entry.name, entry.job_id, entry.at)
        return Verdict(kept or Reason.EXPIRED, tree)
    except FileNotFoundError:
        return None
    except EntryChangedError:
        return Verdict(Reason.CHANGED)
    except OSError as error:
        return refusal(error)


def judge_again(
    context: SweepContext, entry: Entry, *, name: str, trash: int, before: Tree | None
) -> Verdict:
    """Return the verdict about an entry after its rename into the trash, where no job can reach it.

    It may have been written to, or replaced, between the first verdict and the rename.

    Args:
        context: as for the first verdict; for an entry that is removed early, the cut-off is its
            own last change.
        entry: the entry as it was before.
        name: its name in the trash.
        trash: the trash's descriptor.
        before: the tree at the first verdict; None: unknown.
    """
    reason = judge_job(entry.job_id, context.live, legacy=context.legacy)
    if reason is not None:
        return Verdict(reason)
    try:
        tree = _measure(context, name, trash, moved=True)
        if before is not None and tree.top != before.top:
            return Verdict(Reason.CHANGED, tree)
        if tree.young:
            return Verdict(Reason.YOUNG if before is None else Reason.CHANGED, tree)
        kept = _kept_reason(context, name, entry.job_id, trash)
        return Verdict(kept or Reason.EXPIRED, tree)
    except (EntryChangedError, FileNotFoundError):
        return Verdict(Reason.CHANGED)
    except OSError as error:
        return refusal(error)


def refusal(error: OSError) -> Verdict:
    """Return the verdict after an error: an entry that cannot be read is always kept."""
    if error.errno == errno.EXDEV:
        return Verdict(Reason.MOUNT, error=error)
    if error.errno in _DENIED:
        return Verdict(Reason.DENIED, error=error)
    if error.errno in _BUSY:
        return Verdict(Reason.BUSY, error=error)
    return Verdict(Reason.UNREADABLE, error=error)


def _measure(context: SweepContext, name: str, at: int, *, moved: bool) -> Tree:
    return measure(
        name,
        at=at,
        device=context.root.device,
        now_ns=context.now_ns,
        cutoff_ns=context.cutoff_ns,
        moved=moved,
        tick=context.tick,
    )


def _kept_reason(context: SweepContext, name: str, job_id: str, at: int) -> Reason | None:
    """Return the reason if a file `.keep` or a mark keeps the entry, else None.

    Both are looked for in the entry and in the job's directory: a log and data sets have no mark of
    their own, and belong to the owner of the job's directory. The mark registry takes precedence
    over the mark in the directory, which the job may have changed.
    """
    root = context.root
    registered = registered_mark(job_id, at=root.fd, device=root.device)
    places = [(name, at)]
    if (name, at) != (directory_name(job_id), root.fd):
        places.append((directory_name(job_id), root.fd))
    for directory, place in places:
        kept, mark = _look_into(directory, place, root.device)
        if kept:
            return Reason.KEPT
        foreign = judge_mark(job_id, registered or mark, context.owner)
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
