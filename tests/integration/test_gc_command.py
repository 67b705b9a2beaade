"""`trainingjob gc`: its dry run, what it deletes, and what it keeps."""

import asyncio
import contextlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.apiserver.retention import home_of, policy_of, policy_path
from tests.support.builders import make_job
from tests.support.processes.commands import run_trainingjob
from tests.support.volume.volume import new_uid
from trainingjob_operator.core.untyped_json import time_text
from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root
from trainingjob_sandbox.apiserver import ApiServerThread
from trainingjob_sandbox.client import ApiError

Object = dict[str, Any]


@pytest.fixture
async def root(api_server: ApiServerUnderTest, api: Api, tmp_path: Path) -> Path:
    """A volume claimed for this namespace by an operator that has created its default policy."""
    path, home = tmp_path / "volume", home_of(api_server)
    path.mkdir()
    uid = (await api.client.get(f"/api/v1/namespaces/{home}"))["metadata"]["uid"]
    with Root.open(str(path)) as opened:
        opened.initialise(Owner("default", (api.namespace,), uid))
    with contextlib.suppress(ApiError):  # another test has already created it
        await api.client.create(policy_path(home).rpartition("/")[0], policy_of(home))
    return path


class Gc:
    """The command as run by a user whose kubeconfig has one namespace."""

    def __init__(
        self, kubeconfig: Path, namespace: str, root: Path, *, home: str | None = None
    ) -> None:
        self._kubeconfig = kubeconfig
        self._environment = {
            **os.environ,
            "TRAININGJOB_NAMESPACES": namespace,
            "TRAININGJOB_OPERATOR_NAMESPACE": home or "",
            "TRAININGJOB_VOLUME__ROOT": str(root),
            "TRAININGJOB_VOLUME__MAX_AGE": "1s",
            "TRAININGJOB_GC__ARGOCD_LABEL": "example.com/app",
        }

    async def __call__(self, *arguments: str) -> tuple[int, Object, str]:
        reach = ("--kubeconfig", str(self._kubeconfig))
        ended = await run_trainingjob(
            *("gc", "-o", "json"), *reach, *arguments, environment=self._environment
        )
        return ended.code, json.loads(ended.output or "{}"), ended.errors


async def ended(api: Api, name: str, **labels: str) -> None:
    """A job that finished two hours ago."""
    job = make_job(name)
    await api.apply(job | {"metadata": job["metadata"] | {"labels": labels}})
    at = time_text(datetime.now(UTC) - timedelta(hours=2))
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": "CompletionsReached",
            "message": "",
            "lastTransitionTime": at,
            "observedGeneration": 1,
        }
        for kind in ("Complete", "Finished")
    ]
    status = {
        "phase": "Succeeded",
        "conditions": conditions,
        "completionTime": at,
        "recordState": "NotRequired",
    }
    await api.patch_job_status(name, status)


async def test_gc_dry_run_lists_exactly_what_gc_then_deletes(
    api_server: ApiServerUnderTest, api: Api, root: Path
) -> None:
    live = await api.apply(make_job("live"))
    await ended(api, "over")
    await ended(api, "synced", **{"example.com/app": "ml"})  # Argo CD would create it again
    lives = root / f"job_{live['metadata']['uid']}.log"
    gone = root / f"job_{new_uid()}.log"
    for path in (lives, gone):
        path.write_text("output")
    gc = Gc(api_server.operator_kubeconfig, api.namespace, root)

    async with asyncio.timeout(60):  # what changed within seconds of the list stays
        while True:
            code, told, err = await gc("--dry-run")
            assert code == 0, err
            if told["volume"]["wouldRemove"]["entries"]:
                break
    assert told["dryRun"] is True
    assert told["jobs"] == [{"namespace": api.namespace, "name": "over", "reason": "TTL"}]
    [would_go] = told["volume"]["wouldRemove"]["list"]
    assert would_go["path"] == gone.name
    assert told["volume"]["skipped"] == {"live": 1}
    assert gone.exists()
    assert not await api.job_is_gone("over")

    code, told, err = await gc()

    assert code == 0, err
    assert told["volume"]["filesRemoved"] == 1
    assert (lives.exists(), gone.exists()) == (True, False)
    assert [job["name"] for job in told["jobs"]] == ["over"]
    assert await api.job_is_gone("over")
    assert not await api.job_is_gone("live")


async def test_gc_does_not_touch_the_volume_without_a_complete_list_of_jobs(
    api: Api, root: Path, tmp_path: Path
) -> None:
    log = root / f"job_{new_uid()}.log"
    log.touch()
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "c",
            }
        )
    )
    code, told, err = await Gc(nowhere, api.namespace, root)()
    assert code == 1
    assert told["volume"] is None
    assert "the API server" in err
    assert log.exists()


async def test_gc_does_nothing_without_a_default_policy(
    api_server: ApiServerUnderTest, api: Api, root: Path
) -> None:
    """The kubeconfig of another cluster, or the wrong namespace."""
    log = root / f"job_{new_uid()}.log"
    log.touch()
    await ended(api, "over")
    gc = Gc(api_server.operator_kubeconfig, api.namespace, root, home=api.namespace)
    code, told, err = await gc()
    assert code == 1
    assert "no RetentionPolicy `default`" in err
    assert (told["volume"], told["jobs"]) == (None, [])
    assert log.exists()
    assert not await api.job_is_gone("over")


@pytest.mark.sandbox_only
async def test_gc_does_nothing_on_a_cluster_without_the_crds(
    root: Path, api: Api, tmp_path: Path
) -> None:
    log = root / f"job_{new_uid()}.log"
    log.touch()
    with ApiServerThread(crds=[]) as bare:
        kubeconfig = tmp_path / "bare"
        kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": bare.url}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "c",
                }
            )
        )
        code, told, err = await Gc(kubeconfig, api.namespace, root)()
    assert code == 1
    assert "are the CRDs installed" in err
    assert told["volume"] is None
    assert log.exists()
