"""Links and races: whatever is replaced by whatever, nothing outside is changed or lost."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.volume.volume import Volume, new_uid
from trainingjob_operator.volume.layout import Entry
from trainingjob_operator.volume.sweep import entry_remover as removing
from trainingjob_operator.volume.sweep import entry_verdict as judging
from trainingjob_operator.volume.sweep import trash
from trainingjob_operator.volume.sweep.budget import Limits
from trainingjob_operator.volume.sweep.entry_verdict import SweepContext
from trainingjob_operator.volume.sweep.rules import LiveJobs, Reason


def outside(volume: Volume) -> Path:
    return volume.path.parent / "outside"


def test_a_link_goes_and_what_it_points_to_stays(volume: Volume) -> None:
    (volume.path / f"job_{new_uid()}").symlink_to(outside(volume))
    (volume.path / f"job_{new_uid()}.log").symlink_to(outside(volume) / "canary")
    tree = volume.tree(f"job_{new_uid()}")
    (tree / "link").symlink_to(outside(volume))
    (tree / "below" / "dangling").symlink_to("/nowhere")
    volume.age()

    report = volume.sweep()

    assert volume.names() == set()
    assert report.files_removed == 2 + 4 + 2


def test_datasets_that_are_a_link_are_not_entered_and_it_is_said(volume: Volume) -> None:
    uid = new_uid()
    (outside(volume) / f"job_{uid}").mkdir()
    (outside(volume) / f"job_{uid}" / "foreign").write_text("alive")
    (volume.path / "datasets").symlink_to(outside(volume))
    volume.log(uid)
    volume.age()

    report = volume.sweep()

    assert (outside(volume) / f"job_{uid}" / "foreign").read_text() == "alive"
    assert report.files_removed == 1
    assert (report.healthy, report.reason) == (False, "UnsafeLayout")
    assert "datasets" in report.message
    (outside(volume) / f"job_{uid}" / "foreign").unlink()
    (outside(volume) / f"job_{uid}").rmdir()


def test_a_trash_that_is_a_link_is_not_used(volume: Volume) -> None:
    (volume.path / ".trash").rmdir()
    (volume.path / ".trash").symlink_to(outside(volume))
    volume.log(new_uid())
    volume.age()
    report = volume.sweep()
    assert (report.healthy, report.reason, report.files_removed) == (False, "UnsafeLayout", 0)


def test_another_jobs_directory_that_took_the_name_meanwhile_goes_back(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the judgement and the rename the name gets another owner."""
    doomed, precious = new_uid(), new_uid()
    volume.tree(f"job_{doomed}")
    volume.tree(f"job_{precious}")
    (volume.path / f"job_{precious}" / "weights").write_text("precious")
    volume.age()
    really = trash.Trash.move_in

    def move_in(self: trash.Trash, entry: Entry) -> str:
        (volume.path / f"job_{doomed}").rename(volume.path / "aside")
        (volume.path / f"job_{precious}").rename(volume.path / f"job_{doomed}")
        return really(self, entry)

    monkeypatch.setattr(trash.Trash, "move_in", move_in)
    report = volume.sweep(LiveJobs(frozenset({precious})))

    assert report.files_removed == 0
    assert report.skipped == {"live": 1, "changed": 1}
    assert (volume.path / f"job_{doomed}" / "weights").read_text() == "precious"
    assert volume.trash() == []


def test_what_is_written_between_the_judgement_and_the_rename_is_not_lost(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, log_uid = new_uid(), new_uid()
    deep = volume.tree(f"job_{uid}") / "below" / "file-1"
    log = volume.log(log_uid)
    volume.age()
    really = trash.Trash.move_in

    def move_in(self: trash.Trash, entry: Entry) -> str:
        path = log if entry.name == log.name else deep
        with path.open("ab") as file:
            file.write(b" and more")
        return really(self, entry)

    monkeypatch.setattr(trash.Trash, "move_in", move_in)
    report = volume.sweep()

    assert report.skipped == {"changed": 2}
    assert deep.read_bytes() == b"content and more"
    assert log.read_bytes() == b"output\n and more"
    assert volume.trash() == []


def test_what_is_written_between_the_rename_and_the_second_look_goes_back(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = new_uid()
    volume.tree(f"job_{uid}")
    volume.age()
    writer = (volume.path / f"job_{uid}" / "below" / "file-1").open("ab")
    really = judging.judge_again

    def judge_again(*args: object, **kwargs: object) -> judging.Verdict:
        writer.write(b" and more")
        writer.flush()
        return really(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(removing, "judge_again", judge_again)
    with writer:
        assert volume.sweep().skipped == {"changed": 1}
    path = volume.path / f"job_{uid}" / "below" / "file-1"
    assert path.read_bytes() == b"content and more"


def test_what_cannot_go_back_because_its_place_is_taken_is_kept_and_said(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, log_uid = new_uid(), new_uid()
    volume.tree(f"job_{uid}")
    log = volume.log(log_uid)
    volume.age()
    really = judging.judge_again

    def judge_again(context: SweepContext, entry: Entry, **kwargs: Any) -> judging.Verdict:
        if entry.name == log.name:
            log.write_text("new")
        else:
            volume.tree(entry.name)
        really(context, entry, **kwargs)
        return judging.Verdict(Reason.CHANGED)

    monkeypatch.setattr(removing, "judge_again", judge_again)
    volume.limits = Limits()
    report = volume.sweep()

    assert (report.files_removed, report.errors, report.healthy) == (0, 2, False)
    assert "its name has been used again" in report.message
    assert len(volume.trash()) == 2
    assert log.read_text() == "new"
