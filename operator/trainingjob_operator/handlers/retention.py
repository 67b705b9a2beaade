"""RetentionPolicies: the watch that keeps the book, and the one timer of the operator.

kopf watches them with `on.event` alone, which costs no request and no annotation. Jobs and pods have
a watch of our own: `kube.object_watch`.

The timer is on policies, one for each namespace at most, and never on jobs: there it would cost a
task each. The handlers return nothing and do not touch kopf's `patch`: after one conflict a timer
would be dead until a restart.

kopf would put a finalizer on each policy, to stop the timer before the policy goes. It is told not
to: kopf stops looking at a kind whose definition is being deleted, so that its finalizer would stay
for ever, and the definition with it. The timer ends when the policy is seen to go, or at its next
tick if that was never reported.
"""

import dataclasses
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import kopf

from trainingjob_api.constants import (
    GROUP,
    PLURAL_RETENTION_POLICIES,
    POLICY_NAME,
    VERSION,
)

_FIRST_TICK_S: Final = 45.0

OnEvent = Callable[[str | None, dict[str, Any]], object]
"""Takes a policy that was listed (None), ADDED, MODIFIED or DELETED."""


def register_policies(
    registry: kopf.OperatorRegistry,
    policy_event: OnEvent,
    *,
    is_there: Callable[[str, str], bool],
    tick: Callable[[str], Awaitable[None]],
    interval_s: float,
    jitter: Callable[[], float] = random.random,
) -> None:
    """Watch RetentionPolicies, and run the housekeeping of each once in an interval.

    Args:
        registry: kopf's handlers.
        policy_event: takes the events of RetentionPolicies.
        is_there: takes a namespace and a uid; True if this very policy was seen, and not seen to go.
        tick: makes one run for the policy of a namespace. Never fails.
        interval_s: from the beginning of one run to that of the next; one that takes longer skips
            the next.
        jitter: a number from 0 to 1 that parts the first runs of many policies.
    """

    @kopf.on.event(GROUP, VERSION, PLURAL_RETENTION_POLICIES, registry=registry, id="policy")
    async def on_policy(event: kopf.RawEvent, **_: Any) -> None:
        policy_event(event["type"], dict(event["object"]))

    def first_tick(**_: Any) -> float:
        return min(interval_s, _FIRST_TICK_S * (0.1 + 0.9 * jitter()))

    def is_ours(name: str | None, namespace: str | None, uid: str | None, **_: Any) -> bool:
        # kopf asks at every event, after `on_policy` was called with it.
        return name == POLICY_NAME and is_there(namespace or "", uid or "")

    @kopf.timer(
        GROUP,
        VERSION,
        PLURAL_RETENTION_POLICIES,
        registry=registry,
        id="housekeeping",
        when=is_ours,
        interval=interval_s,
        initial_delay=first_tick,
        sharp=True,
    )
    async def on_tick(namespace: str | None, uid: str | None, **_: Any) -> None:
        if not is_there(namespace or "", uid or ""):
            raise kopf.PermanentError("the policy is gone; its timer ends")
        await tick(namespace or "")

    _hold_nothing(registry)


def _hold_nothing(registry: kopf.OperatorRegistry) -> None:
    """Let timers do without a finalizer. kopf has no public name for that."""
    timers = registry._spawning._handlers  # noqa: SLF001 - see above
    timers[:] = [dataclasses.replace(each, requires_finalizer=False) for each in timers]
