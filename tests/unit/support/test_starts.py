"""A fork of the imported `trainingjob` is what a new process would be."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes.child import ChildProcess, clean_environment
from tests.support.processes.starts import Forked, origins, start_anew
from trainingjob_operator import __version__

COMMAND = [sys.executable, "-m", "trainingjob_cli"]


class Command(ChildProcess):
    """`trainingjob ARGUMENTS`."""

    def __init__(self, log: Path, *arguments: str, **variables: str) -> None:
        super().__init__(log)
        self.arguments = arguments
        self.variables = variables

    def start(self) -> None:
        self.spawn([*COMMAND, *self.arguments], clean_environment() | self.variables)


@pytest.fixture(params=[False, True], ids=["forked", "anew"])
def anew(request: pytest.FixtureRequest) -> Iterator[bool]:
    start_anew(anew=request.param)
    yield request.param
    start_anew(anew=False)


def ended(tmp_path: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    with Command(tmp_path / "log", *arguments, **variables) as command:
        return command.process.wait(60), command.log()


def test_it_has_its_arguments_its_output_and_its_exit_code(anew: bool, tmp_path: Path) -> None:
    code, output = ended(tmp_path, "version")
    assert (code, __version__ in output) == (0, True)
    code, output = ended(tmp_path, "no-such-command")
    assert (code, "no-such-command" in output) == (2, True)


def test_it_has_its_own_variables(
    anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAININGJOB_RECORDS_ADDRESS", "nowhere")
    code, output = ended(tmp_path, "records", TRAININGJOB_RECORDS_DATABASE="sqlite://")
    assert code == 2
    assert "must name a file" in output
    assert "nowhere" not in output


def test_it_is_killed_and_says_of_what_it_died(anew: bool, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'records.db'}"
    with Command(
        tmp_path / "log",
        "records",
        TRAININGJOB_RECORDS_DATABASE=database,
        TRAININGJOB_RECORDS_ADDRESS="127.0.0.1:0",
    ) as service:
        with pytest.raises(subprocess.TimeoutExpired):
            service.process.wait(0.01)
        assert service.is_running
        assert isinstance(service.process, Forked) is not anew
        assert (service.process.pid in origins()) is False
        output = Path(f"/proc/{service.process.pid}/fd/1").readlink()
        assert output == tmp_path / "log"
        service.kill()
        assert service.process.returncode == -signal.SIGKILL
        service.process.send_signal(signal.SIGTERM)  # nobody is hit
