"""Everything that a user of the console has, as real processes: a cluster with a node, an operator, a console."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from hack.bench.endpoints import free_port
from tests.support.builders import make_job
from tests.support.processes.child import ChildProcess, clean_environment
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode, sandbox_node
from trainingjob_sandbox.client import ApiClient

JOBS: Final = "/apis/trainingjob.dev/v1alpha1/namespaces/default/trainingjobs"
_PATIENCE_S: Final = 90.0

Object = dict[str, Any]


class ConsoleProcess(ChildProcess):
    """`trainingjob console` on a port that stays its own when it is started again."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        super().__init__(log)
        self.url = f"http://127.0.0.1:{free_port()}"
        self._settings = {
            "TRAININGJOB_CONSOLE_ADDRESS": self.url.removeprefix("http://"),
            "TRAININGJOB_CONSOLE_KUBECONFIG": str(kubeconfig),
            "TRAININGJOB_CONSOLE_AUTH": "none",
            **settings,
        }

    def start(self) -> None:
        """Start it; it is ready when its log says where it is."""
        environment = clean_environment("KUBECONFIG") | self._settings
        self.spawn([sys.executable, "-m", "trainingjob_cli", "console"], environment)
        deadline = time.monotonic() + _PATIENCE_S
        while self.url not in self.log():
            assert self.is_running, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)


@dataclass(frozen=True)
class Laptop:
    """The cluster and its processes.

    Attributes:
        node: the cluster, whose pods are processes.
        volume: the root of the log volume.
        operator: the operator, with a log volume.
        console: the console, without a log-in.
    """

    node: ProcessNode
    volume: Path
    operator: OperatorProcess
    console: ConsoleProcess

    @property
    def url(self) -> str:
        """The address of the page."""
        return self.console.url

    def apply(self, command: str, *, prefix: str = "job", **spec: Any) -> Object:
        """Create a job whose ranks run this in a shell, as `kubectl apply` does."""
        name = f"{prefix}-{uuid4().hex[:6]}"
        job = make_job(name, namespace="default", command=["sh", "-c", command], **spec)
        return self._call(lambda client: client.create(JOBS, job))

    def suspend(self, name: str) -> None:
        """Suspend a job behind the console's back."""
        patch = {"spec": {"suspend": True}}
        self._call(lambda client: client.patch(f"{JOBS}/{name}", patch))

    def job(self, name: str) -> Object:
        """Return the job as it is now."""
        return self._call(lambda client: client.get(f"{JOBS}/{name}"))

    def _call(self, work: Callable[[ApiClient], Awaitable[Object]]) -> Object:
        return speak(self.node.kubeconfig, work)


def speak(kubeconfig: Path, work: Callable[[ApiClient], Awaitable[Object]]) -> Object:
    """Speak to an API server from a thread: Playwright has a loop in this one."""

    async def call() -> Object:
        async with ApiClient.from_kubeconfig(kubeconfig) as client:
            return await work(client)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, call()).result()


@contextmanager
def running_laptop(folder: Path) -> Iterator[Laptop]:
    """Start all of it; it ends with the context."""
    root = folder / "volume"
    root.mkdir()
    with sandbox_node() as node:
        operator = OperatorProcess(
            node.kubeconfig,
            folder / "operator.log",
            TRAININGJOB_NAMESPACES="default",
            TRAININGJOB_VOLUME__ROOT=str(root),
        )
        volume = {"TRAININGJOB_CONSOLE_LOG_VOLUME": str(root)}
        console = ConsoleProcess(node.kubeconfig, folder / "console.log", **volume)
        with operator, console:
            operator.wait_until_ready()
            yield Laptop(node, root, operator, console)
            assert console.is_running, console.log()
