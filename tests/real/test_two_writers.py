"""Two operators and fifty random faults: only the holder of the Lease writes.

Their writes, with times, are read from the API server's audit log.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.support.apiserver.api import Api
from tests.support.apiserver.audit import AuditLog
from tests.support.apiserver.fault_proxy import Fault, FaultProxy
from tests.support.apiserver.lease_audit import count_writes, takeovers, writes_without_the_lease
from tests.support.builders import make_job
from tests.support.poll_intervals import poll_intervals
from tests.support.processes.operator import OperatorProcess
from tests.support.real.chart import token_kubeconfig
from tests.support.real.real_cluster import kubectl

pytestmark = [pytest.mark.real_only, pytest.mark.long]

FAULTS = 50
STAGED = 10
"""Every n-th fault kills a leader whose standby waits: its Lease goes to the other one."""
PATIENCE_S = 90.0
SETTINGS = {
    "TRAININGJOB_LEADER_ELECTION__ENABLED": "true",
    "TRAININGJOB_LEADER_ELECTION__LEASE_DURATION": "4",
    "TRAININGJOB_LEADER_ELECTION__RENEW_DEADLINE": "2",
    "TRAININGJOB_LEADER_ELECTION__RETRY_PERIOD": "0.5",
}
NAMES = ("operator-a", "operator-b")


@dataclass
class Replica:
    """One operator with its own account, which is restarted when it has ended."""

    user: str
    proxy: FaultProxy
    process: OperatorProcess
    is_frozen: bool = False
    is_cut_off: bool = False
    repairs: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def leads(self) -> bool:
        """True if it reports itself as the leader; a frozen one does not respond."""
        return (
            not self.is_frozen
            and "\ntrainingjob_operator_leader 1.0" in self.process.probe("/metrics")[1]
        )

    def is_ready(self) -> bool:
        """True if it leads, or is ready to take over."""
        return not self.is_frozen and self.process.probe("/readyz")[0] == 200

    def tend(self) -> None:
        """End the faults that are due, and start the process if it has ended."""
        for each in tuple(self.repairs):  # another thread may add one meanwhile
            if each[0] <= time.monotonic():
                self.repairs.remove(each)
                each[1]()
        if not self.process.is_running:
            self.process.start()

    def later(self, seconds: float, repair: Callable[[], None]) -> None:
        """Undo a fault after this many seconds."""
        self.repairs.append((time.monotonic() + seconds, repair))

    # --- faults ---------------------------------------------------------------------------------

    def hurt(self, dice: random.Random) -> str:
        """Inject a random fault; return its name."""
        seconds = dice.uniform(0.3, 5.0)
        faults: list[Callable[[float], None]] = [
            lambda _: self._signal(signal.SIGKILL),
            lambda _: self._signal(signal.SIGTERM),
            self._freeze,
            self._refuse,
            lambda lasts: self._break(lasts, Fault(lambda _: True, times=None, hang=True)),
            lambda lasts: self._break(
                lasts, Fault(lambda seen: seen.resource == "leases", times=None, hang=True)
            ),
            lambda lasts: self._break(
                lasts, Fault(lambda seen: seen.resource == "leases", times=None, status=500)
            ),
        ]
        chosen = dice.randrange(len(faults))
        faults[chosen](seconds)
        names = ("SIGKILL", "SIGTERM", "SIGSTOP", "refuses", "hangs", "Lease hangs", "Lease 500")
        return f"{names[chosen]} {seconds:.1f} s {self.user}"

    def kill(self) -> str:
        """Kill the process."""
        self._signal(signal.SIGKILL)
        return f"SIGKILL, with a standby, {self.user}"

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.process.pid, number)

    def _freeze(self, seconds: float) -> None:
        self._signal(signal.SIGSTOP)
        self.is_frozen = True
        self.later(seconds, self._thaw)

    def _thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.is_frozen = False

    def _refuse(self, seconds: float) -> None:
        if not self.is_cut_off:
            self.proxy.stop()
            self.is_cut_off = True
            self.later(seconds, self._reach)

    def _reach(self) -> None:
        self.proxy.start()
        self.is_cut_off = False

    def _break(self, seconds: float, fault: Fault) -> None:
        self.proxy.add(fault)
        self.later(seconds, lambda: self.proxy.faults.remove(fault))


@contextmanager
def replicas(plane: ControlPlane, api: Api, folder: Path) -> Iterator[list[Replica]]:
    with ExitStack() as stack:
        found = []
        for name in NAMES:
            (folder / name).mkdir()
            upstream = token_kubeconfig(plane, folder / name / "upstream", api.namespace, name)
            proxy = stack.enter_context(FaultProxy(upstream, folder / name))
            settings = {"TRAININGJOB_NAMESPACES": api.namespace, **SETTINGS}
            process = OperatorProcess(proxy.kubeconfig, folder / name / "log", **settings)
            stack.enter_context(process)
            user = f"system:serviceaccount:{api.namespace}:{name}"
            found.append(Replica(user, proxy, process))
        yield found


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the work concurrently with the block, until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def work(api: Api) -> AsyncIterator[None]:
    """Create and delete jobs continuously, so that the leader always has something to write."""

    async def keep_going() -> None:
        number = 0
        while True:
            await api.apply(make_job(f"job-{number}", nodes=1 + number % 2))
            with suppress(Exception):  # its operator has not begun it: it goes later
                await api.delete_job(f"job-{number - 20}")
            number += 1
            await asyncio.sleep(0.2)

    async with running(keep_going()):
        yield


@asynccontextmanager
async def tend_replicas(found: list[Replica]) -> AsyncIterator[None]:
    """During the block, end faults when they are due and restart processes that have ended."""

    async def keep_tending() -> None:
        while True:
            for each in found:
                await asyncio.to_thread(each.tend)
            await asyncio.sleep(0.05)

    async with running(keep_tending()):
        yield


@pytest.fixture
def accounts(plane: ControlPlane, api: Api) -> Iterator[None]:
    """Create two accounts, so that the audit log distinguishes the operators."""
    binding = f"two-writers-{api.namespace}"
    subjects = [f"--serviceaccount={api.namespace}:{name}" for name in NAMES]
    for name in NAMES:
        kubectl(plane.kubeconfig, "-n", api.namespace, "create", "serviceaccount", name)
    rights = ("create", "clusterrolebinding", binding, "--clusterrole=cluster-admin")
    kubectl(plane.kubeconfig, *rights, *subjects)
    yield
    kubectl(plane.kubeconfig, "delete", "clusterrolebinding", binding)


async def wait_for_leader(found: list[Replica], *, with_standby: bool) -> Replica:
    """Wait until one replica leads and the other is ready to take over; return the leader."""
    asked, pause = found if with_standby else [], poll_intervals()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            leading = [each for each in found if await asyncio.to_thread(each.leads)]
            if leading and all([await asyncio.to_thread(each.is_ready) for each in asked]):
                return leading[0]
            await asyncio.sleep(next(pause))


async def inject_fault(found: list[Replica], dice: random.Random, number: int) -> str:
    """Inject the fault of this number: mostly into the leader, as faults of the standby show little."""
    if number % STAGED == 0:
        leader = await wait_for_leader(found, with_standby=True)
        return await asyncio.to_thread(leader.kill)
    if dice.random() < 0.2:
        victim = dice.choice(found)
    else:
        victim = await wait_for_leader(found, with_standby=False)
    return await asyncio.to_thread(victim.hurt, dice)


@pytest.mark.usefixtures("accounts")
async def test_only_one_operator_writes_at_a_time_during_fifty_random_faults(
    plane: ControlPlane, api: Api, audit: AuditLog, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    dice, done = random.Random(seed), list[str]()
    with replicas(plane, api, tmp_path) as found:
        async with tend_replicas(found), work(api):
            for number in range(FAULTS):
                done.append(await inject_fault(found, dice, number))
                await asyncio.sleep(dice.uniform(0.2, 2.0))
            async with asyncio.timeout(PATIENCE_S):  # all faults end by themselves
                while any(each.repairs for each in found):
                    await asyncio.sleep(0.1)
            await api.apply(make_job("last"))
            await api.wait_for_pods("last", 1, patience_s=PATIENCE_S)

    users = {each.user for each in found}
    requests: list[Any] = audit.requests()
    told = f"seed {seed}: " + "; ".join(done)
    assert writes_without_the_lease(requests, users) == [], told
    assert len(takeovers(requests, users)) > FAULTS // STAGED, told
    assert all(count_writes(requests, user) > 0 for user in users), told
