"""The arguments of `trainingjob run` and `trainingjob sandbox`, and an installation without them."""

import importlib
from typing import Any

import pytest

from trainingjob_cli.main import main
from trainingjob_sandbox import run


@pytest.mark.parametrize("command", [["run", "job.yaml"], ["run", "--help"], ["sandbox", "up"]])
@pytest.mark.parametrize("missing", ["trainingjob_sandbox", "trainingjob_sandbox.run", "rich"])
def test_where_the_laptop_mode_is_not_installed_it_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    missing: str,
) -> None:
    real = importlib.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("trainingjob_sandbox"):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *rest, **more)

    monkeypatch.setattr("builtins.__import__", without)
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install '.[sandbox]'" in err


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        pytest.param([], "either FILE or --sample", id="nothing"),
        pytest.param(["a.yaml", "--sample", "digits"], "either FILE or --sample", id="both"),
        pytest.param(["--sample", "nonsense"], "choose from digits, ", id="unknown-sample"),
        pytest.param(
            ["a.yaml", "--timeout", "soon"], "'soon' is not a valid duration", id="no-time"
        ),
        pytest.param(
            ["a.yaml", "--timeout", "0"], "'0' is not a valid duration", id="no-time-at-all"
        ),
    ],
)
def test_wrong_use_is_explained(
    arguments: list[str], want: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert want in err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), ("15m", 900.0), ("2h", 7200.0)]
)
def test_times_are_taken_as_the_operators_settings_take_them(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    calls: list[object] = []

    def run_job(file: str, sample: None, **options: object) -> int:
        calls.append((file, sample, options))
        return 130

    monkeypatch.setattr(run.command, "run_job", run_job)
    assert main(["run", "-", "--timeout", text]) == 130
    taken = {"keep": False, "timeout_s": seconds, "retain_s": None, "console": False}
    assert calls == [("-", None, taken)]


def test_ctrl_c_before_there_is_a_job_is_a_cancelled_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainingjob_sandbox.run.command.run_job", interrupted)
    assert main(["run", "--sample", "plain"]) == 130
