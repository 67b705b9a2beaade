"""Pods are found by labels, which any user who may create pods can set to any value."""

import pytest

from trainingjob_api.constants import LABEL_ATTEMPT, LABEL_INDEX
from trainingjob_console.logs.pods import logs_of_pod


def pod(**labels: str) -> dict[str, object]:
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main"}]}}


@pytest.mark.parametrize("attempt", ["", "-1", "123456789x", "9" * 10, "1" * 63])
def test_an_attempt_that_is_not_a_number_is_zero(attempt: str) -> None:
    [log] = logs_of_pod(pod(**{LABEL_INDEX: "7", LABEL_ATTEMPT: attempt}))
    assert (log.rank, log.attempt) == (7, 0)


@pytest.mark.parametrize("rank", ["", "x", "-1", "100000"])
def test_a_pod_without_a_rank_belongs_to_no_job(rank: str) -> None:
    assert logs_of_pod(pod(**{LABEL_INDEX: rank, LABEL_ATTEMPT: "0"})) == []
