"""Runs the operator as a process: start, probes, readiness, SIGSTOP."""

import http.client
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.processes.child import ChildProcess, clean_environment
from tests.support.processes.processes import state
from tests.support.volume.volume import wait_until

_READY_PATIENCE_S = 90.0


class OperatorProcess(ChildProcess):
    """`python -m trainingjob_cli operator`, with its log in a file."""

    MODULE: ClassVar = "trainingjob_cli"

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        super().__init__(log)
        self.kubeconfig = kubeconfig
        self.settings = settings

    def start(self) -> None:
        """Start the process; an existing log is appended to."""
        environment = clean_environment("KUBECONFIG") | {
            "KUBECONFIG": str(self.kubeconfig),
            "TRAININGJOB_WEB__ADDRESS": "127.0.0.1:0",
            "TRAININGJOB_LOGGING__FORMAT": "json",
            **self.settings,
        }
        self.spawn([sys.executable, "-m", self.MODULE, "operator"], environment)

    def wait_for_exit(self, patience_s: float) -> int:
        """Wait until the process has ended; return its exit code."""
        return self.process.wait(patience_s)

    def probe(self, path: str) -> tuple[int, str]:
        """Return status and text of `/healthz` or `/readyz`; (0, "") without a complete response."""
        address = self.address()
        if address is None:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (OSError, http.client.HTTPException):  # it may exit during its response
            return 0, ""

    def wait_until_ready(self) -> None:
        """Wait until `/readyz` responds with 200."""
        deadline = time.monotonic() + _READY_PATIENCE_S
        while self.probe("/readyz")[0] != 200:
            assert self.is_running, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def address(self) -> str | None:
        """Address of its probes, as `host:port`; None: not served yet."""
        return self._after("probes are served on ")

    def metrics_address(self) -> str | None:
        """Address of its metrics over TLS."""
        return self._after("metrics are served on ")

    def _after(self, marker: str) -> str | None:
        # The last one: a restarted operator uses another port.
        whole, _, _ = self.log().rpartition("\n")  # an incomplete line may have an incomplete port
        for line in reversed(whole.splitlines()):
            if marker in line:
                return line.split(marker)[1].split('"')[0]
        return None


def operator_of(kubeconfig: Path, api: Api, folder: Path, **settings: str) -> OperatorProcess:
    """Return an operator of only this namespace, which logs to this folder."""
    return OperatorProcess(
        kubeconfig,
        folder / "operator.log",
        **{"TRAININGJOB_NAMESPACES": api.namespace, **settings},
    )


@contextmanager
def operating(
    api_server: ApiServerUnderTest, api: Api, folder: Path, **settings: str
) -> Iterator[OperatorProcess]:
    """Run such an operator, and wait until it is ready."""
    with operator_of(api_server.operator_kubeconfig, api, folder, **settings) as process:
        process.wait_until_ready()
        yield process


def sweeping(
    api_server: ApiServerUnderTest, api: Api, folder: Path, root: Path, *, max_age: str
) -> AbstractContextManager[OperatorProcess]:
    """Return an operator that sweeps a log volume every second, with this minimum age."""
    settings = {
        "TRAININGJOB_GC__INTERVAL": "1",
        "TRAININGJOB_GC__TTL": "1h",
        "TRAININGJOB_VOLUME__ROOT": str(root),
        "TRAININGJOB_VOLUME__MAX_AGE": max_age,
    }
    return operating(api_server, api, folder, **settings)


@contextmanager
def stopped(operator: OperatorProcess) -> Iterator[None]:
    """Freeze the test's own operator with SIGSTOP while the block lasts."""
    process = operator.process
    process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: state(process.pid) == "T")
        yield
    finally:
        process.send_signal(signal.SIGCONT)
