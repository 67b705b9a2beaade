"""Entries that are known to be young are not measured again until they can have expired."""

from pathlib import Path

import pytest

from tests.support.volume.volume import NOBODY, WEEK_S, Volume, new_uid
from trainingjob_operator.volume.sweep import entry_verdict as judge
from trainingjob_operator.volume.sweep.tree_age import measure as really
from trainingjob_operator.volume.sweep.young_entries import YoungEntries


def test_what_was_young_is_not_looked_at_again_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = Volume(tmp_path / "volume")
    volume.age()
    volume.tree(f"job_{new_uid()}")
    sweep = volume.new_sweep()
    looks: list[str] = []

    def measure(name: str, **how: object) -> object:
        looks.append(name)
        return really(name, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(judge, "measure", measure)
    for _ in range(3):
        assert sweep.sweep(NOBODY, max_age_s=WEEK_S).skipped == {"young": 1}
    assert len(looks) == 1

    volume.clock.wall_ns += int(60e9)
    assert sweep.sweep(NOBODY, max_age_s=WEEK_S).directories_removed == 2


def test_a_shorter_maximum_age_counts_at_once(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    volume.age()
    volume.log(new_uid())
    sweep = volume.new_sweep()
    assert sweep.sweep(NOBODY, max_age_s=WEEK_S).skipped == {"young": 1}
    assert sweep.sweep(NOBODY, max_age_s=1).files_removed == 1


def test_no_more_is_remembered_than_its_limit() -> None:
    young_entries = YoungEntries(limit=2)
    for number in range(5):
        young_entries.note(f"job_{number}", 10 + number)
    young_entries.note("job_0", 20)
    assert len(young_entries) == 2
    assert young_entries.is_young("job_0", 19)
    assert not young_entries.is_young("job_0", 20)
    assert not young_entries.is_young("job_4", 0)
    young_entries.forget_before(11)
    assert len(young_entries) == 1
