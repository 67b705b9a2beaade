"""A cluster restored from a backup: the operator follows the restored state of jobs that it already knows."""

from pathlib import Path

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.apiserver.backup import back_up
from tests.support.builders import make_job, unscheduled
from tests.support.processes.operator import operating


@pytest.mark.sandbox_only
async def test_a_job_that_was_running_is_followed_to_its_end_after_the_restore_of_a_backup(
    own_api_server: ApiServerUnderTest, own_api: Api, tmp_path: Path
) -> None:
    settings = {"TRAININGJOB_RECONCILER__RESYNC_INTERVAL": "1h"}
    with operating(own_api_server, own_api, tmp_path, **settings) as operator:
        await own_api.apply(unscheduled(make_job("mnist", backoff_limit=0)))
        [pod] = await own_api.wait_for_pods("mnist", 1)
        await own_api.start_pod(pod)
        await own_api.wait_for_phase("mnist", "Running")
        restore = back_up(own_api_server)
        await own_api.finish_pod(pod)
        await own_api.wait_for_phase("mnist", "Succeeded")
        for number in range(20):  # the versions go far beyond those that come after the restore
            await own_api.patch_job("mnist", {"metadata": {"labels": {"try": str(number)}}})

        restore()

        assert (await own_api.job("mnist"))["status"]["phase"] == "Running"
        await own_api.finish_pod(pod, 3)
        status = await own_api.wait_for_phase("mnist", "Failed")
        assert status["exitCode"] == 3
        operator.wait_until_ready()
        assert "restarting: " in operator.log()
