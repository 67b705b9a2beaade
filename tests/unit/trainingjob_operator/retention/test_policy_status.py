"""The status of a policy: the volume's health, and the totals of all runs."""

from dataclasses import replace

import pytest

from tests.support.cluster.simulated_time import in_simulated_time
from tests.unit.trainingjob_operator.retention.test_housekeeper import REPORT, Volume, house
from trainingjob_api.errors import (
    ConflictError,
    KubernetesError,
    UnavailableError,
    VolumeError,
)


@in_simulated_time
async def test_a_volume_that_takes_no_logs_is_not_healthy_though_it_can_be_swept() -> None:
    fault = VolumeError("it is full", reason="Unavailable")
    well = replace(REPORT, healthy=True, reason="Healthy", message="")
    home = await house(volume=Volume(report=well))
    assert home.life.archiver is not None
    said = []
    for home.life.archiver.volume_fault in (fault, None):
        await home.keeper.tick("ops")
        [found] = [c for c in home.status()["conditions"] if c["type"] == "VolumeHealthy"]
        said.append((found["status"], found["reason"], found["message"]))
    told = "the last attempt to write a log failed: it is full"
    assert said == [("False", "Unavailable", told), ("True", "Healthy", "")]
    assert home.counts.volumes == [well, well], "the sweeps themselves were successes"


@in_simulated_time
async def test_what_is_wrong_with_the_sweep_is_said_before_what_is_wrong_with_the_logs() -> None:
    fault = VolumeError("it is full", reason="Unavailable")
    home = await house(volume=Volume())
    assert home.life.archiver is not None
    home.life.archiver.volume_fault = fault
    await home.keeper.tick("ops")
    [found] = [c for c in home.status()["conditions"] if c["type"] == "VolumeHealthy"]
    assert (found["reason"], found["message"]) == ("PermissionDenied", "set logVolume.asRoot")


@pytest.mark.parametrize("error", [UnavailableError("down"), ConflictError("always")])
def test_what_was_removed_while_nobody_could_be_told_is_in_the_sums_of_the_next_run(
    error: KubernetesError,
) -> None:
    @in_simulated_time
    async def play() -> None:
        home = await house(volume=Volume())
        home.cluster.fail_next("patch_policy_status", error, times=100)
        for _ in range(3):
            await home.keeper.tick("ops")
        home.cluster._faults.clear()
        assert home.status() == {}
        await home.keeper.tick("ops")
        status = home.status()
        assert status["totals"] == {
            "jobsDeleted": 0,
            "filesRemoved": 12,
            "directoriesRemoved": 8,
            "bytesFreed": 4 * 4096,
            "errors": 4,
        }
        figures = ("filesRemoved", "directoriesRemoved", "bytesFreed", "errors")
        assert [status[name] for name in figures] == [3, 2, 4096, 1], "of the last run alone"
        await home.keeper.tick("ops")
        assert home.status()["totals"]["filesRemoved"] == 15, "and told once"

    play()


@in_simulated_time
async def test_sums_that_nobody_could_be_told_go_with_their_policy_and_have_a_limit() -> None:
    home = await house(volume=Volume(report=replace(REPORT, bytes_freed=2**53)))
    home.cluster.fail_next("patch_policy_status", UnavailableError("down"), times=2)
    for _ in range(2):
        await home.keeper.tick("ops")
    assert home.life.unreported.sums_of("ops")["bytesFreed"] == 2**53 - 1
    home.cluster.delete_policy("ops")
    await home.life.policy_watch.refresh()
    assert home.life.unreported.sums_of("ops") == {}
