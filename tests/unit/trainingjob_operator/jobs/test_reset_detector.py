"""CRDs that are deleted or recreated, and a restored cluster, make the operator restart."""

import pytest

from tests.support.cluster.cluster import FakeCluster
from trainingjob_api.errors import KubernetesError, UnavailableError
from trainingjob_operator.jobs.reset_detector import ResetDetector
from trainingjob_operator.kube.cluster import ServedState

Answer = ServedState | KubernetesError
SERVED, PARTLY, ABSENT = ServedState.SERVED, ServedState.PARTLY, ServedState.ABSENT
NO_ANSWER = UnavailableError("no answer")


class Cluster(FakeCluster):
    """Answers what it is told to, one look after the other."""

    def __init__(self, standings: list[Answer], versions: list[str | KubernetesError]):
        super().__init__()
        self.standings, self.versions = standings, versions

    async def served_state(self) -> ServedState:
        answer = self.standings.pop(0)
        if isinstance(answer, KubernetesError):
            raise answer
        return answer

    async def jobs_version(self, namespace: str | None) -> str:
        answer = self.versions.pop(0)
        if isinstance(answer, KubernetesError):
            raise answer
        return answer


async def looks(
    standings: list[Answer],
    versions: list[str | KubernetesError] | None = None,
    newest: str = "0",
) -> tuple[list[str], int, ResetDetector]:
    """The reasons to begin anew, the comparisons asked for, and who looked."""
    reasons: list[str] = []
    compared: list[None] = []
    count = len(standings)
    detector = ResetDetector(
        Cluster(standings, versions if versions is not None else ["1"] * count),
        namespace=None,
        newest_version=lambda: newest,
        compare=lambda: compared.append(None),
        restart=reasons.append,
        is_watching=lambda: True,
        monotonic=lambda: 0.0,
    )
    for _ in range(count):
        await detector.check()
    return reasons, len(compared), detector


async def test_a_version_that_goes_back_is_a_restore() -> None:
    reasons, _, _ = await looks([SERVED] * 3, ["90", "100", "95"])
    assert reasons == [
        "the API server has gone back from resourceVersion 100 to 95, as it does when a backup is restored"
    ]


async def test_a_version_below_that_of_a_job_that_was_seen_is_one_too() -> None:
    reasons, _, _ = await looks([SERVED] * 2, ["90", "91"], newest="99")
    assert len(reasons) == 1


@pytest.mark.parametrize(
    "versions",
    [["100", "100", "101"], ["100", NO_ANSWER, "100"], ["100", "", "101"], ["x2", "x1", "x0"]],
)
async def test_nothing_is_concluded_from_versions_that_stay_grow_or_cannot_be_had(
    versions: list[str | KubernetesError],
) -> None:
    assert (await looks([SERVED] * 3, versions))[0] == []


async def test_a_restore_is_noticed_behind_an_outage() -> None:
    reasons, _, _ = await looks([SERVED, NO_ANSWER, SERVED], ["100", "7"])
    assert len(reasons) == 1


async def test_while_a_definition_is_deleted_jobs_are_compared_to_be_let_go() -> None:
    reasons, compared, detector = await looks([SERVED, PARTLY, PARTLY])
    assert (reasons, compared) == ([], 2)
    assert detector.missing is not None


async def test_a_deleted_crd_and_a_recreated_one_cause_a_restart() -> None:
    assert len((await looks([SERVED, ABSENT]))[0]) == 1
    assert len((await looks([SERVED, PARTLY, SERVED]))[0]) == 1


async def test_an_answer_that_is_not_had_is_no_absence() -> None:
    reasons, compared, detector = await looks([SERVED, NO_ANSWER, SERVED])
    assert (reasons, compared, detector.missing) == ([], 0, None)


@pytest.mark.parametrize("last", [SERVED, PARTLY, NO_ANSWER])
async def test_a_start_waits_only_while_there_can_be_no_jobs(
    last: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainingjob_operator.jobs.reset_detector._ABSENT_CHECK_S", 0.0)
    standings: list[Answer] = [ABSENT, ABSENT, last]
    _, _, detector = await looks([])
    detector._cluster.standings = standings  # type: ignore[attr-defined]
    await detector.until_served()
    assert (standings, detector.missing) == ([], None)
