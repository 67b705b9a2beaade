"""`trainingjob prune`: what it refuses, prints and removes."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.volume.volume import new_uid, wait_until
from trainingjob_cli.main import main

ME = new_uid()
"""The uid of the operator's namespace."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A volume with a log and a directory, each of another job."""
    path = tmp_path / "volume"
    path.mkdir()
    (path / f"job_{new_uid()}.log").write_text("output\n")
    (path / f"job_{new_uid()}").mkdir()
    (path / "readme.txt").touch()
    return path


def uid_of(path: Path, *, log: bool) -> str:
    found = [p.name for p in path.glob("job_*") if p.name.endswith(".log") is log]
    return found[0].removeprefix("job_").removesuffix(".log")


def prune(root: Path, *arguments: str) -> int:
    return main(["prune", "--root", str(root), *arguments])


def prune_what_is_a_second_old(root: Path, arguments: Sequence[str], *, left: int) -> None:
    """The smallest age that there is; that much time has to pass."""

    def done() -> bool:
        assert prune(root, *arguments, "--max-age", "1s") == 0
        return len(list(root.glob("job_*"))) <= left

    wait_until(done)


def test_it_wants_to_be_told_who_lives(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(root) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    for word in ("--live", "--live-from", "--assume-none-live", "kubectl get trainingjobs -A"):
        assert word in told


def test_it_removes_nothing_from_a_directory_that_is_no_volume(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(root.iterdir())
    assert prune(root, "--assume-none-live", "--max-age", "1s") == 1
    told = capsys.readouterr().err
    assert f"trainingjob prune --init --root {root}" in told
    assert len(told.splitlines()) == 1
    assert sorted(root.iterdir()) == before


def test_init_alone_makes_it_a_volume_and_a_second_one_changes_nothing(root: Path) -> None:
    assert prune(root, "--init", "--identity", ME) == 0
    sentinel = (root / ".trainingjob-volume").read_text()
    assert prune(root, "--init", "--identity", ME) == 0
    assert (root / ".trainingjob-volume").read_text() == sentinel


def test_init_takes_no_volume_of_another_cluster(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(root, "--init", "--identity", ME) == 0
    assert prune(root, "--init", "--identity", new_uid()) == 1
    told = capsys.readouterr().err
    assert "belongs to cluster 'default'" in told
    assert f"trainingjob prune --adopt {ME} --root {root}" in told


def test_adopt_takes_a_volume_from_the_owner_that_it_names_and_no_other(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heir = new_uid()
    assert prune(root, "--init", "--identity", ME) == 0
    assert prune(root, "--adopt", "unknown", "--identity", heir) == 1
    assert prune(root, "--adopt", new_uid(), "--identity", heir) == 1
    assert prune(root, "--adopt", ME, "--identity", heir) == 0
    assert f"(identity {heir})" in capsys.readouterr().err
    sentinel = json.loads((root / ".trainingjob-volume").read_text())
    assert (sentinel["identity"], sentinel["adopted"]) == (heir, [ME])


def test_without_a_cluster_the_identity_has_to_be_given(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert prune(root, "--init") == 2
    assert "--identity UID" in capsys.readouterr().err
    assert not (root / ".trainingjob-volume").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--live", "42"], "not a uid"),
        (["--live", ""], "not a uid"),
        (["--live-from", "/nowhere"], "cannot read"),
        (["--live-from", "/dev/null"], "has no uid"),
        (["--assume-none-live", "--live", "x"], "use only one of"),
        (["--assume-none-live", "--max-age", "0"], "at least one second"),
        (["--assume-none-live", "--max-age", "soon"], "--max-age"),
        (["--dry-run", "--init"], "name the jobs whose files must stay"),
        (["--init", "--adopt", "unknown"], "use only one of --init"),
        (["--init", "--identity", "me"], "not the uid of a namespace"),
    ],
)
def test_a_slip_is_wrong_use_and_costs_nothing(
    root: Path, arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(root.iterdir())
    assert prune(root, *arguments) == 2
    told = capsys.readouterr().err
    assert word in told
    assert len(told.splitlines()) == 1
    assert sorted(root.iterdir()) == before


@pytest.mark.parametrize("path", ["/", "relative", "/tmp", "/usr"])
def test_a_root_that_is_none_is_wrong_use(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--root", path, "--assume-none-live"]) == 2
    assert main(["prune", "--root", path, "--init", "--identity", ME]) == 2
    assert "root" in capsys.readouterr().err


def test_a_root_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    assert main(["prune", "--root", str(tmp_path / "absent"), "--assume-none-live"]) == 1


def test_a_dry_run_tells_what_would_go_and_touches_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prune(root, "--init", "--identity", ME)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    def told() -> dict[str, object]:
        capsys.readouterr()
        arguments = ("--assume-none-live", "--max-age", "1s", "--dry-run", "-o", "json")
        assert prune(root, *arguments) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["dryRun"] is True
        found: dict[str, object] = document["wouldRemove"]
        return found

    wait_until(lambda: told()["entries"] == 2)
    assert prune(root, "--assume-none-live", "--max-age", "1s", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["REASON", "FILES", "SIZE", "ENTRY"]
    assert sum(line.startswith("expired") for line in lines) == 2
    assert lines[-1].startswith("would remove 1 file and 1 directory")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_named_jobs_keep_their_files_and_the_others_lose_theirs(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prune(root, "--init", "--identity", ME)
    lives = uid_of(root, log=True)
    names = tmp_path / "names"
    names.write_text(f"# those that run\n\n{lives.upper()}\n")
    prune_what_is_a_second_old(root, ["--live-from", str(names)], left=1)
    assert [path.name for path in root.glob("job_*")] == [f"job_{lives}.log"]
    prune_what_is_a_second_old(root, ["--live", f"job_{lives}"], left=1)
    assert "kept 1 live" in capsys.readouterr().out
    prune_what_is_a_second_old(root, ["--assume-none-live"], left=0)
    assert (root / "readme.txt").exists()


def test_a_week_is_the_age_if_none_is_given(root: Path) -> None:
    prune(root, "--init", "--identity", ME)
    assert prune(root, "--assume-none-live") == 0
    assert len(list(root.glob("job_*"))) == 2
