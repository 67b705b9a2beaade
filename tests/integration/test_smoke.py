"""`trainingjob smoke`: a job from submission to its record, and the messages about a broken installation."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.processes.operator import operating
from tests.support.records.service import RecordServiceProcess
from trainingjob_operator.commands.smoke import SmokeJob, smoke
from trainingjob_operator.settings import Settings
from trainingjob_sandbox.apiserver import ApiServerThread
from trainingjob_sandbox.apiserver.server_thread import kubeconfig

PATIENCE_S = 60.0


def trial(namespace: str, *, patience_s: float = PATIENCE_S) -> SmokeJob:
    return SmokeJob(namespace, "i:1", {}, patience_s=patience_s, reads_record=True)


async def submitted(api: Api) -> str:
    """Return the name of the job once it exists."""
    async with asyncio.timeout(PATIENCE_S):
        while not (names := [job["metadata"]["name"] for job in await jobs(api)]):
            await asyncio.sleep(0.05)
    return str(names[0])


async def jobs(api: Api) -> list[dict[str, Any]]:
    path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{api.namespace}/trainingjobs"
    return list((await api.client.list(path))[0])


async def test_smoke_reports_all_steps_or_names_the_failed_one(
    api_server: ApiServerUnderTest,
    api: Api,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = f"sqlite:///{tmp_path / 'records.db'}"
    with RecordServiceProcess(tmp_path, database) as records:
        recording = {
            "TRAININGJOB_PERSIST__URL": f"{records.url}/api/v1/jobs",
            "TRAININGJOB_PERSIST__TOKEN_FILE": str(records.token_file),
        }
        settings = Settings.from_environment(recording)

        async def tried(*, code: int, **options: Any) -> tuple[bool, str]:
            path = str(api.server.kubeconfig)
            tries = asyncio.create_task(
                smoke(settings, trial(api.namespace, **options), kubeconfig=path, context=None)
            )
            await api.finish_job(await submitted(api), code)
            works = await tries
            async with asyncio.timeout(PATIENCE_S):
                while await jobs(api):
                    await asyncio.sleep(0.05)
            return works, capsys.readouterr().err

        with operating(api_server, api, tmp_path, **recording):
            works, said = await tried(code=0)
            assert works, said
            assert "its record is stored, and was read" in said
            assert said.endswith("is deleted\ntrainingjob smoke: it works\n")

            works, said = await tried(code=3)
            assert not works
            assert "has ended as Failed: " in said

            # The operator's token is still in its own file; this command's is not accepted.
            wrong = tmp_path / "wrong"
            wrong.write_text("no such token\n")
            settings = Settings.from_environment(
                recording | {"TRAININGJOB_PERSIST__TOKEN_FILE": str(wrong)}
            )
            works, said = await tried(code=0)
            assert not works
            assert "but it cannot be read from the endpoint: HTTP 401" in said


async def test_without_an_operator_smoke_reports_it_and_leaves_no_objects(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(api.server.kubeconfig)
    waits = trial(api.namespace, patience_s=1.0)
    assert not await smoke(Settings(), waits, kubeconfig=path, context=None)
    said = capsys.readouterr().err
    assert "did not finish within 1 s; no operator has processed it" in said
    assert not await jobs(api)


@pytest.mark.sandbox_only
async def test_smoke_reports_missing_crds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kubeconfig"
    with ApiServerThread(crds=[]) as bare:
        path.write_text(kubeconfig(bare.url))
        assert not await smoke(Settings(), trial("ml"), kubeconfig=str(path), context=None)
    assert "are the CRDs installed" in capsys.readouterr().err
