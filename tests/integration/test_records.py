"""Records of finished jobs, sent by an operator process to a real HTTP endpoint."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.builders import make_job
from tests.support.processes.child import clean_environment
from tests.support.processes.commands import run_trainingjob
from tests.support.processes.operator import OperatorProcess, operating
from tests.support.processes.stopwatch import Stopwatch
from tests.support.records.http_endpoint import HttpEndpoint
from trainingjob_sandbox.client import ApiError

Object = dict[str, Any]
FINALIZER = "trainingjob.dev/record"
SECRETS = ("pl4nted-env-value", "pl4nted-token")


@pytest.fixture
def ledger() -> Iterator[HttpEndpoint]:
    with HttpEndpoint(keep_bodies=True) as running:
        yield running


@contextlib.contextmanager
def recording(
    api_server: ApiServerUnderTest,
    api: Api,
    folder: Path,
    ledger: HttpEndpoint | None,
    **settings: str,
) -> Iterator[OperatorProcess]:
    """Run an operator of only this namespace, which sends its records to the ledger, if any."""
    said = {"TRAININGJOB_CLUSTER_NAME": "test"} | settings
    if ledger is not None:
        said["TRAININGJOB_PERSIST__URL"] = ledger.url
    with operating(api_server, api, folder, **said) as process:
        yield process


async def wait_for_release(api: Api, name: str) -> Object:
    """Return the job once its record is stored and its finalizer is released."""
    await api.wait_for_job(name, lambda s: s.get("recordState") == "Stored", patience_s=45)
    async with asyncio.timeout(90):
        while (job := await api.job(name))["metadata"].get("finalizers"):
            await asyncio.sleep(0.05)
    return job


async def test_a_finished_job_is_recorded(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    with recording(api_server, api, tmp_path, ledger):
        created = await api.apply(make_job("kept", framework="Torch"))
        [_] = await api.wait_for_pods("kept", 1)
        assert (await api.job("kept"))["metadata"]["finalizers"] == [FINALIZER]
        await api.finish_job("kept")
        job = await wait_for_release(api, "kept")

    row = ledger.rows[created["metadata"]["uid"]]
    assert condition(job["status"], "Persisted")["reason"] == "Stored"
    assert (row["name"], row["phase"], row["cluster"]) == ("kept", "Succeeded", "test")
    assert row["framework"] == "Torch"
    assert row["completedAt"] == job["status"]["completionTime"]


async def test_while_the_endpoint_is_down_jobs_end_in_time_and_are_stored_later(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    names = [f"late-{number}" for number in range(3)]
    ledger.go_down()
    with recording(api_server, api, tmp_path, ledger) as operator:
        taken = []
        for name in names:
            await api.apply(make_job(name))
            [pod] = await api.wait_for_pods(name, 1)
            await api.start_pod(pod)
            await api.finish_pod(pod)
            took = Stopwatch.including_this_process(operator.process.pid)
            await api.wait_for_phase(name, "Succeeded")
            taken.append(took.seconds())
            assert (await api.job(name))["status"]["recordState"] == "Pending"
        # A stall of the machine or its disk may delay one. A job that waited for a response of the
        # endpoint would take ten seconds.
        assert median(taken) < 1.0, taken
        assert max(taken) < 5.0, taken

        operator.kill()
        operator.start()
        operator.wait_until_ready()
        ledger.come_up()
        for name in names:
            await wait_for_release(api, name)
    assert sorted(row["name"] for row in ledger.rows.values()) == names


async def test_a_job_deleted_while_it_runs_is_recorded_and_then_removed(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    with recording(api_server, api, tmp_path, ledger):
        created = await api.apply(make_job("cancelled"))
        [pod] = await api.wait_for_pods("cancelled", 1)
        await api.start_pod(pod)
        await api.wait_for_phase("cancelled", "Running")
        await api.delete_job("cancelled")
        await api.wait_until_gone("cancelled")

    row = ledger.rows[created["metadata"]["uid"]]
    assert (row["phase"], row["reason"]) == ("Cancelled", "Deleted")


async def test_recording_can_be_switched_off_and_on_around_jobs(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    with recording(api_server, api, tmp_path, ledger):
        await api.apply(make_job("owing"))
        [pod] = await api.wait_for_pods("owing", 1)
        await api.start_pod(pod)
    with recording(api_server, api, tmp_path, None) as operator:
        assert "finished jobs leave no record" in operator.log()
        await api.finish_pod(pod)
        await api.wait_for_phase("owing", "Succeeded")
        assert (await api.job("owing"))["status"]["recordState"] == "Pending"
        await api.apply(make_job("free"))
        await api.finish_job("free")
        free = await api.wait_for_phase("free", "Succeeded")
        assert free["recordState"] == "NotRequired"
        await api.apply(make_job("running"))
        [running] = await api.wait_for_pods("running", 1)
        await api.start_pod(running)
    with recording(api_server, api, tmp_path, ledger):
        await wait_for_release(api, "owing")
        async with asyncio.timeout(90):
            while not (await api.job("running"))["metadata"].get("finalizers"):
                await asyncio.sleep(0.05)
        await api.finish_pod(running)
        await wait_for_release(api, "running")
    assert {row["name"] for row in ledger.rows.values()} == {"owing", "running"}


async def test_no_secret_is_exposed(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(SECRETS[1])
    ledger.go_down()
    with recording(
        api_server,
        api,
        tmp_path,
        ledger,
        TRAININGJOB_PERSIST__TOKEN_FILE=str(token),
        TRAININGJOB_LOGGING__LEVEL="debug",
    ) as operator:
        await api.apply(make_job("quiet", env={"PASSWORD": SECRETS[0]}, backoff_limit=0))
        await api.finish_job("quiet", code=1)
        await api.wait_for_phase("quiet", "Failed")
        async with asyncio.timeout(90):
            while not operator.probe("/readyz")[0]:
                await asyncio.sleep(0.05)
        ledger.come_up()
        job = await wait_for_release(api, "quiet")
        metrics = operator.probe("/metrics")[1]
        said = "\n".join(
            [operator.log(), str(job["status"]), str(await api.events("quiet")), metrics]
            + [re.sub(r"'Authorization': '[^']*'", "", body) for body in ledger.bodies]
        )
    assert f"Bearer {SECRETS[1]}" in ledger.bodies[0], "the ledger got the token"
    assert [secret for secret in SECRETS if secret in said] == []
    assert "trainingjob_operator_records_stored_total 1.0" in metrics.splitlines()
    names = ("quiet", api.namespace, job["metadata"]["uid"], ledger.url)
    assert [name for name in names if name in metrics] == []


async def test_credentials_in_the_url_are_refused_without_being_repeated(
    api_server: ApiServerUnderTest, tmp_path: Path
) -> None:
    operator = OperatorProcess(
        api_server.kubeconfig,
        tmp_path / "operator.log",
        TRAININGJOB_PERSIST__URL=f"https://user:{SECRETS[0]}@example.com/jobs",
    )
    with operator:
        assert operator.wait_for_exit(90) == 2
    assert "TRAININGJOB_PERSIST__URL" in operator.log()
    assert SECRETS[0] not in operator.log()


# --- uninstall ----------------------------------------------------------------------------------


async def farewell(
    api_server: ApiServerUnderTest, api: Api, *arguments: str, url: str = ""
) -> tuple[int, str, str]:
    """Run `trainingjob release-finalizers`: exit code, standard output, standard error."""
    settings = {
        "KUBECONFIG": str(api_server.kubeconfig),
        "TRAININGJOB_NAMESPACES": api.namespace,
        "TRAININGJOB_PERSIST__URL": url,
    }
    ended = await run_trainingjob(
        "release-finalizers", *arguments, environment=clean_environment() | settings
    )
    return ended.code, ended.output, ended.errors


async def three_held_objects(api: Api) -> None:
    """A running job, one whose record is not stored, and a policy with kopf's finalizer."""
    await api.apply(make_job("running"))
    [pod] = await api.wait_for_pods("running", 1)
    await api.start_pod(pod)
    await api.apply(make_job("unstored"))
    await api.finish_job("unstored")
    await api.wait_for_job("unstored", lambda s: s.get("recordState") == "Pending")
    policy = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": "default", "finalizers": ["trainingjob.dev/retention"]},
        "spec": {},
    }
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/retentionpolicies"
    await api.client.create(path, policy)


async def test_after_an_uninstall_no_finalizer_blocks_a_namespace(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    ledger.go_down()
    with recording(api_server, api, tmp_path, ledger):
        await three_held_objects(api)

    jobs = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/trainingjobs"
    await api.client.delete(f"{jobs}/unstored")
    code, out, err = await farewell(api_server, api)
    assert (code, out) == (1, "")
    assert f"1 objects still have their finalizer (first: {api.namespace}" in err
    assert "--discard" in err
    assert (await api.job("unstored"))["metadata"]["finalizers"] == [FINALIZER]
    assert not (await api.job("running"))["metadata"].get("finalizers")

    code, out, err = await farewell(api_server, api, "--discard")
    assert code == 0
    [record] = [json.loads(line) for line in out.splitlines()]
    assert (record["name"], record["phase"]) == ("unstored", "Succeeded")
    assert "gave up 1" in err

    namespace = f"/api/v1/namespaces/{api.namespace}"
    await api.client.delete(namespace)
    async with asyncio.timeout(60):
        while await exists(api, namespace):
            await asyncio.sleep(0.1)


async def test_a_record_that_an_uninstall_cannot_store_is_kept_in_the_job_for_the_next_installation(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    ledger.go_down()
    with recording(api_server, api, tmp_path, ledger):
        await three_held_objects(api)
    code, out, err = await farewell(api_server, api, "--discard")
    assert (code, out) == (0, "")
    assert "gave up 0" in err
    assert "1 records could not be stored and stay pending" in err
    job = await api.job("unstored")
    assert not job["metadata"].get("finalizers")
    assert job["status"]["recordState"] == "Pending"
    [said] = [each for each in job["status"]["conditions"] if each["type"] == "Persisted"]
    assert said["status"] == "False"

    with recording(api_server, api, tmp_path, ledger):
        async with asyncio.timeout(90):
            while not (await api.job("unstored"))["metadata"].get("finalizers"):
                await asyncio.sleep(0.05)
        ledger.come_up()
        await api.wait_for_job("unstored", lambda s: s.get("recordState") == "Stored")
        await wait_for_release(api, "unstored")
    assert "unstored" in [row["name"] for row in ledger.rows.values()]


async def exists(api: Api, path: str) -> bool:
    try:
        await api.client.get(path)
    except ApiError as error:
        if error.not_found:
            return False
        raise
    return True


async def test_pending_records_are_stored_on_uninstall(
    api_server: ApiServerUnderTest, api: Api, ledger: HttpEndpoint, tmp_path: Path
) -> None:
    ledger.go_down()
    with recording(api_server, api, tmp_path, ledger):
        await three_held_objects(api)
    ledger.come_up()

    code, out, err = await farewell(api_server, api, url=ledger.url)
    assert (code, out) == (0, "")
    # Three, and the operator's default policy, if kopf has already added its finalizer to that.
    assert re.search(r"released [34] objects; stored 1 records, gave up 0", err)
    assert [row["name"] for row in ledger.rows.values()] == ["unstored"]
