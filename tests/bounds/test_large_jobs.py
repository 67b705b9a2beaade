"""The operator's memory stays bounded with objects of the maximum size.

The jobs have the maximum size that the API server accepts, and there are more than would fit into
the operator's memory. The operator is a separate process. With `pytest -s` the figures are
printed; `python -m tests.support.apiserver.large_jobs` alone serves such jobs to an operator of one's own.
"""

from pathlib import Path

import pytest

from tests.support.apiserver.large_jobs import LargeJobs, large_jobs, memory_mib
from tests.support.processes.operator import OperatorProcess

pytestmark = [pytest.mark.long, pytest.mark.anew]

LIMIT_MIB = 256
"""Half of what the chart gives the operator, whichever way it is filled."""

PATIENCE_S = 120.0
LARGE = ("--bytes", "1000000")


def most_memory_mib(server: LargeJobs, folder: Path, what: str, **wanted: int) -> float:
    """The most that an operator needs until so much is done, and it has resynced."""
    log = folder / "operator.log"
    with OperatorProcess(server.kubeconfig, log, TRAININGJOB_NAMESPACES="ml") as operator:
        server.wait_for(PATIENCE_S, **wanted)
        operator.wait_until_ready()
        now, most = memory_mib(operator.process.pid)
    print(f"\n{what}: {now:.0f} MiB, {most:.0f} at most")  # noqa: T201 - with `pytest -s`
    return most


@pytest.mark.parametrize(
    "large", [LARGE, ("--finalizers", "4500")], ids=["arguments", "finalizers"]
)
def test_250_suspended_jobs_of_a_megabyte_fit_into_memory_at_the_first_start_and_the_next(
    tmp_path: Path, large: tuple[str, ...]
) -> None:
    with large_jobs(tmp_path, "--jobs", "250", *large, "--suspend") as server:
        first = most_memory_mib(server, tmp_path, "first start", suspended=250)
        again = most_memory_mib(server, tmp_path, "second start", suspended=250)
    assert first < LIMIT_MIB
    assert again < LIMIT_MIB


def test_jobs_whose_every_pod_is_a_megabyte_fit_into_memory(tmp_path: Path) -> None:
    with large_jobs(tmp_path, "--jobs", "4", *LARGE, "--nodes", "32") as server:
        first = most_memory_mib(server, tmp_path, "pods of a megabyte", launched=4, pods=128)
        again = most_memory_mib(server, tmp_path, "pods of a megabyte, second start", pods=128)
    assert first < LIMIT_MIB
    assert again < LIMIT_MIB


def test_the_total_number_of_pods_is_limited_at_the_first_start_and_the_next(
    tmp_path: Path,
) -> None:
    log, limit = tmp_path / "operator.log", {"TRAININGJOB_INDEX__MAX_PODS": "1000"}
    with large_jobs(tmp_path, "--jobs", "13", "--nodes", "100") as server:
        with OperatorProcess(server.kubeconfig, log, **limit):
            server.wait_for(PATIENCE_S, launched=10, queued=3)
        with OperatorProcess(server.kubeconfig, log, **limit) as again:
            again.wait_until_ready()
            _, metrics = again.probe("/metrics")
        found = server.wait_for(PATIENCE_S, pods=1000)
    assert (found["pods"], found["launched"], found["queued"]) == (1000, 10, 3)
    assert 'bounded_used{structure="pods"} 1000.0' in metrics
