"""Tests of the benchmark's results: counts, times and verdicts."""

import math
from typing import Any

from hack.bench.access import Change
from hack.bench.audit import Requests, count_entries
from hack.bench.contestants import ALL, JOB_TUNED, JOBSET, OURS, TRAINER
from hack.bench.lookout import Sightings
from hack.bench.measure import Measurement
from hack.bench.observer import Notebook, Sighting
from hack.bench.plan import BURST, GANG, STREAM, Size, chosen, full
from hack.bench.report import problems, verdicts
from hack.bench.summary import percentile, summarise


def entry(user: str, verb: str, resource: str, **more: Any) -> dict[str, Any]:
    target = {"resource": resource, "namespace": "burst"}
    if "subresource" in more:
        target["subresource"] = more.pop("subresource")
    stage = "ResponseStarted" if verb == "watch" else "ResponseComplete"
    return {
        "stage": stage,
        "verb": verb,
        "requestURI": "/",
        "user": {"username": user},
        "objectRef": target,
        "responseStatus": {"code": 200},
    } | more


class TestRequests:
    def test_each_kind_of_request_has_a_column_of_its_own(self) -> None:
        found = count_entries(
            [
                entry("us", "create", "pods"),
                entry("us", "patch", "jobs", subresource="status"),
                entry("us", "create", "events"),
                entry("us", "update", "leases"),
                entry("us", "list", "pods"),
                entry("us", "watch", "pods"),
                entry("us", "delete", "pods"),
                entry("us", "patch", "retentionpolicies", subresource="status"),
            ],
            {"us"},
        )
        assert (found.own, found.events, found.leases) == (2, 1, 1)
        assert (found.reads, found.deletion) == (2, 2)
        assert found.detail == {"create pods": 1, "patch jobs/status": 1}

    def test_nobody_is_charged_for_others(self) -> None:
        found = count_entries([entry("them", "create", "pods")], {"us"})
        assert found.own == 0
        assert found.everybody == {"them": 1}

    def test_what_the_garbage_collector_does_is_deletion(self) -> None:
        collector = "system:serviceaccount:kube-system:generic-garbage-collector"
        found = count_entries([entry(collector, "patch", "pods")], {"us"})
        assert (found.own, found.deletion) == (0, 1)

    def test_the_end_of_a_watch_is_no_second_request(self) -> None:
        watch = entry("us", "watch", "pods")
        found = count_entries([watch, watch | {"stage": "ResponseComplete"}], {"us"})
        assert found.reads == 1

    def test_a_refused_request_counts_and_is_told_apart(self) -> None:
        found = count_entries([entry("us", "patch", "jobs", responseStatus={"code": 409})], {"us"})
        assert (found.own, found.refused) == (1, 1)


def seen(at: float, kind: str, uid: str, step: str, owner: str = "") -> Sighting:
    return Sighting(at, kind, "burst", uid, uid, owner, step)


class TestSightings:
    def test_a_second_pod_of_a_job_is_seen(self) -> None:
        found = Sightings()
        for uid in ("pod-1", "pod-2"):
            found.take(seen(1.0, "pod", uid, "seen", owner="job"), pods_are_jobs=False)
        assert found.pods["job"] == {"pod-1", "pod-2"}

    def test_the_end_of_a_job_is_the_jobs_own_word(self) -> None:
        found = Sightings()
        found.take(seen(1.0, "pod", "pod", "seen", owner="job"), pods_are_jobs=False)
        found.take(seen(2.0, "pod", "pod", "Succeeded", owner="job"), pods_are_jobs=False)
        assert not found.terminal
        found.take(seen(2.5, "job", "job", "Complete"), pods_are_jobs=False)
        assert found.terminal == {"job": (2.5, "Complete")}
        assert found.ended == {"job": 2.0}
        assert found.long_runs == 1

    def test_a_gang_ends_with_its_last_pod(self) -> None:
        found = Sightings()
        for at, uid in ((1.0, "rank-0"), (1.5, "rank-1")):
            found.take(seen(at, "pod", uid, "seen", owner="job"), pods_are_jobs=False)
            found.take(seen(at + 1, "pod", uid, "Succeeded", owner="job"), pods_are_jobs=False)
        assert found.ended == {"job": 2.5}
        assert len(found.pods["job"]) == 2

    def test_a_step_is_reported_once_however_often_it_is_told(self) -> None:
        job = {
            "metadata": {"namespace": "burst", "name": "job", "uid": "1"},
            "status": {"conditions": [{"type": "Complete", "status": "True"}]},
        }
        notebook = Notebook()
        first = notebook.sightings("job", Change(1.0, "MODIFIED", job))
        assert [each.step for each in first] == ["seen", "Complete"]
        assert notebook.sightings("job", Change(2.0, "MODIFIED", job)) == []


def measurement(contestant: str, **differences: Any) -> Measurement:
    values: dict[str, Any] = {
        "contestant": contestant,
        "workload": BURST,
        "jobs": 10,
        "finished": 10,
        "failed": 0,
        "seconds": 2.0,
        "pods_seconds": 1.0,
        "latencies_ms": [1.0, 2.0],
        "long_runs": 0,
        "duplicates": 0,
        "requests": Requests(own=30),
        "rss_mb": (60.0, 70.0),
        "cpu_s": {"operator": 1.0, "api-server": 1.0, "etcd": 0.5, "machine-busy": 2.5},
        "controllers": ALL[contestant].processes,
    }
    return Measurement(**(values | differences))


class TestVerdicts:
    def test_three_requests_for_each_job_are_no_problem_and_one_more_is(self) -> None:
        assert problems(summarise([measurement(OURS.name)])) == []
        found = problems(summarise([measurement(OURS.name, requests=Requests(own=31))]))
        assert len(found) == 1
        assert "31 own requests for 10 jobs" in found[0]

    def test_a_pod_that_runs_for_long_may_cost_a_request_more(self) -> None:
        more = measurement(OURS.name, requests=Requests(own=32), long_runs=2)
        assert problems(summarise([more])) == []

    def test_a_lost_job_and_a_duplicate_pod_are_problems(self) -> None:
        found = problems(
            summarise([measurement(OURS.name, finished=9, duplicates=1, requests=Requests())])
        )
        assert len(found) == 2

    def test_a_gang_may_take_more_requests_than_a_job_of_one_pod(self) -> None:
        gang = {"workload": GANG, "ranks": 8}
        twelve = measurement(OURS.name, requests=Requests(own=120), **gang)
        assert problems(summarise([twelve])) == []
        more = measurement(OURS.name, requests=Requests(own=121), **gang)
        assert "at most 120 are allowed" in problems(summarise([more]))[0]

    def test_a_race_that_was_lost_is_said_to_be_lost(self) -> None:
        race = [measurement(OURS.name, seconds=4.0), measurement(JOB_TUNED.name)]
        text = verdicts("B", summarise(race))
        assert "NOT met: faster than the tuned Job controller: 2.5 against 5.0" in text

    def test_what_others_took_of_the_machine_is_said(self) -> None:
        busy = measurement(OURS.name, cpu_s={"machine-busy": 4.0, "api-server": 2.0})
        assert "disturbed: other processes kept up to 1.0 cores" in verdicts(
            "B", summarise([busy])
        )


class TestFigures:
    def test_percentiles_are_values_that_were_measured(self) -> None:
        values = [float(n) for n in range(100, 0, -1)]
        assert (percentile(values, 0.5), percentile(values, 0.99)) == (50.0, 99.0)
        assert percentile([7.0], 0.99) == 7.0
        assert math.isnan(percentile([], 0.5))

    def test_percentiles_are_over_the_jobs_of_all_repetitions(self) -> None:
        both = [measurement(OURS.name), measurement(OURS.name, latencies_ms=[100.0])]
        (summary,) = summarise(both)
        assert summary.latency_ms(1.0) == 100.0
        assert summary.jobs == 20

    def test_a_contestant_is_charged_for_all_of_its_processes(self) -> None:
        cpu = {"controller-manager": 1.0, "jobset": 2.0, "api-server": 3.0, "etcd": 4.0}
        (summary,) = summarise([measurement(JOBSET.name, cpu_s=cpu | {"machine-busy": 10.0})])
        assert summary.cpu_ms_per_job(*summary.controllers) == 300.0
        assert summary.cpu_ms_per_job(*summary.all_processes) == 1000.0

    def test_the_built_in_controllers_beside_ours_are_in_the_sum_of_everything(self) -> None:
        cpu = {"controller-manager": 1.0, "operator": 2.0, "api-server": 3.0, "etcd": 4.0}
        (summary,) = summarise([measurement(OURS.name, cpu_s=cpu | {"machine-busy": 10.0})])
        assert summary.cpu_ms_per_job(*summary.controllers) == 200.0
        assert summary.cpu_ms_per_job(*summary.all_processes) == 1000.0


class TestContestants:
    def test_who_works_through_others_is_charged_for_their_requests(self) -> None:
        job, jobset, trainer = (each.users for each in (JOB_TUNED, JOBSET, TRAINER))
        assert job < jobset < trainer
        assert len(job) == 1
        assert not trainer & OURS.users

    def test_the_job_controller_runs_where_it_takes_part(self) -> None:
        for each in ALL.values():
            flag = each.controllers(nodes=False)[0]
            assert ("job-controller" in flag) == (each.kind in {"Job", "JobSet", "TrainJob"})


class TestPlan:
    def test_what_is_not_chosen_is_left_out(self) -> None:
        found = chosen(full(Size()), {OURS.name, TRAINER.name}, {GANG})
        assert {each.contestant.name for each in found} == {OURS.name, TRAINER.name}
        assert {one.name for each in found for one in each.workloads} == {GANG}
        assert chosen(full(Size()), (), ()) == full(Size())

    def test_all_do_the_same_burst_and_gangs(self) -> None:
        for name in (BURST, GANG):
            work = {
                one
                for each in chosen(
                    full(Size()), {OURS.name, JOB_TUNED.name, JOBSET.name, TRAINER.name}, {name}
                )
                for one in each.workloads
            }
            assert len(work) == 1

    def test_the_race_alternates_so_that_drift_hits_both(self) -> None:
        race = [
            each.contestant.name
            for each in full(Size(rounds=2))
            if each.run == "B" and each.contestant in {OURS, JOB_TUNED}
        ]
        assert race == ["ours", "job-tuned", "job-tuned", "ours"]

    def test_both_get_the_same_work(self) -> None:
        for run in ("A", "B"):
            work = {
                each.workloads
                for each in full(Size())
                if each.run == run and each.contestant in {OURS, JOB_TUNED}
            }
            assert len(work) == 1

    def test_the_stream_keeps_to_its_rate(self) -> None:
        streams = [
            workload
            for each in full(Size(rate=20.0, seconds=10.0))
            for workload in each.workloads
            if workload.name == STREAM
        ]
        assert {workload.rate for workload in streams} == {20.0}
