"""Starting and following an attempt: nothing of it starts while something of the last one runs.

A pod that has ended and is kept by finalizers runs no more, and holds nothing that the
next attempt needs: the attempt is part of a pod's name.
"""

from datetime import datetime
from typing import Final

from trainingjob_api.constants import CONDITION_RESTARTING
from trainingjob_operator.core.cleanup import and_lingering, deletions, next_lingers_at
from trainingjob_operator.core.copies import having
from trainingjob_operator.core.deadlines import attempt_start
from trainingjob_operator.core.decision import DeletePod, Plan, Refusal
from trainingjob_operator.core.giving_back import come_back, holds_until, may_return_at
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.ranks import Ranks
from trainingjob_operator.core.readiness import (
    judge_readiness,
    kept_pods,
    mention_kept,
    set_readiness,
)
from trainingjob_operator.core.restart import may_start_at
from trainingjob_operator.core.situation import Situation
from trainingjob_operator.core.suspension import resumed

_NOT_GONE: Final = "pods of an earlier attempt have not gone yet"
_HELD_BESIDE: Final = 16


def _are_in_the_way(ranks: Ranks) -> bool:
    """True if something of earlier attempts may run, or too many of their pods are kept.

    Each attempt can leave as many pods as it has ranks, and all of them are remembered.
    """
    kept = sum(bool(pod.held_by) for pod in ranks.stale)
    return kept < len(ranks.stale) or kept > 2 * ranks.nodes + _HELD_BESIDE


def run_attempt(s: Situation) -> Plan:
    """Create what is missing of the current attempt, stop what is done, and say how it does."""
    decided = _follow(resumed(s))
    return having(decided, delete=decided.delete + _beside_the_done(s.ranks))


def _beside_the_done(ranks: Ranks) -> tuple[DeletePod, ...]:
    """Stop the pods of ranks that are done, of which other containers run on.

    That takes deleting them. That their ranks are done is in status before.
    """
    return deletions(p for p in ranks.current if p.side_containers and p.index in ranks.completed)


def _follow(s: Situation) -> Plan:
    if _are_in_the_way(s.ranks):
        kept = kept_pods(s.ranks.stale)
        message = and_lingering(_NOT_GONE, s.ranks.stale, now=s.now)
        waiting = s.not_ready("; ".join(filter(None, [message, kept])))
        return Plan(
            status=waiting.status,
            delete=deletions(s.ranks.stale),
            look_again_at=next_lingers_at(s.ranks.stale, now=s.now),
        )
    due = may_return_at(s.job, s.status, s.settings) or may_start_at(s.status, s.settings)
    if due is not None and s.now < due:
        return Plan(status=s.status, look_again_at=due)
    s = come_back(s)
    start = attempt_start(s.status, s.ranks, s.seen.refusal, now=s.now)
    s = with_launch(s.having(having(s.status, attempt_start_time=start)))
    refusal = s.seen.refusal if s.ranks.missing else None
    readiness = mention_kept(judge_readiness(s.ranks, refusal), s.ranks)
    status = set_readiness(s.draft, readiness).status
    if refusal is not None and s.now < (due := _ask_again_at(refusal, s)):
        return Plan(status=status, look_again_at=due)
    return Plan(status=status, create=tuple(sorted(s.ranks.missing)))


def with_launch(s: Situation) -> Situation:
    """Return the situation with what status is to say of an attempt whose pods have been created."""
    if s.ranks.current:
        s = s.no_restart_pending(f"attempt {s.status.attempt} has started")
        s = s.having(having(s.status, start_time=s.status.start_time or s.now))
    if not s.ranks.missing:
        s = s.having(having(s.status, launched_attempt=s.status.attempt))
    return s


def _ask_again_at(refusal: Refusal, s: Situation) -> datetime:
    """Return when to ask again: a last time, too, before what the attempt has is given back."""
    ends = holds_until(refusal, s.job, s.settings)
    if ends is None or refusal.refused_at >= ends:
        return refusal.retry_at
    return min(refusal.retry_at, ends)


def is_to_run(job: JobView) -> bool:
    """True if pods of the job are wanted: it is not over, and nothing forbids it to run."""
    is_over = job.status.is_finished or job.invalid is not None
    return not (job.spec.suspend or job.is_to_end or is_over)


def has_begun(job: JobView) -> bool:
    """True if status says that an attempt runs, or that the next one only has to be started."""
    status = job.status
    return status.launched_attempt == status.attempt or status.is_true(CONDITION_RESTARTING)
