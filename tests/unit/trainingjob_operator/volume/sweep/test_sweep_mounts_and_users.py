"""Mounts, full and read-only volumes, and other users' files, each in a mount namespace."""

import shutil
from pathlib import Path

import pytest

from tests.support.volume import mount_namespace
from tests.support.volume.mount_namespace import Outcome

DAC_OVERRIDE_AND_FOWNER = 1 << 1 | 1 << 3


def scenario(name: str, folder: Path) -> Outcome:
    return mount_namespace.scenario("volume.volume_scenarios", name, folder)


@pytest.mark.parametrize("name", ["mount_inside", "mount_on_the_entry"])
def test_a_file_system_that_is_mounted_in_a_tree_is_not_entered(tmp_path: Path, name: str) -> None:
    found = scenario(name, tmp_path)
    assert found["alive"]
    assert found["skipped"] == {"mount": 1}
    assert found["healthy"] is False
    assert found["files"] == (1 if name == "mount_inside" else 0)


def test_a_bind_mount_of_the_same_file_system_is_not_entered(tmp_path: Path) -> None:
    found = scenario("bind_mount_inside", tmp_path)
    if not found["openat2"]:
        pytest.skip("this kernel has no openat2, which alone sees such a mount")
    assert found["alive"]
    assert found["skipped"] == {"mount": 1}


def test_a_file_that_is_mounted_on_a_log_stays_and_the_others_go(tmp_path: Path) -> None:
    found = scenario("bind_mount_on_a_log", tmp_path)
    assert found["alive"]
    assert found["files"] == 1
    assert found["skipped"] == {"busy": 1}


def test_a_volume_that_is_not_mounted_is_not_swept_nor_taken_for_a_new_one(tmp_path: Path) -> None:
    found = scenario("not_mounted", tmp_path)
    assert found["first"]["files"] == 1
    for when in ("second", "third"):
        assert (found[when]["reason"], found[when]["files"]) == ("SentinelMissing", 0)
        assert "mounted" in found[when]["message"]
    assert found["left"] == []


@pytest.mark.parametrize("name", ["read_only", "read_only_bind"])
def test_a_read_only_volume_is_said_once_and_left_alone(tmp_path: Path, name: str) -> None:
    found = scenario(name, tmp_path)
    for report in found["reports"]:
        assert (report["reason"], report["healthy"], report["files"]) == ("ReadOnly", False, 0)
        assert 0 < report["errors"] < 5  # of as many entries: the sweep ends at the first
        assert "mount it writable" in report["message"]
    assert found["left"] == 5


def test_removing_takes_no_room(tmp_path: Path) -> None:
    found = scenario("full", tmp_path)
    assert (found["left"], found["errors"], found["files"]) == (0, 0, 5)


def test_a_file_system_that_others_fill_costs_nothing_its_week(tmp_path: Path) -> None:
    found = scenario("filled_by_others", tmp_path)
    assert found["free"] < 0.12
    assert (found["files"], found["left"], found["healthy"]) == (0, 2, True)


def test_files_of_another_user_stay_and_the_setting_that_helps_is_named(tmp_path: Path) -> None:
    found = scenario("another_user", tmp_path)
    assert found["uid"] == 65534
    assert found["skipped"] == {"denied": 2}
    assert (found["healthy"], found["reason"]) == (False, "PermissionDenied")
    assert "logVolume.asRoot=true" in found["message"]
    assert found["left"] == 2  # its own files have gone


def test_root_needs_two_capabilities_to_remove_files_of_any_user(tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    found = scenario("root_with_two_capabilities", tmp_path)
    assert int(found["capabilities"], 16) == DAC_OVERRIDE_AND_FOWNER
    assert (found["healthy"], found["errors"], found["left"]) == (True, 0, 0)
