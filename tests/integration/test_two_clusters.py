"""Two clusters with default settings share a log directory: the entries of the first one's jobs are kept."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.test_gc_command import Gc
from tests.support.apiserver.api import Api, condition, sandbox_api_server
from tests.support.apiserver.retention import read_policy, wait_for_sweep
from tests.support.builders import make_job
from tests.support.processes.operator import sweeping

pytestmark = pytest.mark.sandbox_only


async def test_an_operator_deletes_nothing_on_a_volume_owned_by_another_cluster(
    tmp_path: Path,
) -> None:
    root, folders = tmp_path / "volume", [tmp_path / "first", tmp_path / "second"]
    for folder in (root, *folders):
        folder.mkdir()
    with ExitStack() as stack:
        first, second = (stack.enter_context(sandbox_api_server(folder)) for folder in folders)
        async with Api(first, f"test-{uuid4().hex[:8]}") as api, Api(second, "other") as other:
            stack.enter_context(sweeping(first, api, folders[0], root, max_age="1s"))
            mine = await wait_for_sweep(api, "default")
            assert mine["volumeId"]
            created = await api.apply(make_job("live"))
            [pod] = await api.wait_for_pods("live", 1)
            await api.start_pod(pod)
            uid = created["metadata"]["uid"]
            files = [
                root / f"job_{uid}" / "best.ckpt",
                root / "datasets" / f"job_{uid}" / "part-0",
            ]
            for file in files:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("content")
            gone = root / f"job_{uuid4()}.log"
            gone.touch()

            stack.enter_context(sweeping(second, other, folders[1], root, max_age="1s"))
            theirs = await wait_for_sweep(other, "default")
            async with asyncio.timeout(60):
                while gone.exists():  # by then all of it is old enough to go, if anybody takes it
                    await asyncio.sleep(0.05)
            theirs = await wait_for_sweep(other, "default", after=theirs["lastSweepTime"])

            healthy = condition(theirs, "VolumeHealthy")
            assert (healthy["status"], healthy["reason"]) == ("False", "ForeignVolume")
            assert "trainingjob prune --adopt" in healthy["message"]
            assert "volumeId" not in theirs
            assert theirs["totals"]["filesRemoved"] == 0
            assert all(file.exists() for file in files)
            assert (
                condition((await read_policy(api, "default"))["status"], "VolumeHealthy")["status"]
                == "True"
            )

            # Nor does the command delete anything with the kubeconfig of the wrong cluster.
            code, told, err = await Gc(second.operator_kubeconfig, "other", root)()
            assert code == 1
            assert "belongs to cluster" in err
            assert told["volume"]["healthy"] is False
            assert all(file.exists() for file in files)
