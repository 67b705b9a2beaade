"""The exit code and the error line of `trainingjob run`; nothing is started for bad input."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainingjob_sandbox.run import command, run_job


@pytest.fixture(autouse=True)
def _nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("bad input must be found before anything starts")

    monkeypatch.setattr(command, "Workspace", refuse)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.yaml"

    assert run_job(str(missing)) == 2
    assert complaint(capsys).startswith(f"trainingjob run: cannot read {missing}: ")


def test_a_file_without_a_job_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.yaml").touch()

    assert run_job(str(tmp_path / "empty.yaml")) == 2
    assert complaint(capsys) == (
        "trainingjob run: `run` takes exactly one TrainingJob, but the file has 0\n"
    )


@pytest.mark.parametrize("from_stdin", [True, False])
def test_a_file_that_is_not_utf_8_is_an_error_of_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    from_stdin: bool,
) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a: \xe9\n")))

    assert run_job("-" if from_stdin else str(tmp_path / "latin.yaml")) == 2
    [line] = complaint(capsys).splitlines()
    assert "cannot read " + ("standard input" if from_stdin else str(tmp_path)) in line
    assert "it is not UTF-8" in line


def test_an_interrupt_while_the_file_is_read_is_no_crash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(read=interrupted)))

    assert run_job("-") == 130
    assert complaint(capsys) == ""


def test_without_the_extra_the_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "rich" else object())

    with pytest.raises(ModuleNotFoundError) as missing:
        run_job("a.yaml")

    assert missing.value.name == "rich"
