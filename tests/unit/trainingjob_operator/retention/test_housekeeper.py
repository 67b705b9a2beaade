"""A run of the retention: the order of its steps, its reports, and the errors that stop it."""

import asyncio
import logging
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import AdjustableLoopClock, LoopClock, in_simulated_time
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended, names
from trainingjob_api.errors import (
    ConflictError,
    KubernetesError,
    UnavailableError,
)
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.observability.metrics import Metrics
from trainingjob_operator.retention.housekeeper import Housekeeper
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport

Object = dict[str, Any]
REPORT = VolumeReport(
    files_removed=3,
    directories_removed=2,
    bytes_freed=4096,
    errors=1,
    skipped={"young": 5},
    healthy=False,
    reason="PermissionDenied",
    message="set logVolume.asRoot",
    volume_id="vol-1",
)


@dataclass
class Volume:
    """A volume that takes its time."""

    takes_s: float = 0.0
    report: VolumeReport = REPORT
    live: list[LiveJobs] = field(default_factory=list)
    max_ages_s: list[float] = field(default_factory=list)

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        self.live.append(live)
        self.max_ages_s.append(max_age_s)
        await asyncio.sleep(self.takes_s)
        return self.report


class Counts:
    """Keeps what was counted."""

    def __init__(self) -> None:
        self.jobs: list[Object] = []
        self.volumes: list[VolumeReport] = []
        self.left_alone: list[str] = []

    def jobs_swept(self, **counted: Any) -> None:
        self.jobs.append(counted)

    def volume_skipped(self, reason: str) -> None:
        self.left_alone.append(reason)

    def volume_swept(self, report: VolumeReport, *, seconds: float, at: datetime) -> None:
        self.volumes.append(report)


@dataclass
class House:
    """A housekeeper and what it works on."""

    cluster: FakeCluster
    life: SimulatedOperator
    keeper: Housekeeper
    counts: Counts

    def status(self, namespace: str = "ops") -> Object:
        found: Object = self.cluster.policy(namespace)["status"]
        return found


class Measured(Metrics):
    """Counts runs in a way that a test can read."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.gc = counts  # type: ignore[assignment,misc]


async def house(
    cluster: FakeCluster | None = None,
    *,
    volume: Volume | None = None,
    interval_s: float = 600,
    namespaces: tuple[str | None, ...] = (None,),
) -> House:
    cluster, counts = cluster or FakeCluster(LoopClock()), Counts()
    life = SimulatedOperator(
        cluster,
        ttl_s=3600,
        namespaces=namespaces,
        gc_interval_s=interval_s,
        sweep=volume,
        metrics=Measured(counts),
    )
    await life.policy_watch.refresh()
    return House(cluster, life, life.housekeeper, counts)


@in_simulated_time
async def test_a_run_writes_down_how_it_went_and_adds_up() -> None:
    home = await house(volume=Volume())
    ended(home.cluster, "old")
    ended(home.cluster, "pinned", metadata={"annotations": {"trainingjob.dev/keep": ""}})
    started_at = home.cluster.clock.now()
    await home.keeper.tick("ops")

    assert names(home.cluster) == ["pinned"]
    first = home.status()
    conditions = {each["type"]: each for each in first.pop("conditions")}
    assert first == {
        "observedGeneration": 1,
        "ttlSecondsAfterFinished": 3600,
        "lastSweepTime": started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lastDurationSeconds": 0,
        "nextSweepTime": (started_at + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "jobsDeleted": 1,
        "filesRemoved": 3,
        "directoriesRemoved": 2,
        "bytesFreed": 4096,
        "errors": 1,
        "skipped": {"Kept": 1, "young": 5},
        "totals": {
            "jobsDeleted": 1,
            "filesRemoved": 3,
            "directoriesRemoved": 2,
            "bytesFreed": 4096,
            "errors": 1,
        },
        "volumeId": "vol-1",
    }
    healthy = conditions["VolumeHealthy"]
    assert (healthy["status"], healthy["reason"]) == ("False", "PermissionDenied")
    assert conditions["Valid"]["status"] == "True"

    home.cluster.annotate_job("pinned", **{"trainingjob.dev/keep": "false"})
    await asyncio.sleep(600)
    await home.keeper.tick("ops")
    second = home.status()
    assert (second["jobsDeleted"], second["totals"]["jobsDeleted"]) == (1, 2)
    assert second["skipped"] == {"young": 5}, "what is not there any more is not said any more"
    assert second["totals"]["bytesFreed"] == 8192
    since = [c["lastTransitionTime"] for c in second["conditions"]]
    assert since == [conditions["Valid"]["lastTransitionTime"], healthy["lastTransitionTime"]]
    assert [counted["skipped"] for counted in home.counts.jobs] == [{"Kept": 1}, {}]
    assert home.life.remover.removed_total == {"TTL": 2, "HistoryLimit": 0}
    assert home.counts.volumes == [REPORT, REPORT]


@in_simulated_time
async def test_the_log_reads_as_it_was_promised() -> None:
    home = await house(volume=Volume())
    ended(home.cluster, "old", ago_s=7300)
    for number in range(3):
        ended(home.cluster, f"remembered-{number}", ago_s=60)
    await home.life.resync.resync_until_done()
    with _Log() as said:
        await asyncio.sleep(3600)
        await home.keeper.tick("ops")
    said = [re.sub(r"\d+ MiB", "N MiB", line) for line in said]
    assert sorted(said) == sorted(
        [
            "Cleanup: run started",
            "Cleanup: removed job ml/old (Succeeded, finished 3h ago)",
            *(
                f"Cleanup: removed job ml/remembered-{n} (Succeeded, finished 61m ago)"
                for n in range(3)
            ),
            "Cleanup: removed 3 finished or suspended jobs from memory",
            "Memory: 0 jobs (0 active), 0 cached persists, N MiB resident",
            "Cleanup: removed 3 log files and 2 directories (4096 bytes)",
            "Cleanup: done in 0.0 s, next run in 600 s",
        ]
    )
    assert (said[0], said[-1]) == (
        "Cleanup: run started",
        "Cleanup: done in 0.0 s, next run in 600 s",
    )


class _Log:
    """What ours logged at info and above."""

    def __enter__(self) -> list[str]:
        self._said: list[str] = []
        self._logger = logging.getLogger("trainingjob_operator.retention")
        self._handler = logging.Handler()
        self._handler.emit = lambda record: self._said.append(  # type: ignore[method-assign]
            record.getMessage()
        )
        self._level = self._logger.level
        self._logger.addHandler(self._handler)
        self._logger.setLevel(logging.INFO)
        return self._said

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.setLevel(self._level)


@in_simulated_time
async def test_the_volume_is_told_of_every_job_and_by_what_age_files_go() -> None:
    volume = Volume()
    home = await house(volume=volume)
    home.cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=10**6)
    ended(home.cluster, "ruled-by-another", state="Stored")
    ended(home.cluster, "young", ago_s=5)
    began = home.cluster.clock.now()
    await home.keeper.tick("ops")
    home.cluster.edit_policy("ops", logs={"maxAgeSeconds": 60})
    await home.keeper.tick("ops")

    uids = {job["metadata"]["uid"] for job in home.cluster.jobs()}
    assert len(uids) == 2
    assert [live.uids for live in volume.live] == [uids, uids]
    assert set(volume.live[0].finished) == uids
    assert volume.live[0].listed_at == began
    assert [live.volume_id for live in volume.live] == [None, "vol-1"]
    assert volume.max_ages_s == [604_800, 60]


@pytest.mark.parametrize("method", ["list_jobs", "list_policies"])
@in_simulated_time
async def test_without_a_complete_list_the_volume_is_left_alone(method: str) -> None:
    volume = Volume()
    home = await house(volume=volume)
    ended(home.cluster, "old")
    home.cluster.fail_next(method, UnavailableError("503"))
    await home.keeper.tick("ops")
    assert volume.live == []
    assert names(home.cluster) == ["old"]
    assert home.status()["errors"] == 1
    assert [counted["errors"] for counted in home.counts.jobs] == [1]
    assert home.counts.left_alone == ["JobsUnknown"]
    await home.keeper.tick("ops")
    assert len(volume.live) == 1

    home.cluster.fail_next("get_policy", UnavailableError("503"))
    await home.keeper.tick("ops")
    assert len(volume.live) == 1, "nobody says whose volume it is"
    assert home.counts.left_alone == ["JobsUnknown", "PolicyUnknown"]


@in_simulated_time
async def test_the_run_of_a_namespace_touches_neither_volume_nor_memory() -> None:
    volume = Volume()
    home = await house(volume=volume)
    home.cluster.create_policy_as_user("ml", ttlSecondsAfterFinished=5)
    await home.life.policy_watch.refresh()
    ended(home.cluster, "old", ago_s=60)
    with _Log() as said:
        await home.keeper.tick("ml")
    assert names(home.cluster) == []
    assert volume.live == []
    assert not [line for line in said if line.startswith("Memory")]
    status = home.status("ml")
    assert (status["jobsDeleted"], status["ttlSecondsAfterFinished"]) == (1, 5)
    assert [each["type"] for each in status["conditions"]] == ["Valid"]


@in_simulated_time
async def test_a_policy_that_cannot_be_understood_says_so_and_the_default_one_rules() -> None:
    home = await house()
    home.cluster.create_policy_as_user("ml", ttlSecondsAfterFinished="for ever")
    await home.life.policy_watch.refresh()
    ended(home.cluster, "old")
    await home.keeper.tick("ml")
    assert names(home.cluster) == ["old"]
    [condition] = home.status("ml")["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "InvalidSpec")
    assert "spec.ttlSecondsAfterFinished: must be a whole number" in condition["message"]
    assert condition["message"].endswith("the default policy applies instead")
    await home.keeper.tick("ops")
    assert names(home.cluster) == []


@in_simulated_time
async def test_jobs_that_went_on_time_are_counted_by_the_next_run() -> None:
    home = await house()
    ended(home.cluster, "old")
    await home.life.remover.remove(job_view(home.cluster.job("old")))
    await home.keeper.tick("ops")
    assert home.status()["jobsDeleted"] == 1


@pytest.mark.parametrize("error", [UnavailableError("down"), ConflictError("always")])
def test_what_could_not_be_written_down_is_said_by_the_next_run(error: KubernetesError) -> None:
    @in_simulated_time
    async def play() -> None:
        home = await house()
        ended(home.cluster, "old")
        home.cluster.fail_next("patch_policy_status", error, times=4)
        with _Log() as said:
            await home.keeper.tick("ops")
        assert f"Cleanup: cannot write the policy's status: {error}" in said
        home.cluster._faults.clear()
        assert home.status() == {}
        await home.keeper.tick("ops")
        assert (home.status()["jobsDeleted"], home.status()["totals"]["jobsDeleted"]) == (1, 1)

    play()


@in_simulated_time
async def test_a_policy_that_is_edited_while_the_status_is_written_gets_both() -> None:
    home = await house()
    home.cluster.before["patch_policy_status"] = lambda: home.cluster.edit_policy(
        "ops", ttlSecondsAfterFinished=7
    )
    await home.keeper.tick("ops")
    policy = home.cluster.policy("ops")
    assert policy["spec"] == {"ttlSecondsAfterFinished": 7}
    assert policy["status"]["observedGeneration"] == 2

    home.cluster.fail_next("patch_policy_status", ConflictError("always"), times=100)
    await home.keeper.tick("ops")  # gives up, and lives


@in_simulated_time
async def test_a_policy_that_is_gone_or_a_server_that_is_gone_ends_nothing() -> None:
    home = await house()
    home.cluster.delete_policy("ops")
    await home.keeper.tick("ops")
    assert home.cluster.policy("ops"), "made again by the run itself"
    for method in ("get_policy", "patch_policy_status", "list_jobs", "list_policies"):
        home.cluster.fail_next(method, UnavailableError("down"), times=100)
    await home.keeper.tick("ops")
    assert home.keeper.runs_total == 2


@in_simulated_time
async def test_runs_wait_for_one_another_and_a_long_one_says_what_it_skips() -> None:
    home = await house(volume=Volume(takes_s=1500), interval_s=600)
    began = home.cluster.clock.now()
    with _Log() as said:
        await asyncio.gather(home.keeper.tick("ops"), home.keeper.tick("ops"))
    assert home.keeper.overruns_total == 2
    assert any("took 1500 s, longer than its interval of 600 s" in line for line in said)
    assert "Cleanup: done in 1500.0 s, next run in 300 s" in said
    assert "Cleanup: done in 3000.0 s, next run in 0 s" in said
    assert home.cluster.clock.now() - began == timedelta(seconds=3000)
    assert [counted["seconds"] for counted in home.counts.jobs] == [0, 0], "waiting is no sweeping"


@in_simulated_time
async def test_a_clock_that_has_leapt_is_not_believed_for_one_interval() -> None:
    clock, volume = AdjustableLoopClock(), Volume()
    cluster = FakeCluster(clock)
    home = await house(cluster, volume=volume)
    ended(cluster, "young", ago_s=10)
    clock.ahead_s = 10 * 86_400
    await home.keeper.tick("ops")
    assert (names(cluster), volume.live) == (["young"], [])
    await asyncio.sleep(600)
    await home.keeper.tick("ops")
    assert (names(cluster), len(volume.live)) == ([], 1)


@in_simulated_time
async def test_a_run_can_be_ended_in_the_middle() -> None:
    home = await house(volume=Volume(takes_s=10_000))
    began = home.cluster.clock.now()
    ticking = asyncio.create_task(home.keeper.tick("ops"))
    await asyncio.sleep(5)
    await home.keeper.stop()
    await ticking  # ends without a word to kopf
    assert home.cluster.clock.now() - began == timedelta(seconds=5)
    assert home.status() == {}

    ticking = asyncio.create_task(home.keeper.tick("ops"))
    await asyncio.sleep(5)
    ticking.cancel()
    await asyncio.wait({ticking})
    assert home.keeper._runs == set()


@in_simulated_time
async def test_a_volume_is_left_alone_while_it_is_not_known_whose_it_must_be() -> None:
    volume = Volume()
    home = await house(volume=volume)
    home.cluster.fail_next("get_namespace", UnavailableError("503"))
    await home.keeper.tick("ops")
    healthy = {each["type"]: each for each in home.status()["conditions"]}["VolumeHealthy"]
    assert (healthy["status"], healthy["reason"]) == ("False", "IdentityUnknown")
    assert home.counts.left_alone == ["IdentityUnknown"]
    assert home.counts.volumes == []
    assert "volumeId" not in home.status()


@in_simulated_time
async def test_the_log_says_what_memory_holds_before_the_volume_is_swept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    home = await house(volume=Volume())
    with caplog.at_level(logging.INFO):
        await home.keeper.tick("ops")
    said = [line.split(":")[0] for line in caplog.messages if "Memory" in line or "files" in line]
    assert said == ["Memory", "Cleanup"]
