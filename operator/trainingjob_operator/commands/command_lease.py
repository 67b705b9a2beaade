"""Acquires the operator's Lease for a command, so that no operator works at the same time."""

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

_POLL_S: Final = 0.1
_SLACK_S: Final = 10.0
"""Extra waiting time, for the API calls, beyond the duration of a Lease whose holder is dead."""


class LeaseHeldError(OperatorError):
    """An operator is active, or may be. Nothing was done; the message says what to do."""


class CommandLeaseGateway(LeaseGateway):
    """Reads and writes the operator's Lease; a command that holds it serves no namespaces."""

    def __init__(self, settings: Settings, connection: Connection, deployment: str = "") -> None:
        """Prepare the calls.

        Args:
            settings: the operator's; a namespace or Lease name set in them takes precedence.
            connection: its namespace is the default.
            deployment: `[NAMESPACE/]NAME` of the operator; the chart gives its Lease the same name.
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
        """Warn that there is no usable Lease, unless the settings disable leader election."""
        if self._is_none_expected:
            return
        found = (
            f"the Lease {self.namespace}/{self.name} may not be read"
            if is_forbidden
            else f"there is no Lease {self.namespace}/{self.name}"
        )
        say(
            f"{found}: an operator may still be active. If one is, name its Lease by "
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
    """Hold the Lease during the block, and exit the process when the Lease is lost.

    If the settings do not enable leader election, the Lease is acquired only if it exists. The
    command may run on a machine without the operator's settings, so it warns if there is no Lease.

    Args:
        settings: the operator's.
        connection: the API server, and the account there.
        command: the name of the command, part of the holder's identity.
        say: prints a line.
        deployment: see `CommandLeaseGateway`.

    Yields:
        See `MayWrite`; None: there is no Lease to hold.

    Raises:
        LeaseHeldError: an operator holds the Lease, or it cannot be acquired.
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
        on_lost=lambda _: _exit_process(command),
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
    except ForbiddenError:  # an install without leader election has no right to read Leases
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
    """Wait until we have acquired the Lease, or its holder was seen to renew it."""
    first: LeaseView | None = None
    begun = clock.monotonic()
    while not acquired.done():
        seen = leadership.state.observed
        if seen is not None and (first is None or seen.holder != first.holder):
            first = seen  # a new holder: it has to renew the Lease to count as alive
        if seen is not None and seen.holder and seen != first:
            raise LeaseHeldError(
                f"{seen.holder} is active: it holds the Lease "
                f"{gateway.namespace}/{gateway.name} and renews it. Nothing was done. If it is "
                "the operator, stop it (kubectl -n "
                f"{gateway.namespace} scale deployment/{gateway.name} --replicas=0), and run this "
                "again"
            )
        timeout_s = max(leadership.state.times.duration_s, seen.duration_s if seen else 0)
        if clock.monotonic() > begun + timeout_s + _SLACK_S:
            why = leadership.standby_problem() or "its holder keeps changing"
            raise LeaseHeldError(
                f"the Lease {gateway.namespace}/{gateway.name} could not be acquired, so an "
                f"operator may be active, and nothing was done: {why}"
            )
        await asyncio.sleep(_POLL_S)
    acquired.result()


def _exit_process(command: str) -> None:
    """Exit the process, from a thread: another holder may be active from now on."""
    sys.stderr.write(f"trainingjob {command}: the Lease was lost during the run; run this again\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)
