"""Tracks in status the ranks whose logs are still to be archived (`status.logs.unread`, `unbegun`).

Memory of archived logs is lost with the process, and pods can disappear while no operator runs. So
the status write that ends an attempt also lists the ranks whose logs are still to be archived. An
entry is removed when the logs are archived or reported as missing. It needs a write of its own only
if a pod starts after the end of its attempt.

A pod that never started has no log that could be missing. This is also written to status, before the
pod is deleted with its resourceVersion as a precondition. Its node may have started it without having
reported that yet, so later observations of the pod override the entry. If it is never seen again,
because no operator ran or the watch was down, it counts as not started.

Bound: `MAX_UNREAD_ATTEMPTS` attempts; the logs of older ones are reported as missing. There are more
than two only if archiving is slower than the attempts and finalizers keep their pods.
"""

from collections.abc import Collection

from trainingjob_api.constants import MAX_NODES, MAX_UNREAD_ATTEMPTS
from trainingjob_operator.core.decision import ArchiveSearch, Observation
from trainingjob_operator.core.job import JobStatus, UnreadLogs
from trainingjob_operator.core.naming import format_indexes, parse_indexes
from trainingjob_operator.core.pod import PodView


def unread_ranks(seen: Observation) -> frozenset[int]:
    """Return the ranks of the current attempt whose pods are gone and whose log outcome is unknown.

    If the attempt was launched, every rank had a pod; else only those whose pods were seen to
    disappear.
    """
    status = seen.job.status
    launched = status.launched_attempt == status.attempt
    had = frozenset(range(seen.job.spec.num_nodes)) if launched else seen.vanished | seen.done
    here = {pod.index for pod in seen.pods if pod.attempt == status.attempt}
    unbegun = seen.unbegun | parse_indexes(status.unbegun_indexes)
    return had - here - _known(seen, status.attempt) - (unbegun - seen.begun)


def unbegun_ranks(status: JobStatus, seen: Observation, deleted_uids: Collection[str]) -> str:
    """Return the value of `unbegun_indexes`: ranks whose pods are deleted before they started.

    Args:
        status: the status to be written.
        seen: the observation that it was decided on.
        deleted_uids: uids of pods that are to be deleted.
    """
    same_attempt = status.attempt == seen.job.status.attempt
    listed = parse_indexes(seen.job.status.unbegun_indexes) if same_attempt else frozenset[int]()
    current = [pod for pod in seen.pods if pod.attempt == status.attempt]
    begun = {pod.index for pod in current if pod.has_log}
    begun |= seen.begun if same_attempt else frozenset()
    gone = {pod.index for pod in current if pod.uid in deleted_uids}
    ranks = frozenset(range(seen.job.spec.num_nodes))
    return format_indexes(((listed | gone) & ranks) - begun)


def remaining_unread(status: JobStatus, seen: Observation) -> tuple[UnreadLogs, ...]:
    """Return the value of `unread_logs`, the oldest attempt first.

    It contains the ranks listed before and the existing pods of ended attempts, also those that
    started after their attempt had ended. Ranks whose outcome is known are left out.

    Args:
        status: the status to be written.
        seen: the observation that it was decided on.
    """
    unread = _unread_by_attempt(seen)
    for pod in seen.pods:
        if _is_to_be_listed(pod, status) and pod.uid not in seen.logs:
            unread[pod.attempt] = unread.get(pod.attempt, frozenset()) | {pod.index}
    return tuple(
        UnreadLogs(attempt=attempt, ranks=format_indexes(unread[attempt]))
        for attempt in sorted(unread)
    )


def is_listed(pod: PodView, unread: tuple[UnreadLogs, ...]) -> bool:
    """True if the unread logs include the rank of a pod."""
    return any(e.attempt == pod.attempt and pod.index in parse_indexes(e.ranks) for e in unread)


def split_at_limit(
    unread: tuple[UnreadLogs, ...],
) -> tuple[tuple[UnreadLogs, ...], tuple[UnreadLogs, ...]]:
    """Split unread logs into those to give up, because there are too many attempts, and the rest."""
    return unread[:-MAX_UNREAD_ATTEMPTS], unread[-MAX_UNREAD_ATTEMPTS:]


def search_for_unread(seen: Observation) -> ArchiveSearch | None:
    """Return the search of the archive for unread ranks without a readable pod; None if there are none.

    It covers one attempt at a time.
    """
    for attempt, ranks in sorted(_unread_by_attempt(seen).items()):
        readable = {pod.index for pod in seen.pods if pod.attempt == attempt and pod.has_log}
        if gone := ranks - readable:
            return ArchiveSearch(attempt=attempt, ranks=gone)
    return None


def _unread_by_attempt(seen: Observation) -> dict[int, frozenset[int]]:
    """Return the ranks in `status.logs.unread` whose outcome is not known yet, by attempt."""
    listed: dict[int, frozenset[int]] = {}
    for entry in seen.job.status.unread_logs:
        ranks = parse_indexes(entry.ranks) | listed.get(entry.attempt, frozenset())
        listed[entry.attempt] = ranks - _known(seen, entry.attempt)
    return {attempt: ranks for attempt, ranks in listed.items() if ranks}


def _known(seen: Observation, attempt: int) -> frozenset[int]:
    """Return the ranks of an attempt whose logs are archived or given up, according to memory."""
    known: set[int] = set()
    for outcome in seen.logs.values():
        if outcome.attempt == attempt:
            known |= outcome.searched_ranks or {outcome.rank}
    return frozenset(known)


def _is_to_be_listed(pod: PodView, status: JobStatus) -> bool:
    """True if a pod's log is to be archived and nothing else in status shows that there is one.

    When a job ends with a launched attempt, `launchedAttempt` shows that each rank had a pod.
    """
    if not pod.has_log or not 0 <= pod.index < MAX_NODES or pod.attempt < 0:
        return False
    is_launched = status.launched_attempt == status.attempt
    ends_unlaunched = status.is_finished and not is_launched and pod.attempt == status.attempt
    return pod.attempt < status.attempt or ends_unlaunched
