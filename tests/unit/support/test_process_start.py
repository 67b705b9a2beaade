"""A fork of the imported `trainingjob` is what a new process would be."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes.child import ChildProcess, clean_environment
from tests.support.processes.process_start import ForkedProcess, fork_server_pids, start_anew
from tests.support.processes.processes import state
from tests.support.records.postgres import reason_unavailable
from tests.support.repository import ROOT
from tests.support.volume.volume import wait_until
from trainingjob_operator import __version__

COMMAND = [sys.executable, "-m", "trainingjob_cli"]


class Command(ChildProcess):
    """`trainingjob ARGUMENTS`."""

    def __init__(self, log: Path, *arguments: str, anew: bool, **variables: str) -> None:
        with start_anew(anew=anew):
            super().__init__(log)
        self.arguments = arguments
        self.variables = variables

    def start(self) -> None:
        self.spawn([*COMMAND, *self.arguments], clean_environment() | self.variables)


either = pytest.mark.parametrize("anew", [False, True], ids=["forked", "anew"])


def ended(tmp_path: Path, *arguments: str, anew: bool, **variables: str) -> tuple[int, str]:
    with Command(tmp_path / "log", *arguments, anew=anew, **variables) as command:
        return command.process.wait(60), command.log()


@either
def test_it_has_its_arguments_its_output_and_its_exit_code(anew: bool, tmp_path: Path) -> None:
    code, output = ended(tmp_path, "version", anew=anew)
    assert (code, __version__ in output) == (0, True)
    code, output = ended(tmp_path, "no-such-command", anew=anew)
    assert (code, "no-such-command" in output) == (2, True)


@either
def test_it_has_its_own_variables(
    anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAININGJOB_RECORDS_ADDRESS", "nowhere")
    variables = {"TRAININGJOB_RECORDS_DATABASE": "sqlite://"}
    code, output = ended(tmp_path, "records", anew=anew, **variables)
    assert code == 2
    assert "must name a file" in output
    assert "nowhere" not in output


@either
def test_it_is_killed_and_says_of_what_it_died(anew: bool, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'records.db'}"
    with Command(
        tmp_path / "log",
        "records",
        anew=anew,
        TRAININGJOB_RECORDS_DATABASE=database,
        TRAININGJOB_RECORDS_ADDRESS="127.0.0.1:0",
    ) as service:
        with pytest.raises(subprocess.TimeoutExpired):
            service.process.wait(0.01)
        assert service.is_running
        assert isinstance(service.process, ForkedProcess) is not anew
        assert (service.process.pid in fork_server_pids()) is False
        output = Path(f"/proc/{service.process.pid}/fd/1")
        wait_until(lambda: output.readlink() == tmp_path / "log")  # a fork begins with other files
        service.kill()
        assert service.process.returncode == -signal.SIGKILL
        service.process.send_signal(signal.SIGTERM)  # nobody is hit


TESTS = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from tests.support.processes.process_start import start_anew
from tests.support.records.postgres import Postgres
from tests.support.records.service import RecordServiceProcess

with ExitStack() as stack:
    for anew in (False, True):
        folder = Path(sys.argv[1]) / str(anew)
        folder.mkdir()
        with start_anew(anew=anew):
            service = RecordServiceProcess(folder, f"sqlite:///{folder}/records.db")
        assert stack.enter_context(service).url
        print(service.process.pid, flush=True)
    if sys.argv[2:]:
        server = stack.enter_context(Postgres())
        print(server.pid, server.folder, sep="\\n", flush=True)
    time.sleep(600)
"""


@pytest.mark.long
def test_what_was_started_ends_with_tests_that_are_killed(tmp_path: Path) -> None:
    database = [] if reason_unavailable() else ["and PostgreSQL"]
    command = [sys.executable, "-c", TESTS, str(tmp_path), *database]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        started = [tests.stdout.readline().strip() for _ in range(4 if database else 2)]
        tests.kill()
    pids = [int(pid) for pid in started if pid.isdigit()]
    wait_until(lambda: {state(pid) for pid in pids} <= {"", "Z"})
    for folder in started[3:]:
        shutil.rmtree(folder)
