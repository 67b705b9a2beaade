"""Sweeps stream their lists in bounded memory, and conclude nothing from half a list."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.simulated_operator import SimulatedOperator
from tests.support.cluster.simulated_time import AdjustableLoopClock, LoopClock, in_simulated_time
from trainingjob_api.constants import ANNOTATION_KEEP, FINALIZER_RECORD
from trainingjob_api.errors import ForbiddenError, GoneError, UnavailableError
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.untyped_json import time_text
from trainingjob_operator.kube.cluster import Page
from trainingjob_operator.retention.job_sweep import MAX_CONCURRENT_DELETIONS, JobsReport, JobSweep

Object = dict[str, Any]


def ended(
    cluster: FakeCluster,
    name: str,
    *,
    ago_s: float = 10_000,
    outcome: str = "Complete",
    namespace: str = "ml",
    metadata: Object | None = None,
    state: str = "NotRequired",
    **spec: Any,
) -> None:
    """A job that finished so many seconds ago, before this process was there."""
    at = time_text(cluster.clock.now() - timedelta(seconds=ago_s))
    job = make_job(name, namespace=namespace, **spec)
    job["metadata"] |= metadata or {}
    cluster.create_job(job)
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": "Test",
            "message": "",
            "lastTransitionTime": at,
            "observedGeneration": 1,
        }
        for kind in (outcome, "Finished")
    ]
    phase = "Succeeded" if outcome == "Complete" else outcome
    cluster.set_job_status(
        JobKey(namespace, name),
        {"phase": phase, "conditions": conditions, "completionTime": at, "recordState": state},
    )


def names(cluster: FakeCluster) -> list[str]:
    return sorted(job["metadata"]["name"] for job in cluster.jobs())


async def sweep(
    cluster: FakeCluster,
    *,
    ttl_s: float = 3600,
    policy_namespace: str = "ops",
    remember: bool = False,
) -> tuple[JobsReport, SimulatedOperator]:
    """One sweep by an operator that remembers nothing."""
    life = SimulatedOperator(cluster, ttl_s=ttl_s)
    await life.policy_watch.refresh()
    looks = life.job_sweep
    where = (None,) if policy_namespace == "ops" else (policy_namespace,)
    return await looks.run(where, policy_namespace=policy_namespace, remember=remember), life


@in_simulated_time
async def test_a_sweep_deletes_what_is_over_and_counts_what_stays_by_reason() -> None:
    cluster = FakeCluster(LoopClock())
    for outcome in ("Complete", "Failed", "Cancelled"):
        ended(cluster, f"old-{outcome.lower()}", outcome=outcome)
    ended(cluster, "young", ago_s=10)
    ended(cluster, "pinned", metadata={"annotations": {ANNOTATION_KEEP: "yes"}})
    ended(cluster, "young-pinned", ago_s=10, metadata={"annotations": {ANNOTATION_KEEP: "yes"}})
    ended(cluster, "owing", state="Pending", metadata={"finalizers": [FINALIZER_RECORD]})
    ended(cluster, "held", state="Stored", metadata={"finalizers": [FINALIZER_RECORD]})
    ended(cluster, "charted", metadata={"labels": {"app.kubernetes.io/managed-by": "Helm"}})
    ended(cluster, "foreign", managedBy="kueue.x-k8s.io/multikueue")
    cluster.create_job(make_job("suspended", suspend=True))
    report, life = await sweep(cluster, remember=True)

    assert names(cluster) == [
        *("charted", "foreign", "held", "owing", "pinned"),
        *("suspended", "young", "young-pinned"),
    ]
    skipped = {"GitOps": 1, "Kept": 1, "RecordHeld": 1, "RecordPending": 1}
    assert (report.errors, dict(report.skipped), report.is_complete) == (0, skipped, True)
    assert life.unreported.take_deleted("ops") == {"TTL": 3}
    assert len(life.queue) == 1, "the reconciler is asked to let go of what is held"
    assert report.seen is not None
    assert len(report.seen.uids) == report.examined == 11
    assert len(report.seen.kept) == 2
    owing = cluster.job("owing")["metadata"]["uid"]
    assert owing in report.seen.uids
    assert owing not in report.seen.finished


@in_simulated_time
async def test_the_sweep_of_a_policy_leaves_the_namespaces_of_others_alone() -> None:
    cluster = FakeCluster(LoopClock(), namespaces=("ml", "web", "ops"))
    cluster.create_policy_as_user("web", ttlSecondsAfterFinished=10**6)
    for namespace in ("ml", "web"):
        ended(cluster, f"in-{namespace}", namespace=namespace)
    report, _ = await sweep(cluster, remember=True)
    assert names(cluster) == ["in-web"]
    assert report.seen is not None
    assert len(report.seen.uids) == 2, "the volume's sweep has to know the jobs of all"

    cluster.edit_policy("web", ttlSecondsAfterFinished=5)
    await sweep(cluster, policy_namespace="web")
    assert names(cluster) == []


@in_simulated_time
async def test_a_history_limit_keeps_the_newest_of_each_namespace() -> None:
    cluster = FakeCluster(LoopClock(), namespaces=("ml", "web", "ops"))
    cluster.page_size = 2
    cluster.create_policy_as_user("ops", successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
    for namespace in ("ml", "web"):
        for number in (3, 1, 2):
            ended(cluster, f"{namespace}-{number}", namespace=namespace, ago_s=number * 100)
        ended(cluster, f"{namespace}-failed", namespace=namespace, ago_s=5, outcome="Failed")
        ended(
            cluster,
            f"{namespace}-own",
            namespace=namespace,
            ago_s=500,
            ttlSecondsAfterFinished=10**6,
        )
    report, life = await sweep(cluster)
    assert names(cluster) == ["ml-1", "ml-own", "web-1", "web-own"]
    assert life.unreported.take_deleted("ops") == {"HistoryLimit": 6}
    assert report.errors == 0


@in_simulated_time
async def test_a_history_limit_that_is_raised_meanwhile_takes_nobody() -> None:
    """The limit of a moment ago is as little a reason as the time to live of a moment ago."""
    cluster = FakeCluster(LoopClock())
    cluster.create_policy_as_user("ops", successfulJobsHistoryLimit=1)
    for number in range(3):
        ended(cluster, f"job-{number}", ago_s=10 + number)
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.policy_watch.refresh()

    def raise_limit() -> None:
        cluster.edit_policy("ops", successfulJobsHistoryLimit=10)
        life.policy_watch.policy_event("MODIFIED", cluster.policy("ops"))

    cluster.before["get_job"] = raise_limit
    report = await life.job_sweep.run((None,), policy_namespace="ops")
    assert names(cluster) == ["job-0", "job-1", "job-2"]
    assert dict(report.skipped) == {"Changed": 2}


@in_simulated_time
async def test_a_job_that_cannot_be_deleted_is_counted_and_holds_no_other() -> None:
    cluster = FakeCluster(LoopClock())
    for number in range(20):
        ended(cluster, f"job-{number}")
    cluster.fail_next("delete_finished_job", ForbiddenError("somebody's rule says no"))
    cluster.fail_next("delete_finished_job", UnavailableError("503"))
    report, life = await sweep(cluster)
    assert (len(cluster.jobs()), report.errors, life.remover.errors_total) == (2, 2, 2)
    report, _ = await sweep(cluster)
    assert (len(cluster.jobs()), report.errors) == (0, 0)


@in_simulated_time
async def test_a_deletion_by_a_sweep_is_one_request() -> None:
    cluster = FakeCluster(LoopClock())
    for number in range(100):
        ended(cluster, f"job-{number}")
    seen = len(cluster.calls)
    await sweep(cluster)
    asked = Counter(call.method for call in cluster.calls[seen:])
    assert (asked["delete_finished_job"], asked["get_job"]) == (100, 0)


@in_simulated_time
async def test_a_job_that_was_pinned_since_it_was_listed_stays() -> None:
    cluster = FakeCluster(LoopClock())
    for number in range(3):
        ended(cluster, f"job-{number}")
    cluster.before["delete_finished_job"] = lambda: cluster.annotate_job(
        "job-1", **{ANNOTATION_KEEP: "true"}
    )
    report, _ = await sweep(cluster)
    assert names(cluster) == ["job-1"]
    assert (dict(report.skipped), report.errors) == ({"Kept": 1}, 0)


@in_simulated_time
async def test_deletions_are_bounded_in_flight_and_a_slow_one_holds_up_no_other() -> None:
    cluster = FakeCluster(LoopClock())
    for number in range(10 * MAX_CONCURRENT_DELETIONS):
        ended(cluster, f"job-{number}")
    slow = _Slow(cluster, "job-0")
    life = SimulatedOperator(slow, ttl_s=3600)  # type: ignore[arg-type] # it passes all else on
    await life.policy_watch.refresh()
    sweeping = asyncio.create_task(life.job_sweep.run((None,), policy_namespace="ops"))
    while len(cluster.jobs()) > 1:
        await asyncio.sleep(1)
    assert slow.most_in_flight == MAX_CONCURRENT_DELETIONS
    slow.go_on.set()
    await sweeping
    assert not cluster.jobs()


class _Slow:
    """The cluster, whose deletion of one job takes until it is told to go on."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self._cluster, self._name = cluster, name
        self.go_on = asyncio.Event()
        self._in_flight = self.most_in_flight = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def delete_finished_job(self, job: JobView) -> bool:
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        await asyncio.sleep(1)
        if job.key.name == self._name:
            await self.go_on.wait()
        self._in_flight -= 1
        return await self._cluster.delete_finished_job(job)


@pytest.mark.parametrize("error", [UnavailableError("503"), GoneError("the token has expired")])
@in_simulated_time
async def test_a_list_that_breaks_ends_the_sweep_and_is_not_complete(error: Exception) -> None:
    cluster = FakeCluster(LoopClock())
    for number in range(10):
        ended(cluster, f"job-{number}", ago_s=10)
    pages = _BreaksAfter(cluster, 4, error)
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.policy_watch.refresh()
    report = await JobSweep(pages, life.policies, life.remover).run(
        (None,), policy_namespace="ops", remember=True
    )
    assert (report.is_complete, report.errors, report.examined) == (False, 1, 4)


@in_simulated_time
async def test_a_job_at_which_we_fail_leaves_the_list_incomplete() -> None:
    cluster = FakeCluster(LoopClock())
    for number in range(3):
        ended(cluster, f"job-{number}")
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.policy_watch.refresh()
    judge = life.remover.judge

    def fail(job: JobView) -> Any:
        if job.key.name == "job-1":
            raise ZeroDivisionError
        return judge(job)

    life.remover.judge = fail  # type: ignore[method-assign]
    report = await life.job_sweep.run((None,), policy_namespace="ops")
    assert (names(cluster), report.errors, report.is_complete) == (["job-1"], 1, False)


@in_simulated_time
async def test_a_clock_that_leaps_in_the_middle_of_a_sweep_takes_nobody_along() -> None:
    clock = AdjustableLoopClock()
    cluster = FakeCluster(clock)
    for number in range(3):
        ended(cluster, f"old-{number}")
        ended(cluster, f"young-{number}", ago_s=10)
    cluster.page_size = 3  # the old ones come first

    def leap() -> None:
        clock.ahead_s = 10 * 86_400

    cluster.before["list_jobs"] = lambda: cluster.before.update({"list_jobs": leap})
    report, _ = await sweep(cluster)
    assert names(cluster) == ["young-0", "young-1", "young-2"]
    assert dict(report.skipped) == {"ClockStepped": 3}


@in_simulated_time
async def test_jobs_that_finished_in_the_future_are_deferred_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = FakeCluster(LoopClock())
    cluster.create_policy_as_user("ops", successfulJobsHistoryLimit=1)
    ended(cluster, "ahead", ago_s=-7200)
    ended(cluster, "a-moment-ahead", ago_s=-30, outcome="Failed")
    ended(cluster, "newest", ago_s=10)
    _, life = await sweep(cluster)
    looks = life.job_sweep

    async def told() -> list[str]:
        caplog.clear()
        report = await looks.run((None,), policy_namespace="ops")
        assert dict(report.skipped) == {"FinishedAhead": 1}
        return [r.getMessage() for r in caplog.records if "is in the future" in r.message]

    assert names(cluster) == ["a-moment-ahead", "ahead", "newest"], "it displaces no newer one"
    [said] = [r for r in caplog.records if "is in the future" in r.getMessage()]
    assert (said.levelname, "time of job ml/ahead is" in said.getMessage()) == ("WARNING", True)
    assert "2h from now" in said.getMessage()
    assert await told() == await told() == [], "once a job, and counted by every sweep"

    await asyncio.sleep(7200 + 3590)
    await looks.run((None,), policy_namespace="ops")
    assert names(cluster) == ["ahead"]
    await asyncio.sleep(10)
    await looks.run((None,), policy_namespace="ops")
    assert names(cluster) == [], "at its own time"


class _BreaksAfter:
    """The cluster with a list that breaks in the middle."""

    def __init__(self, cluster: FakeCluster, items: int, error: Exception) -> None:
        self._cluster, self._items, self._error = cluster, items, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        yield Page(self._cluster.jobs()[: self._items], "1")
        raise self._error


PAGE: Final = 250


class _Endless:
    """A cluster of very many finished jobs that nobody has to remember."""

    def __init__(self, cluster: FakeCluster, pages: int) -> None:
        self._cluster, self._pages = cluster, pages
        [self._raw] = cluster.jobs()
        self.views: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        for number in range(self._pages):
            self.views.append(_views())
            yield Page([_named(self._raw, f"job-{number}-{n}") for n in range(PAGE)], "1")


def _named(raw: Object, name: str) -> Object:
    metadata = {**raw["metadata"], "name": name, "uid": f"uid-of-{name}"}
    return {**raw, "metadata": metadata}


@in_simulated_time
async def test_many_jobs_take_no_more_memory_than_few() -> None:
    cluster = FakeCluster(LoopClock())
    ended(cluster, "one", ago_s=10)
    life = SimulatedOperator(cluster, ttl_s=3600)
    await life.policy_watch.refresh()

    endless = _Endless(cluster, 20)
    before = _views()
    report = await JobSweep(endless, life.policies, life.remover).run(
        (None,), policy_namespace="ops"
    )
    assert report.examined == 20 * PAGE
    assert max(endless.views) - before <= PAGE, "of a page, and not of the list"


def _views() -> int:
    return sum(isinstance(each, JobView) for each in gc.get_objects())
