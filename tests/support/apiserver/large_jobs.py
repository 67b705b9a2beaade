"""Runs an API server in its own process, with jobs of the maximum size or with many pods.

    python -m tests.support.apiserver.large_jobs KUBECONFIG --jobs 250 --bytes 1000000 --suspend

It writes the kubeconfig once the jobs are created. Then it prints counts of the jobs' states
repeatedly, one JSON document a line, until its standard input is closed. The operator under
test runs in another process, so that its memory can be measured alone.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.support.builders import make_job
from tests.support.repository import ROOT
from trainingjob_api.crd import retention_policy_crd, training_job_crd
from trainingjob_sandbox.apiserver import ApiServerThread
from trainingjob_sandbox.apiserver.server import ApiServer

NAMESPACE: Final = "ml"
_EVERY_S: Final = 0.5
_PART: Final = 100_000
"""Bytes of one argument: Linux takes no longer ones."""

Progress = dict[str, int]


class LargeJobs:
    """Handle of such a server process.

    Attributes:
        kubeconfig: how to reach it.
    """

    def __init__(self, process: "subprocess.Popen[str]", kubeconfig: Path) -> None:
        self._process: Final = process
        self.kubeconfig: Final = kubeconfig

    def progress(self) -> Progress:
        """Return the next counts that the server prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the API server has ended"
        counted: Progress = json.loads(line)
        return counted

    def wait_for(self, patience_s: float, **wanted: int) -> Progress:
        """Wait until this many jobs or pods are in that state.

        Raises:
            AssertionError: they are not after `patience_s`.
        """
        deadline = time.monotonic() + patience_s
        while True:
            found = self.progress()
            if all(found[name] >= number for name, number in wanted.items()):
                return found
            assert time.monotonic() < deadline, f"{found}, not {wanted}"


@contextmanager
def large_jobs(folder: Path, *arguments: str) -> Iterator[LargeJobs]:
    """Run such a server; the arguments are those of the program."""
    kubeconfig = folder / "kubeconfig"
    command = [
        sys.executable,
        "-m",
        "tests.support.apiserver.large_jobs",
        str(kubeconfig),
        *arguments,
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            server = LargeJobs(process, kubeconfig)
            server.progress()
            yield server
        finally:
            process.kill()


def memory_mib(pid: int) -> tuple[float, float]:
    """Return the current and the peak RSS of a process, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    now, most = (int(found[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def _job(number: int, options: argparse.Namespace) -> dict[str, Any]:
    parts = [f"{part:06d}".ljust(_PART, "x") for part in range(options.bytes // _PART)]
    job = make_job(
        f"job-{number}",
        namespace=NAMESPACE,
        nodes=options.nodes,
        command=["python", "train.py", *parts],
        suspend=options.suspend,
    )
    if options.finalizers:
        domain = f"{'x' * 60}.{'y' * 60}.example.com"
        names = [f"{domain}/{n:063d}" for n in range(options.finalizers)]
        job["metadata"]["finalizers"] = names
    return job


def _create(server: ApiServer, job: dict[str, Any]) -> None:
    server.store.create("trainingjobs", job, namespace=NAMESPACE)


def _count(server: ApiServer) -> Progress:
    statuses = [job.get("status", {}) for job in server.store.list("trainingjobs")]
    return {
        "suspended": sum(status.get("phase") == "Suspended" for status in statuses),
        "launched": sum(status.get("launchedAttempt") is not None for status in statuses),
        "queued": sum("Queued" in json.dumps(s.get("conditions", [])) for s in statuses),
        "pods": len(server.store.list("pods")),
    }


def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--finalizers", type=int, default=0)
    parser.add_argument("--suspend", action="store_true")
    options = parser.parse_args()
    crds = [training_job_crd(), retention_policy_crd()]
    with ApiServerThread(crds=crds, history=100) as thread:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        thread.call(lambda server: server.store.create("namespaces", namespace))
        for number in range(options.jobs):
            thread.call(partial(_create, job=_job(number, options)))
        thread.write_kubeconfig(options.kubeconfig)
        while True:
            print(json.dumps(thread.call(_count)), flush=True)  # noqa: T201 - to the test
            if select.select([sys.stdin], [], [], _EVERY_S)[0] and not os.read(0, 1):
                return


if __name__ == "__main__":
    main()
