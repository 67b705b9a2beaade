"""`python -m hack.bench.failover`: measures the time until the standby takes over.

Two operators with the default leader election times run on their own control plane. Half of the trials send
SIGKILL to the leader, half SIGTERM. Measured from the signal are the time until the Lease has a new holder,
and until a job that was applied at the moment of the signal has its pod. Exits with 1 if the worst trial
exceeds the promised time.
"""

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Any, Final, TypeVar

from hack.bench import definitions
from hack.bench.account import kubeconfig_of
from hack.cluster.assets import AssetsError, build
from hack.cluster.control_plane import ControlPlane, Options
from hack.cluster.process import Program, StartError
from hack.ports import free_port

T = TypeVar("T")

PROMISED_S: Final = {"SIGKILL": 17.0, "SIGTERM": 3.0}
"""Seconds until the Lease has a new holder."""

_LOOK_S: Final = 0.02
_PATIENCE_S: Final = 120.0
_LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/default/leases/trainingjob-operator"
_JOBS: Final = "/apis/trainingjob.dev/v1alpha1/namespaces/default/trainingjobs"
_PODS: Final = "/api/v1/namespaces/default/pods?labelSelector=trainingjob.dev/job-name%3D"


@dataclass(frozen=True)
class Trial:
    """One fail-over, in seconds from the signal on.

    Attributes:
        taken_s: until the Lease had a new holder.
        pod_s: until a job that was applied at that moment had its pod.
    """

    signal: str
    taken_s: float
    pod_s: float


class Replica:
    """One operator process."""

    def __init__(self, plane: ControlPlane, name: str) -> None:
        """Start it, and wait until it is ready, as leader or standby."""
        self._address: Final = f"127.0.0.1:{free_port()}"
        command = [
            "env",
            f"KUBECONFIG={kubeconfig_of(plane, 'operator')}",
            f"TRAININGJOB_WEB__ADDRESS={self._address}",
            "TRAININGJOB_LEADER_ELECTION__ENABLED=true",
            sys.executable,
            *("-m", "trainingjob_cli", "operator"),
        ]
        self.program: Final = Program(command, plane.root / f"{name}.log")
        self.program.wait_until(lambda: self._get("/readyz") is not None, patience_s=_PATIENCE_S)

    @property
    def leads(self) -> bool:
        """Return True if it reports that it is the leader."""
        return "\ntrainingjob_operator_leader 1.0" in (self._get("/metrics") or "")

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://{self._address}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None


def main(argv: list[str] | None = None) -> int:
    """Run the trials, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m hack.bench.failover", description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--json", type=Path, help="where to write each trial, for programs")
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="failover-") as scratch, _plane(scratch) as plane:
            trials = list(_trials(plane, arguments.trials))
    except (AssetsError, StartError, TimeoutError) as error:
        sys.stderr.write(f"failover: {error}\n")
        return 1
    sys.stdout.write(table(trials))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([vars(each) for each in trials], indent=1) + "\n")
    return 0 if all(is_in_time(each) for each in trials) else 1


def is_in_time(trial: Trial) -> bool:
    """Return True if the Lease was acquired within the promised time."""
    return trial.taken_s < PROMISED_S[trial.signal]


def table(trials: list[Trial]) -> str:
    """Return the trials as a Markdown table: median and worst of each signal."""
    lines = [
        "| the leader gets | trials | Lease taken, median | worst | promised | first pod, median | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, promised in PROMISED_S.items():
        taken = [each.taken_s for each in trials if each.signal == name]
        pods = [each.pod_s for each in trials if each.signal == name]
        if taken:
            lines.append(
                f"| {name} | {len(taken)} | {statistics.median(taken):.1f} s | {max(taken):.1f} s "
                f"| < {promised:.0f} s | {statistics.median(pods):.1f} s | {max(pods):.1f} s |"
            )
    return "\n".join(lines) + "\n"


@contextmanager
def _plane(scratch: str) -> Iterator[ControlPlane]:
    with ControlPlane(build(), Path(scratch) / "state", Options(scheduler=False)) as plane:
        definitions.install(plane, sorted(definitions.OURS.glob("*.yaml")))
        yield plane


def _trials(plane: ControlPlane, count: int) -> Iterator[Trial]:
    replicas = [Replica(plane, "operator-0"), Replica(plane, "operator-1")]
    try:
        for number in range(count):
            name = list(PROMISED_S)[number % len(PROMISED_S)]
            leader = _leader(replicas)
            trial = _fail_over(plane, leader, name, number)
            sys.stderr.write(f"failover: {number + 1}/{count}: {trial}\n")
            yield trial
            leader.program.stop()
            replicas.remove(leader)
            replicas.append(Replica(plane, f"operator-{number + 2}"))
    finally:
        for each in replicas:
            each.program.stop()


def _leader(replicas: list[Replica]) -> Replica:
    return _wait(lambda: [each for each in replicas if each.leads], "no operator leads")[0]


def _fail_over(plane: ControlPlane, leader: Replica, name: str, number: int) -> Trial:
    before = _holder(plane)
    began = time.monotonic()
    kill(leader.program.pid, signal.Signals[name])
    plane.request(_JOBS, _job(f"trial-{number}"))
    _wait(lambda: _holder(plane) not in {"", before}, "the Lease is not taken")
    taken = time.monotonic() - began
    pods = f"{_PODS}trial-{number}"
    _wait(lambda: plane.request(pods)["items"], "the job has no pod")
    return Trial(name, taken, time.monotonic() - began)


def _holder(plane: ControlPlane) -> str:
    return str(plane.request(_LEASE)["spec"].get("holderIdentity") or "")


def _job(name: str) -> dict[str, Any]:
    container = {"name": "trainer", "image": "example/image:1"}
    return {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def _wait(found: Callable[[], T], otherwise: str) -> T:
    """Poll until a value is found.

    Raises:
        TimeoutError: none was found in time.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not (result := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} after {_PATIENCE_S:.0f} s")
        time.sleep(_LOOK_S)
    return result


if __name__ == "__main__":
    sys.exit(main())
