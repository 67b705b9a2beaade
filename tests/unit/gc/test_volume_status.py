"""What a policy's status says of the log volume: how it is, and what was removed in all."""

from dataclasses import replace

from tests.support.leaping import leaping_time
from tests.unit.gc.test_housekeeper import REPORT, Volume, house
from trainingjob_operator.errors import VolumeError


@leaping_time
async def test_a_volume_that_takes_no_logs_is_not_healthy_though_it_can_be_swept() -> None:
    faults: list[VolumeError | None] = [VolumeError("it is full", reason="Unavailable"), None]
    well = replace(REPORT, healthy=True, reason="Healthy", message="")
    home = await house(volume=Volume(report=well), volume_fault=lambda: faults[0])
    said = []
    for _ in range(2):
        await home.keeper.tick("ops")
        [found] = [c for c in home.status()["conditions"] if c["type"] == "VolumeHealthy"]
        said.append((found["status"], found["reason"], found["message"]))
        faults.pop(0)
    told = "logs could not be written when that was last tried: it is full"
    assert said == [("False", "Unavailable", told), ("True", "Healthy", "")]
    assert home.counts.volumes == [well, well], "the sweeps themselves were successes"


@leaping_time
async def test_what_is_wrong_with_the_sweep_is_said_before_what_is_wrong_with_the_logs() -> None:
    fault = VolumeError("it is full", reason="Unavailable")
    home = await house(volume=Volume(), volume_fault=lambda: fault)
    await home.keeper.tick("ops")
    [found] = [c for c in home.status()["conditions"] if c["type"] == "VolumeHealthy"]
    assert (found["reason"], found["message"]) == ("PermissionDenied", "set logVolume.asRoot")
