"""The operator's Lease, as a command takes it: so that no operator works at the same time."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from trainingjob_api.errors import ForbiddenError, OperatorError
from trainingjob_operator.clock import Clock, ClockSinceBoot
from trainingjob_operator.core.lease import LeaseView
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.lease import LeaseGateway
from trainingjob_operator.kube.write_fencing import MayWrite
from trainingjob_operator.leadership import EXIT_CODE, Leadership, new_identity
from trainingjob_operator.settings import Settings

_LOOK_S: Final = 0.1
_SLACK_S: Final = 10.0
"""Beyond the duration of a Lease whose holder is dead, for the calls."""


class LeaseHeldError(OperatorError):
    """An operator works, or may work: nothing was done. The message says which, and what to do."""


class CommandLeaseGateway(LeaseGateway):
    """The Lease as the settings name it; nothing is served by a command that holds it."""

    def __init__(self, settings: Settings, connection: Connection, deployment: str = "") -> None:
        """Prepare the calls.

        Args:
            settings: what they name wins.
            connection: whose namespace it is, if nothing else names one.
            deployment: `[NAMESPACE/]NAME` of the operator; the chart calls its Lease the same.
        """
        namespace, _, name = deployment.rpartition("/")
        election = settings.leader_election
        is_named = "lease_name" in election.model_fields_set
        super().__init__(
            connection,
            namespace=settings.own_namespace(namespace or connection.namespace),
            name=name if name and not is_named else election.lease_name,
            serves="",
        )
        self._is_none_expected: Final = "enabled" in election.model_fields_set and (
            not election.enabled
        )

    def say_missing(self, say: Callable[[str], None], *, is_forbidden: bool = False) -> None:
        """Say that the Lease tells nothing, unless the settings are those of an install without one."""
        if self._is_none_expected:
            return
        found = (
            f"the Lease {self.namespace}/{self.name} may not be read"
            if is_forbidden
            else f"there is no Lease {self.namespace}/{self.name}"
        )
        say(
            f"{found}: nothing says that no operator works. If one does, name its Lease by "
            "TRAININGJOB_OPERATOR_NAMESPACE and TRAININGJOB_LEADER_ELECTION__LEASE_NAME, and run "
            "this again"
        )


@asynccontextmanager
async def holding_lease(
    settings: Settings,
    connection: Connection,
    *,
    command: str,
    say: Callable[[str], None],
    deployment: str = "",
) -> AsyncIterator[MayWrite | None]:
    """Hold the Lease for as long as the block lasts, and end the process when it is lost.

    Where the settings do not ask for leader election it is taken only if there is one: the command
    may run on a machine that has not the operator's settings, and then says that it has none.

    Args:
        settings: the operator's.
        connection: the API server, and the account there.
        command: its name, which the Lease shows.
        say: prints a line.
        deployment: see `CommandLeaseGateway`.

    Yields:
        See `MayWrite`; None: there is no Lease to hold.

    Raises:
        LeaseHeldError: an operator holds the Lease, or it cannot be taken.
    """
    gateway = CommandLeaseGateway(settings, connection, deployment)
    if not settings.leader_election.enabled and not await _is_there(gateway, say):
        await gateway.close()
        yield None
        return
    clock = ClockSinceBoot()
    leadership = Leadership(
        gateway,
        clock,
        identity=new_identity(f"{command}@{socket.gethostname()}"),
        times=settings.leader_election.times,
        on_lost=lambda _: _end(command),
    )
    leadership.start()
    try:
        await _until_acquired(leadership, gateway, clock)
        yield lambda: leadership.leads
    finally:
        await leadership.stop()


async def _is_there(gateway: CommandLeaseGateway, say: Callable[[str], None]) -> bool:
    try:
        is_there = await gateway.read_lease() is not None
    except ForbiddenError:  # an install without leader election gives no right to look
        gateway.say_missing(say, is_forbidden=True)
        return False
    if not is_there:
        gateway.say_missing(say)
    return is_there


async def _until_acquired(leadership: Leadership, gateway: LeaseGateway, clock: Clock) -> None:
    acquired = asyncio.create_task(leadership.wait_until_acquired())
    try:
        await _wait(leadership, gateway, acquired, clock)
    finally:
        acquired.cancel()


async def _wait(
    leadership: Leadership, gateway: LeaseGateway, acquired: "asyncio.Task[None]", clock: Clock
) -> None:
    """Wait until the Lease is ours, or its holder is seen alive: it has renewed it."""
    first: LeaseView | None = None
    begun = clock.monotonic()
    while not acquired.done():
        seen = leadership.state.observed
        if seen is not None and (first is None or seen.holder != first.holder):
            first = seen  # of one that has just taken it a renewal is still to be seen
        if seen is not None and seen.holder and seen != first:
            raise LeaseHeldError(
                f"{seen.holder} works: it holds the Lease {gateway.namespace}/{gateway.name}, and "
                "renews it. Nothing was done. If it is the operator, stop it (kubectl -n "
                f"{gateway.namespace} scale deployment/{gateway.name} --replicas=0), and run this "
                "again"
            )
        patience_s = max(leadership.state.times.duration_s, seen.duration_s if seen else 0)
        if clock.monotonic() > begun + patience_s + _SLACK_S:
            why = leadership.standby_problem() or "its holder changes again and again"
            raise LeaseHeldError(
                f"the Lease {gateway.namespace}/{gateway.name} could not be taken, so an operator "
                f"may be working, and nothing was done: {why}"
            )
        await asyncio.sleep(_LOOK_S)
    acquired.result()


def _end(command: str) -> None:
    """End the process, from a thread: another one may work from now on."""
    sys.stderr.write(f"trainingjob {command}: the Lease was lost on the way; run this again\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)
