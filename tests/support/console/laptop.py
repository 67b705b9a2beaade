"""The laptop sandbox with the console as real processes: cluster, node, operator, records, console."""

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

from hack.ports import free_port
from tests.support.apiserver.fault_proxy import FaultProxy
from tests.support.builders import make_job
from tests.support.processes.child import ChildProcess, clean_environment
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode, sandbox_node
from tests.support.records.service import RecordServiceProcess
from tests.support.volume.volume import wait_until
from trainingjob_api.constants import LABEL_JOB_UID
from trainingjob_sandbox.client import ApiClient, ApiError

JOBS: Final = "/apis/trainingjob.dev/v1alpha1/namespaces/default/trainingjobs"
PODS: Final = "/api/v1/namespaces/default/pods"
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
        api_server: what the console has of it, which can be stopped and started.
        volume: the root of the log volume.
        operator: the operator, with a log volume and the record service.
        records: the record service, at an address that stays its own.
        console: the console, without a log-in; it has all of them.
    """

    node: ProcessNode
    api_server: FaultProxy
    volume: Path
    operator: OperatorProcess
    records: RecordServiceProcess
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
        """Suspend a job without the console, and wait until it is suspended and has no pods."""
        patch = {"spec": {"suspend": True}}
        self._call(lambda client: client.patch(f"{JOBS}/{name}", patch))
        self.wait_for(name, "Suspended")
        path = f"{PODS}?labelSelector={LABEL_JOB_UID}%3D{self.job(name)['metadata']['uid']}"
        wait_until(
            lambda: not self._call(lambda client: client.get(path))["items"], within_s=_PATIENCE_S
        )

    def resume(self, name: str) -> None:
        """Resume a job without the console."""
        patch = {"spec": {"suspend": False}}
        self._call(lambda client: client.patch(f"{JOBS}/{name}", patch))

    def wait_for(self, name: str, phase: str) -> None:
        """Wait until the job's status has a phase."""
        wait_until(
            lambda: self.job(name).get("status", {}).get("phase") == phase, within_s=_PATIENCE_S
        )

    def delete(self, name: str) -> None:
        """Delete a job without the console, and wait until it no longer exists."""
        self._call(lambda client: client.delete(f"{JOBS}/{name}"))
        wait_until(lambda: not self._is_there(name), within_s=_PATIENCE_S)

    def _is_there(self, name: str) -> bool:
        try:
            self.job(name)
        except ApiError as error:
            assert error.status == 404, error  # noqa: PT017 - the only answer that is wanted
            return False
        return True

    def job(self, name: str) -> Object:
        """Return the job as it is now."""
        return self._call(lambda client: client.get(f"{JOBS}/{name}"))

    def _call(self, work: Callable[[ApiClient], Awaitable[Object]]) -> Object:
        return speak(self.node.kubeconfig, work)


def speak(kubeconfig: Path, work: Callable[[ApiClient], Awaitable[Object]]) -> Object:
    """Call an API server from another thread, because Playwright runs an event loop in this one."""

    async def call() -> Object:
        async with ApiClient.from_kubeconfig(kubeconfig) as client:
            return await work(client)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, call()).result()


@contextmanager
def running_laptop(
    folder: Path, *, namespaces: str = "default", **settings: str
) -> Iterator[Laptop]:
    """Start all of it; it ends with the context.

    Args:
        folder: for logs, records and the log volume.
        namespaces: whose jobs the operator runs.
        **settings: further variables of the operator, without their prefix.
    """
    root = folder / "volume"
    root.mkdir()
    at = f"127.0.0.1:{free_port()}"
    records = RecordServiceProcess(folder, f"sqlite:///{folder}/records.db", address=at)
    taken_at, token = f"http://{at}/api/v1/jobs", str(records.token_file)
    with sandbox_node() as node, FaultProxy(node.kubeconfig, folder) as api_server, records:
        operator = OperatorProcess(
            node.kubeconfig,
            folder / "operator.log",
            TRAININGJOB_NAMESPACES=namespaces,
            TRAININGJOB_VOLUME__ROOT=str(root),
            TRAININGJOB_PERSIST__URL=taken_at,
            TRAININGJOB_PERSIST__TOKEN_FILE=token,
            **{f"TRAININGJOB_{name}": value for name, value in settings.items()},
        )
        with operator:
            operator.wait_until_ready()
            console = ConsoleProcess(
                api_server.kubeconfig,
                folder / "console.log",
                TRAININGJOB_CONSOLE_LOG_VOLUME=str(root),
                TRAININGJOB_CONSOLE_RECORDS_URL=taken_at,
                TRAININGJOB_CONSOLE_RECORDS_TOKEN_FILE=token,
                TRAININGJOB_CONSOLE_OPERATOR_METRICS=f"http://{operator.address()}/metrics",
            )
            with console:
                yield Laptop(node, api_server, root, operator, records, console)
                assert console.is_running, console.log()
