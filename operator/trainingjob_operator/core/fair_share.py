"""Which jobs of a complete list get the places that there are, when they are not enough for all."""

from collections import defaultdict
from collections.abc import Iterable

from trainingjob_api.constants import CONDITION_SUSPENDED
from trainingjob_operator.core.job import JobView


def in_fair_order(jobs: Iterable[JobView]) -> list[JobView]:
    """Return the jobs in the order in which they are to be taken in.

    Those that have started come first, because somebody has to look after their pods: they had
    places before a restart. Then each namespace's oldest, each one's second, and so on, among them
    suspended jobs that were resumed. Jobs that are over come last.
    """
    of_namespace: defaultdict[tuple[str, bool, bool], int] = defaultdict(int)
    turns: list[tuple[tuple[bool, bool, int], JobView]] = []
    for job in sorted(jobs, key=lambda each: (each.created_at, each.key)):
        is_over = job.status.is_finished
        is_new = not _has_started(job)
        number = of_namespace[job.key.namespace, is_over, is_new]
        of_namespace[job.key.namespace, is_over, is_new] += 1
        turns.append(((is_over, is_new, number), job))
    return [job for _, job in sorted(turns, key=lambda each: each[0])]


def _has_started(job: JobView) -> bool:
    """True if the job has pods, or had some a moment ago, as far as its status tells."""
    status = job.status
    is_parked = status.launched_attempt is None or status.is_true(CONDITION_SUSPENDED)
    return not is_parked or status.active + status.terminating > 0
