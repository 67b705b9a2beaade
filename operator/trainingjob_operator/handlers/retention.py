"""Registers kopf's handlers of RetentionPolicies: the watch, and the timer of each policy.

The watch uses `on.event` only, which needs no requests and no annotations. Jobs and pods are
watched by our own `kube.object_watch`.

Timers are on policies, at most one per namespace, and not on jobs, where each would cost a task.
The handlers return None and do not change kopf's `patch`: after a conflict on a patch, a timer
would not run again until a restart.

By default kopf adds a finalizer to each policy, to stop the timer before the policy is deleted.
This is disabled. kopf stops watching a kind whose CRD is being deleted, so its finalizers would
remain and block the deletion of the CRD for ever. Instead, the timer ends when the deletion of the
policy is observed, or at its next tick if that event was missed.
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
    is_current: Callable[[str, str], bool],
    tick: Callable[[str], Awaitable[None]],
    interval_s: float,
    jitter: Callable[[], float] = random.random,
) -> None:
    """Watch RetentionPolicies, and run the retention of each one periodically.

    Args:
        registry: kopf's handlers.
        policy_event: takes the events of RetentionPolicies.
        is_current: takes a namespace and a uid; True if the policy with this uid exists, as far as
            its events were seen.
        tick: makes one run for the policy of a namespace. Never raises.
        interval_s: seconds from the start of one run to the start of the next; a run that takes
            longer skips the next.
        jitter: returns a number from 0 to 1, which spreads the first runs of many policies.
    """

    @kopf.on.event(GROUP, VERSION, PLURAL_RETENTION_POLICIES, registry=registry, id="policy")
    async def on_policy(event: kopf.RawEvent, **_: Any) -> None:
        policy_event(event["type"], dict(event["object"]))

    def first_tick(**_: Any) -> float:
        return min(interval_s, _FIRST_TICK_S * (0.1 + 0.9 * jitter()))

    def is_ours(name: str | None, namespace: str | None, uid: str | None, **_: Any) -> bool:
        # kopf calls this at every event, after it has called `on_policy` with it.
        return name == POLICY_NAME and is_current(namespace or "", uid or "")

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
        if not is_current(namespace or "", uid or ""):
            raise kopf.PermanentError("the policy was deleted; its timer ends")
        await tick(namespace or "")

    _hold_nothing(registry)


def _hold_nothing(registry: kopf.OperatorRegistry) -> None:
    """Make the timers need no finalizer. kopf has no public option for that."""
    timers = registry._spawning._handlers  # noqa: SLF001 - see above
    timers[:] = [dataclasses.replace(each, requires_finalizer=False) for each in timers]
