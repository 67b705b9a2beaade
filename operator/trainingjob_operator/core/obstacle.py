"""What was in the way of a job's ranks when its time ran out."""

from typing import Final

from trainingjob_api.constants import CONDITION_PODS_READY
from trainingjob_operator.core.readiness import judge_readiness, laggard
from trainingjob_operator.core.situation import Situation
from trainingjob_operator.core.text import cut

_LONGEST: Final = 768
"""Bytes of it, so that it leaves room in a condition's message for what stands around it."""


def obstacle(s: Situation) -> str:
    """Return what keeps ranks from running, as words to follow another statement; "" if nothing.

    It is what the pods, or a refusal that is remembered, say now. Where neither says anything (no
    pod is there, and the operator has just started), it is what the status has said last.
    """
    if s.ranks.missing and s.seen.refusal is None:
        said = s.status.condition(CONDITION_PODS_READY)
        return _words(said.reason, said.message) if said is not None and not said.status else ""
    found = judge_readiness(s.ranks, s.seen.refusal if s.ranks.missing else None)
    return "" if found.ready else _words(found.reason, found.message + _who(s, found.message))


def _words(reason: str, message: str) -> str:
    return cut(f"; {reason}: {message}", _LONGEST)


def _who(s: Situation, message: str) -> str:
    """Return the first rank that does not run, if the message names none."""
    who = laggard(s.ranks)
    return f": {who}" if who and who not in message and not message.startswith("rank ") else ""
