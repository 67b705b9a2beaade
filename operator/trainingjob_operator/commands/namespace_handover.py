"""Waits until the operator that stays serves no longer the namespaces that are to be released."""

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
"""For an operator with the old list of namespaces to be replaced by one with the new one."""

_LOOK_S: Final = 0.5


async def wait_for_handover(
    settings: Settings,
    connection: Connection,
    *,
    only: Collection[str],
    spared: Collection[str],
    say: Callable[[str], None],
) -> None:
    """Wait until no operator serves namespaces that are to be left.

    The operator stays, and holds the Lease; in it stands which namespaces it serves.

    Args:
        settings: the operator's.
        connection: the API server, and the account there.
        only: the namespaces that are left; empty: all, but for those that are spared.
        spared: namespaces that stay served.
        say: prints a line.

    Raises:
        LeaseHeldError: they are still served after `HANDOVER_TIMEOUT_S`.
    """
    gateway = CommandLeaseGateway(settings, connection)
    try:
        is_there = await _until_left(
            gateway.read_lease,
            LeaseState("", settings.leader_election.times),
            ClockSinceBoot(),
            is_served=lambda seen: is_served(seen, only=only, spared=spared),
            say=say,
        )
        if not is_there:
            gateway.say_missing(say)
    except ForbiddenError:
        say("the operator's Lease may not be read: it is assumed that it serves these no longer")
        gateway.say_missing(say, is_forbidden=True)
    finally:
        await gateway.close()


async def _until_left(
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
            return True  # its holder is dead
        served = "all namespaces" if seen.serves == ALL_NAMESPACES else seen.serves
        if now > until:
            raise LeaseHeldError(
                f"{seen.holder} still serves {served}, and would hold again what is released. "
                "Nothing was done: restart the operator with its new list of namespaces, and run "
                "this again"
            )
        if not waits:
            say(f"{seen.holder} still serves {served}: waiting until it is replaced")
            waits = True
        await asyncio.sleep(_LOOK_S)
    return seen is not None
