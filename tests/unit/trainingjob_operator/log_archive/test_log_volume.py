"""A new file system that root owns, and an operator that is not root."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.processes.users import without_roots_rights
from tests.support.volume.volume import until
from trainingjob_api.constants import REASON_PERMISSION_DENIED, REASON_SENTINEL_MISSING
from trainingjob_api.errors import VolumeError
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.log_archive import log_volume
from trainingjob_operator.log_archive.archiver import VOLUME_RETRY_S
from trainingjob_operator.log_archive.log_volume import VolumeClaim, log_volume_from
from trainingjob_operator.settings import Settings, VolumeSettings
from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root

OURS: Final = Owner("default", identity="5d1b5f0e-6f43-4c5b-9f3e-0123456789ab")
UID: Final = "0a1b2c3d-0000-4000-8000-000000000000"
ANOTHER: Final = "0a1b2c3d-0000-4000-8000-000000000001"


@pytest.fixture
def place() -> Iterator[Path]:
    """A root that only root can write, in a place that lets every user in."""
    above = Path(tempfile.mkdtemp())
    above.chmod(0o755)
    path = above / "volume"
    path.mkdir()
    (path / "lost+found").mkdir(mode=0o700)
    path.chmod(0o555)  # also for those whose tests do not run as root
    try:
        yield path
    finally:
        path.chmod(0o755)
        shutil.rmtree(above)


def claim(place: Path, *known: str) -> None:
    with without_roots_rights(), Root.open(str(place)) as root:
        root.claim(OURS, None, known=frozenset(known))


def refusal(place: Path, *known: str) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        claim(place, *known)
    return caught.value


def test_a_root_that_cannot_be_written_is_named_with_its_owner_and_what_mends_it(
    place: Path,
) -> None:
    error = refusal(place)
    assert error.reason == REASON_PERMISSION_DENIED
    owner = place.stat()
    assert f"belongs to user {owner.st_uid}, group {owner.st_gid}, mode 0555" in str(error)
    assert "logVolume.fsGroup" in str(error)
    assert "--init" not in str(error)
    with (
        without_roots_rights(),
        Root.open(str(place)) as root,
        pytest.raises(VolumeError) as caught,
    ):
        root.check(OURS, None)  # what the jobs are told
    assert str(caught.value) == str(error)


def test_directories_of_existing_jobs_do_not_prevent_a_claim(place: Path) -> None:
    place.chmod(0o777)
    (place / f"job_{UID}").mkdir(mode=0o755)
    assert refusal(place).reason == REASON_SENTINEL_MISSING
    claim(place, UID, ANOTHER)
    assert (place / ".trainingjob-volume").exists()
    assert (place / f"job_{UID}").exists()


@pytest.mark.parametrize(
    "name", [f"job_{ANOTHER}", f"job_{UID}.log", f"job_{UID}.old", "results", "job_7"]
)
def test_whatever_else_is_there_keeps_a_root_from_being_taken(place: Path, name: str) -> None:
    place.chmod(0o777)
    (place / f"job_{UID}").mkdir()
    (place / name).mkdir()
    error = refusal(place, UID)
    assert error.reason == REASON_SENTINEL_MISSING
    assert not (place / ".trainingjob-volume").exists()


def test_a_link_with_the_name_of_a_directory_keeps_a_root_from_being_taken(place: Path) -> None:
    place.chmod(0o777)
    (place / f"job_{UID}").symlink_to("/etc")
    assert refusal(place, UID).reason == REASON_SENTINEL_MISSING


class Policies(FakeCluster):
    """There is a default policy that remembers no volume."""

    async def get_policy(self, namespace: str) -> dict[str, Any] | None:
        return {"metadata": {"name": "default"}, "status": {}}


def new_claim(place: Path) -> VolumeClaim:
    volume = log_volume_from(Settings(volume=VolumeSettings(root=str(place))), SystemClock())
    assert volume is not None
    volume.identity.set_uid(OURS.identity)
    return VolumeClaim(
        volume.store, Policies(), policy_namespace="ops", known_uids=lambda: frozenset({UID})
    )


def make_as_a_kubelet_does(place: Path) -> None:
    place.chmod(0o777)
    (place / f"job_{UID}").mkdir(mode=0o755)


async def test_a_root_that_was_mended_is_taken_without_a_restart(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(log_volume, "CLAIM_AGAIN_S", 0.01)
    with without_roots_rights():
        volume_claim = new_claim(place)
        assert not await volume_claim.claim()
        claiming = asyncio.create_task(volume_claim.keep_claiming())
        assert not await volume_claim.claim()
        assert caplog.text.count("cannot be written") == 1, "it is said once"
    make_as_a_kubelet_does(place)
    with without_roots_rights():
        await until(lambda: "can be used now" in caplog.text)
    assert not claiming.done()
    claiming.cancel()
    await asyncio.wait([claiming])
    with Root.open(str(place)) as root:
        root.check(OURS, None)


def test_it_is_looked_at_again_often_enough() -> None:
    assert log_volume.CLAIM_AGAIN_S + VOLUME_RETRY_S <= 60
