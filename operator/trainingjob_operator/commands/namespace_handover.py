"""Waits until the running operator no longer serves the namespaces that are to be released."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from trainingjob_api.errors import ForbiddenError
from trainingjob_operator.clock import Clock, ClockSinceBoot
from trainingjob_operator.commands.command_lease import CommandLeaseGateway, LeaseHeldError
from trainingjob_operator.core.lease import (
    ALL_NAMESPACES,
    LeaseState,
    LeaseStep,
    LeaseView,
    is_served,
)
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.settings import Settings

HANDOVER_TIMEOUT_S: Final = 120.0
"""Timeout for the rollout of the operator with its new list of namespaces."""

_POLL_S: Final = 0.5


async def wait_for_handover(
    settings: Settings,
    connection: Connection,
    *,
    only: Collection[str],
    spared: Collection[str],
    say: Callable[[str], None],
) -> None:
    """Wait until no operator serves the namespaces that are to be released.

    The operator keeps running and holds the Lease, which lists the namespaces that it serves.

    Args:
        settings: the operator's.
        connection: the API server, and the account there.
        only: the namespaces to release; empty: all except the spared ones.
        spared: namespaces that the operator goes on serving.
        say: prints a line.

    Raises:
        LeaseHeldError: they are still served after `HANDOVER_TIMEOUT_S`.
    """
    gateway = CommandLeaseGateway(settings, connection)
    try:
        is_there = await _wait_until_not_served(
            gateway.read_lease,
            LeaseState("", settings.leader_election.times),
            ClockSinceBoot(),
            is_served=lambda seen: is_served(seen, only=only, spared=spared),
            say=say,
        )
        if not is_there:
            gateway.say_missing(say)
    except ForbiddenError:
        say("the operator's Lease may not be read: assuming that these are no longer served")
        gateway.say_missing(say, is_forbidden=True)
    finally:
        await gateway.close()


async def _wait_until_not_served(
    read: Callable[[], Awaitable[LeaseView | None]],
    state: LeaseState,
    clock: Clock,
    *,
    is_served: Callable[[LeaseView], bool],
    say: Callable[[str], None],
) -> bool:
    """Wait as `wait_for_handover` does; return True if there is a Lease."""
    until, waits = clock.monotonic() + HANDOVER_TIMEOUT_S, False
    while (seen := await read()) is not None and is_served(seen):
        now = clock.monotonic()
        state.read(seen, now)
        if state.next_step(now) is not LeaseStep.WAIT:
            return True  # the holder is dead
        served = "all namespaces" if seen.serves == ALL_NAMESPACES else seen.serves
        if now > until:
            raise LeaseHeldError(
                f"{seen.holder} still serves {served}, and would add released finalizers again. "
                "Nothing was done: restart the operator with its new list of namespaces, and run "
                "this again"
            )
        if not waits:
            say(f"{seen.holder} still serves {served}: waiting until it is replaced")
            waits = True
        await asyncio.sleep(_POLL_S)
    return seen is not None
