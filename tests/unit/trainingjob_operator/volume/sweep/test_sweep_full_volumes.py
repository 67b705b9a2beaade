"""Full and read-only volumes: they are swept, or reported and left unchanged."""

from pathlib import Path

import pytest

from tests.support.volume import mount_namespace
from tests.support.volume.mount_namespace import Outcome

SWEPT_WHOLE = {"files": 15, "directories": 4, "errors": 0, "healthy": True}


def scenario(name: str, folder: Path) -> Outcome:
    return mount_namespace.scenario("volume.full_volumes", name, folder)


@pytest.mark.parametrize("name", ["no_inode_for_the_trash", "no_block_for_the_trash"])
def test_a_volume_that_has_no_room_even_for_the_trash_is_swept(tmp_path: Path, name: str) -> None:
    found = scenario(name, tmp_path)
    assert found["full"]
    assert {key: found[key] for key in SWEPT_WHOLE} == SWEPT_WHOLE
    assert set(found["names"]) <= {".trainingjob-volume", "datasets", "others", "lost+found"}
    assert (found["later"]["healthy"], found["later"]["errors"]) == (True, 0)


def test_a_deep_tree_goes_though_the_trash_has_no_room_for_all_its_directories(
    tmp_path: Path,
) -> None:
    found = scenario("no_block_for_names_in_the_trash", tmp_path)
    assert found["full"]
    assert (found["files"], found["directories"], found["errors"]) == (60, 63, 0)
    assert (found["left"], found["trash"]) == (["lost+found", "others"], [])


def test_what_was_left_in_the_root_goes_though_not_all_of_it_fits_into_the_trash(
    tmp_path: Path,
) -> None:
    found = scenario("more_left_in_the_root_than_fits", tmp_path)
    assert found["full"]
    assert 0 < found["first"]["directories"] < 120
    assert found["first"]["healthy"]
    assert (found["directories"], found["errors"], found["left"]) == (120, 0, [])


def test_a_log_that_changed_goes_back_though_no_inode_is_left(tmp_path: Path) -> None:
    found = scenario("no_inode_to_go_back", tmp_path)
    assert (found["skipped"], found["errors"], found["healthy"]) == ({"changed": 1}, 0, True)
    assert (found["text"], found["trash"]) == ("output\n", [])


def test_a_full_volume_is_swept_before_it_is_told_of_further_namespaces(tmp_path: Path) -> None:
    found = scenario("no_room_to_say_whose_it_is", tmp_path)
    assert (found["files"], found["errors"], found["healthy"]) == (1, 0, True)
    assert '"ml"' in found["first"]
    assert '"namespaces": []' in found["later"]


@pytest.mark.parametrize("name", ["a_log_that_does_not_fit", "a_log_that_does_not_fit_on_ext4"])
def test_a_log_that_does_not_fit_is_given_up_and_archived_when_a_sweep_has_made_room(
    tmp_path: Path, name: str
) -> None:
    found = scenario(name, tmp_path)
    assert "is full (No space left on device)" in found["lost"]
    assert found["volume_fault"]
    assert found["half"] == 0
    assert (found["files"], found["healthy"]) == (1, True)
    assert (found["again"], found["size"] > 4 * 2**20) == ("", True)
    assert found["text"].endswith("\n<== attempt 0 rank 0 pod pod-0 bytes 4194880 cut 0\n")


@pytest.mark.parametrize(
    "name", ["a_log_given_up_takes_no_room", "a_log_given_up_takes_no_room_on_ext4"]
)
def test_a_log_that_is_given_up_leaves_the_archive_as_it_was_even_if_its_writer_dies(
    tmp_path: Path, name: str
) -> None:
    found = scenario(name, tmp_path)
    assert "is full" in found["lost"]
    assert found["intact"]
    assert found["room"][1] < found["room"][0]
    left_open = found["room"][1] - found["room"][2]
    assert left_open <= 8, "no block of the full volume is taken by it, but for ext4's own"
    assert found["torn"] > 2**19, "the process was killed in the middle"
    assert ("is full" in found["again"], found["mended"]) == (True, True)
    assert (found["later"], found["earlier"], found["healthy"]) == ("", True, True)


def test_where_no_inode_is_left_for_an_archive_a_sweep_makes_one(tmp_path: Path) -> None:
    found = scenario("a_job_without_an_inode", tmp_path)
    assert "is full" in found["lost"]
    assert (found["old"], found["errors"], found["again"]) == (False, 0, "")


def test_on_a_read_only_volume_a_log_is_given_up_and_it_is_said_why(tmp_path: Path) -> None:
    found = scenario("a_log_on_a_read_only_volume", tmp_path)
    assert "is read-only: mount it writable" in found["lost"]
    assert (found["volume_fault"], found["prepared"]) == (True, "ReadOnly")
