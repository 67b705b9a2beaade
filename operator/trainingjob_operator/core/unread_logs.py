"""Ranks whose logs are not known to be archived, though their pods are gone or about to go.

What a process knows of logs goes with it, and pods can go while no operator runs. So what is still
to be archived when an attempt ends is noted in status, by the write that ends it. A note is removed
when the logs are known to be archived, or are said to be missing; it costs a write of its own only if
a pod begins after the end of its attempt.

Of a pod that has not begun there is no log to miss. That is noted as well, by the write before its
deletion, which the API server takes of the version only that was seen. A node can have begun it and
not reported that yet; so what is seen of it later counts more than the note. One of which nothing
is seen any more, while no operator runs or its watch is down, is taken for one that had not begun.

Bound: `MAX_UNREAD_ATTEMPTS` attempts; the logs of older ones are said to be missing. There are more
than two only if the archive is slower than the attempts, and finalizers keep their pods.
"""

from collections.abc import Collection

from trainingjob_api.constants import MAX_NODES, MAX_UNREAD_ATTEMPTS
from trainingjob_operator.core.decision import Observation, Survey
from trainingjob_operator.core.job import JobStatus, UnreadLogs
from trainingjob_operator.core.naming import format_indexes, parse_indexes
from trainingjob_operator.core.pod import PodView


def unread_ranks(seen: Observation) -> frozenset[int]:
    """Return the ranks of the current attempt that had a pod, of whose log nothing is known.

    Every rank had one if the attempt was launched; else those had one that were seen to go.
    """
    status = seen.job.status
    launched = status.launched_attempt == status.attempt
    had = frozenset(range(seen.job.spec.num_nodes)) if launched else seen.vanished | seen.done
    here = {pod.index for pod in seen.pods if pod.attempt == status.attempt}
    unbegun = seen.unbegun | parse_indexes(status.unbegun_indexes)
    return had - here - _known(seen, status.attempt) - (unbegun - seen.begun)


def unbegun_ranks(status: JobStatus, seen: Observation, going: Collection[str]) -> str:
    """Return what a status should say of ranks of its attempt that go before they have begun.

    Args:
        status: the status to be written.
        seen: what it was decided on.
        going: uids of pods that are to be deleted.
    """
    same_attempt = status.attempt == seen.job.status.attempt
    noted = parse_indexes(seen.job.status.unbegun_indexes) if same_attempt else frozenset[int]()
    current = [pod for pod in seen.pods if pod.attempt == status.attempt]
    begun = {pod.index for pod in current if pod.has_log}
    begun |= seen.begun if same_attempt else frozenset()
    gone = {pod.index for pod in current if pod.uid in going}
    ranks = frozenset(range(seen.job.spec.num_nodes))
    return format_indexes(((noted | gone) & ranks) - begun)


def still_unread(status: JobStatus, seen: Observation) -> tuple[UnreadLogs, ...]:
    """Return the note that a status should have: of all attempts, the oldest first.

    It has the ranks that were noted before, and the pods that are there, less what became known. A
    pod that began only after its attempt had ended is among them, too.

    Args:
        status: the status to be written.
        seen: what it was decided on.
    """
    owed = _noted(seen)
    for pod in seen.pods:
        if _is_to_be_noted(pod, status) and pod.uid not in seen.logs:
            owed[pod.attempt] = owed.get(pod.attempt, frozenset()) | {pod.index}
    return tuple(
        UnreadLogs(attempt=attempt, ranks=format_indexes(owed[attempt]))
        for attempt in sorted(owed)
    )


def is_noted(pod: PodView, unread: tuple[UnreadLogs, ...]) -> bool:
    """True if a note has the rank of a pod."""
    return any(e.attempt == pod.attempt and pod.index in parse_indexes(e.ranks) for e in unread)


def within_limit(
    unread: tuple[UnreadLogs, ...],
) -> tuple[tuple[UnreadLogs, ...], tuple[UnreadLogs, ...]]:
    """Split a note into what is given up, because it is of too many attempts, and the rest."""
    return unread[:-MAX_UNREAD_ATTEMPTS], unread[-MAX_UNREAD_ATTEMPTS:]


def survey_of_noted(seen: Observation) -> Survey | None:
    """Return what to ask the archive about noted ranks without a readable pod; None: nothing.

    It is asked about one attempt at a time.
    """
    for attempt, ranks in sorted(_noted(seen).items()):
        readable = {pod.index for pod in seen.pods if pod.attempt == attempt and pod.has_log}
        if gone := ranks - readable:
            return Survey(attempt=attempt, ranks=gone)
    return None


def _noted(seen: Observation) -> dict[int, frozenset[int]]:
    """Return the ranks that status notes, by attempt, of whose logs nothing is known yet."""
    noted: dict[int, frozenset[int]] = {}
    for entry in seen.job.status.unread_logs:
        ranks = parse_indexes(entry.ranks) | noted.get(entry.attempt, frozenset())
        noted[entry.attempt] = ranks - _known(seen, entry.attempt)
    return {attempt: ranks for attempt, ranks in noted.items() if ranks}


def _known(seen: Observation, attempt: int) -> frozenset[int]:
    """Return the ranks of an attempt whose logs are archived or given up, as memory has it."""
    known: set[int] = set()
    for outcome in seen.logs.values():
        if outcome.attempt == attempt:
            known |= outcome.looked_for or {outcome.rank}
    return frozenset(known)


def _is_to_be_noted(pod: PodView, status: JobStatus) -> bool:
    """True if the log of a pod is owed, and nothing else in status says that there is one.

    The ranks of a launched attempt are known by `launchedAttempt` when the job ends with it.
    """
    if not pod.has_log or not 0 <= pod.index < MAX_NODES or pod.attempt < 0:
        return False
    is_launched = status.launched_attempt == status.attempt
    ends_unlaunched = status.is_finished and not is_launched and pod.attempt == status.attempt
    return pod.attempt < status.attempt or ends_unlaunched
