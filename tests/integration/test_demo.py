"""`trainingjob run` as a process: its output, its exit code, and the files and processes that remain."""

import ctypes
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.builders import make_job
from tests.support.markers import quick
from tests.support.processes.processes import command_line
from tests.support.repository import ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the sandbox's node needs Linux: namespaces, /proc"
)

PATIENCE_S = 600.0
"""For a run that hangs: on a busy machine the digits take minutes."""
PR_SET_CHILD_SUBREAPER = 36

STOPS_WHEN_ASKED = """
import signal, sys, time
def stop(number, frame):
    print("last words", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
print("hello", flush=True)
time.sleep(1000)
"""
NEVER_STOPS = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("hello", flush=True)
time.sleep(1000)
"""
CHATTERS = """
import time
while True:
    print("hello", flush=True)
    time.sleep(0.1)
"""
FAILS = """
import os, sys
print("attempt", os.environ["TRAININGJOB_ATTEMPT"])
print("no learning rate is good enough")
sys.exit(7)
"""


class Run:
    """One `trainingjob run`, its output read line by line."""

    def __init__(self, tmp: Path, *arguments: str, **variables: str) -> None:
        self.tmp = tmp
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trainingjob_cli", "run", *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        self._watchdog.start()

    def until(self, wanted: str) -> None:
        """Read until a line contains this; fails at the end of the output."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if wanted in line:
                return
        raise AssertionError(f"{wanted!r} never came:\n{self.output}")

    def finish(self) -> int:
        """Read to the end, and return the exit code."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        return self.process.wait()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self._watchdog.cancel()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


StartRun = Callable[..., Run]


@pytest.fixture
def tmp(tmp_path: Path) -> Path:
    """The folder for temporary files of the run, which must be empty when it has ended."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def nothing_is_left(tmp: Path) -> Iterator[None]:
    """Check that, however the run ends, no process and no file of it remains some seconds later."""
    prctl = ctypes.CDLL(None).prctl
    # As a subreaper, this process adopts every orphan, so that none is missed.
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _descendants()
    yield
    try:
        _until(lambda: not (_descendants() - before), lambda: _describe(_descendants() - before))
        _until(lambda: not list(tmp.iterdir()), lambda: str(list(tmp.rglob("*"))[:20]))
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def start(tmp: Path, nothing_is_left: None) -> Iterator[StartRun]:
    runs: list[Run] = []

    def start_run(*arguments: str | Path, **variables: str) -> Run:
        runs.append(Run(tmp, *map(str, arguments), **variables))
        return runs[-1]

    yield start_run
    for run in runs:
        run.close()


def _descendants() -> set[int]:
    """Return the running ones; adopted children that have ended are reaped."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.parent.name)
        if state != "Z":
            parents[pid] = int(parent)
        elif int(parent) == os.getpid():
            os.waitpid(pid, os.WNOHANG)
    found: set[int] = set()
    while (
        more := {pid for pid, parent in parents.items() if parent in {os.getpid(), *found}} - found
    ):
        found |= more
    return found


def _describe(pids: set[int]) -> str:
    return "\n".join(f"{pid}: {command_line(pid)}" for pid in pids)


def _until(condition: Callable[[], bool], what: Callable[[], str], patience_s: float = 45) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def _file(folder: Path, source: str, **keywords: Any) -> Path:
    job = make_job("tried", namespace="default", command=["python", "-c", source], **keywords)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


@pytest.mark.long
def test_the_digits_sample_trains_on_two_ranks_and_only_its_record_remains(
    start: StartRun,
) -> None:
    run = start("--retain", "5s", ROOT / "manifests" / "samples" / "digits.yaml")

    code = run.finish()

    assert code == 0, run.output
    for rank in (0, 1):
        assert f"[{rank}] rank {rank} of 2, meeting at" in run.output
        assert f"[{rank}] done: all 2 ranks have equal weights" in run.output
    accuracies = re.findall(r"\[0\] epoch \d/8 .* held-out accuracy ([\d.]+)", run.output)
    assert len(accuracies) == 8
    assert float(accuracies[-1]) >= 0.9
    assert len(set(re.findall(r"weights ([0-9a-f]{64})", run.output))) == 1
    assert "digits Complete: CompletionsReached" in run.output
    assert run.output.index("done: all") < run.output.index("digits Complete")
    assert "\x1b" not in run.output
    story = re.search(
        r"digits Complete: .*"
        r"GET /api/v1/jobs/(?P<uid>(?P<short>[0-9a-f]{8})-[0-9a-f-]+):\n"
        r".*  uid (?P=short), phase Succeeded, \d+ s, exit code 0, 1 attempt\n"
        r".*  in this run the operator deletes finished jobs after 5 s \(default: 1 hour\)\n"
        r".*  and log files that have not changed for 5 s \(default: 1 week\):\n"
        r".*  job digits: deleted\n"
        r".*  pods digits-(?P=short)-0-0, digits-(?P=short)-0-1: deleted\n"
        r".*  files job_(?P=uid)/, job_(?P=uid)\.log: deleted\n"
        r".*  the record is kept: uid (?P=short), phase Succeeded, .*\n\Z",
        run.output,
        re.DOTALL,
    )
    assert story, run.output


def test_make_demo_runs_this_command() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "trainingjob run --retain 5s manifests/samples/digits.yaml" in made.stdout
    assert "make console" in made.stdout.splitlines()[-1]


def test_a_sample_runs_by_its_name(start: StartRun) -> None:
    run = start("--sample", "plain")

    assert run.finish() == 0, run.output
    assert run.output.count("[0] hello from a training job\n") == 1
    assert "phase Succeeded" in run.output
    assert "deleted" not in run.output


@pytest.mark.long
def test_with_the_console_the_page_stays_until_an_interrupt(start: StartRun) -> None:
    run = start("--console", "--sample", "plain")
    run.until("the console is served until Ctrl-C")
    [url] = re.findall(r"console: (http://127\.0\.0\.1:\d+/)\n", run.output)

    with urllib.request.urlopen(f"{url}api/jobs", timeout=30) as answer:
        listed = json.load(answer)

    [row] = listed["items"]
    assert (row["name"], row["phase"], row["source"]) == ("plain", "Succeeded", "live")
    assert listed["history"] == {"available": True, "message": None}
    run.send(signal.SIGINT)
    assert run.finish() == 0, run.output


def test_make_console_runs_this_command() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "console"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "trainingjob run --console manifests/samples/digits.yaml" in made.stdout


@pytest.mark.long
def test_a_run_continues_without_the_record_service_and_reports_it(
    start: StartRun, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['fastapi'] = None\n")
    run = start("--sample", "plain", "--retain", "1s", PYTHONPATH=str(tmp_path))

    assert run.finish() == 0, run.output
    assert run.output.count("no records are kept; in a clone: pip install '.[records]'") == 1
    assert re.search(r"files job_[-0-9a-f]{36}/, job_[-0-9a-f]{36}\.log: deleted\n", run.output)
    assert "uid " not in run.output


@pytest.mark.long
def test_the_token_of_the_record_service_is_on_no_command_line(
    start: StartRun, tmp: Path, tmp_path: Path
) -> None:
    run = start(_file(tmp_path, STOPS_WHEN_ASKED))
    run.until("] hello")
    [token_file] = tmp.glob("*/records.token")
    token = token_file.read_text().strip()

    shown = [command_line(pid) for pid in _descendants()]

    assert any("trainingjob_cli records" in line for line in shown)
    assert len(token) >= 32
    assert not any(token in line for line in shown)
    assert token_file.stat().st_mode & 0o077 == 0
    run.send(signal.SIGINT)
    assert run.finish() == 130, run.output
    assert token not in run.output


@pytest.mark.long
def test_a_failing_job_shows_the_end_of_the_log_of_every_attempt(
    start: StartRun, tmp_path: Path
) -> None:
    run = start(_file(tmp_path, FAILS, backoff_limit=1))

    assert run.finish() == 1, run.output
    for attempt in (0, 1):
        assert run.output.count(f"[0] attempt {attempt}\n") == 1
    assert run.output.count("[0] no learning rate is good enough\n") == 2
    assert "tried Failed: BackoffLimitExceeded" in run.output
    assert "exit code 7, 2 attempts" in run.output
    assert re.search(r"  uid \w{8}, phase Failed, \d+ s, exit code 7, 2 attempts\n", run.output)


@pytest.mark.long
def test_a_job_rejected_by_the_api_server_is_bad_input(start: StartRun, tmp_path: Path) -> None:
    run = start(_file(tmp_path, "", nodes=0, framework="Torhc", backofLimit=3))

    assert run.finish() == 2, run.output
    complaints = [line for line in run.output.splitlines() if line.startswith("trainingjob run: ")]
    assert complaints
    assert all(line.startswith("trainingjob run: TrainingJob tried: ") for line in complaints)
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    "number", quick([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], in_quick=[signal.SIGINT])
)
def test_an_interrupt_cancels_the_job_and_shows_the_end_of_its_log(
    start: StartRun, tmp_path: Path, number: signal.Signals
) -> None:
    run = start(_file(tmp_path, STOPS_WHEN_ASKED, nodes=2))
    for _ in range(2):
        run.until("] hello")

    run.send(number)

    assert run.finish() == 130, run.output
    for rank in (0, 1):
        assert run.output.count(f"[{rank}] last words\n") == 1
    assert "tried Cancelled: Stopped" in run.output
    assert re.search(r"  uid \w{8}, phase Cancelled, ", run.output)


@pytest.mark.long
def test_an_interrupt_while_the_job_waits_for_its_retention_leaves_its_outcome(
    start: StartRun,
) -> None:
    run = start("--sample", "plain", "--retain", "10m")
    run.until("deletes finished jobs after 600 s")
    started = time.monotonic()

    run.send(signal.SIGINT)

    assert run.finish() == 0, run.output
    assert run.output.count("plain Complete: CompletionsReached") == 1
    assert time.monotonic() - started < 60, "it has waited for its retention of 600 s"


@pytest.mark.long
def test_a_cancelled_job_is_not_kept_for_its_retention(start: StartRun, tmp_path: Path) -> None:
    run = start(_file(tmp_path, STOPS_WHEN_ASKED), "--retain", "10m")
    run.until("] hello")

    run.send(signal.SIGINT)

    assert run.finish() == 130, run.output
    assert "phase Cancelled" in run.output


@pytest.mark.long
def test_a_second_interrupt_stops_everything_at_once(start: StartRun, tmp_path: Path) -> None:
    run = start(_file(tmp_path, NEVER_STOPS))
    run.until("] hello")
    run.send(signal.SIGINT)
    run.until("Stopping")
    started = time.monotonic()

    run.send(signal.SIGINT)

    assert run.finish() == 130, run.output
    assert time.monotonic() - started < 15


@pytest.mark.long
def test_an_interrupt_while_a_finished_jobs_log_is_shown_keeps_its_outcome(
    start: StartRun, tmp_path: Path
) -> None:
    rank_0_fails = "import os, sys\nif os.environ['RANK'] == '0': sys.exit(7)\n" + NEVER_STOPS
    run = start(_file(tmp_path, rank_0_fails, nodes=2, framework="Torch", backoff_limit=0))
    run.until("tried: Failed")
    started = time.monotonic()

    run.send(signal.SIGINT)

    assert run.finish() == 1, run.output
    assert "tried Failed: BackoffLimitExceeded" in run.output
    assert time.monotonic() - started < 15


def test_an_interrupt_before_the_job_is_created_stops_everything(start: StartRun) -> None:
    run = start("--sample", "digits")
    run.until("starting")

    run.send(signal.SIGINT)

    assert run.finish() == 130, run.output


def test_sigkill_leaves_no_process(start: StartRun, tmp_path: Path) -> None:
    run = start(_file(tmp_path, STOPS_WHEN_ASKED, nodes=2))
    run.until("] hello")

    run.send(signal.SIGKILL)

    assert run.finish() == -signal.SIGKILL


@pytest.mark.long
def test_a_closed_output_pipe_ends_the_run(start: StartRun, tmp_path: Path) -> None:
    run = start(_file(tmp_path, CHATTERS))
    run.until("] hello")
    assert run.process.stdout is not None

    run.process.stdout.close()

    assert run.process.wait() == 1


@pytest.mark.parametrize(
    ("victim", "name"),
    [
        ("trainingjob_cli operator", "operator"),
        pytest.param("trainingjob_cli records", "record service", marks=pytest.mark.long),
        pytest.param("trainingjob_cli sandbox up", "sandbox", marks=pytest.mark.long),
    ],
)
def test_when_one_of_its_processes_dies_the_end_of_its_log_is_shown(
    start: StartRun, tmp_path: Path, victim: str, name: str
) -> None:
    run = start(_file(tmp_path, STOPS_WHEN_ASKED))
    run.until("] hello")
    [pid] = [pid for pid in _descendants() if victim in command_line(pid)]

    os.kill(pid, signal.SIGKILL)

    assert run.finish() == 1, run.output
    assert f"the {name} ended unexpectedly (exit code -9); its last log lines:" in run.output
    assert "Traceback" not in run.output


@pytest.mark.long
def test_an_unschedulable_job_names_the_reason(start: StartRun, tmp_path: Path) -> None:
    path = _file(tmp_path, "")
    job = yaml.safe_load(path.read_text())
    job["spec"]["template"]["spec"]["nodeSelector"] = {"gpu": "h100"}
    path.write_text(yaml.safe_dump(job))
    run = start(path)
    run.until("Unschedulable: ")

    run.send(signal.SIGINT)

    assert run.finish() == 130, run.output


@pytest.mark.long
def test_a_job_that_takes_too_long_is_stopped_and_has_failed(
    start: StartRun, tmp_path: Path
) -> None:
    run = start(_file(tmp_path, STOPS_WHEN_ASKED), "--timeout", "6")

    assert run.finish() == 1, run.output
    assert "not finished after 6 s" in run.output
    assert "tried Cancelled: Stopped" in run.output


@pytest.mark.long
def test_the_work_folder_is_kept_when_asked_for(start: StartRun, tmp: Path) -> None:
    run = start("--sample", "plain", "--keep")

    assert run.finish() == 0, run.output
    [folder] = tmp.iterdir()
    assert f"kept: {folder.resolve()}" in run.output
    assert (folder / "operator.log").stat().st_size > 0
    with closing(sqlite3.connect(folder / "records.db")) as records:
        assert records.execute("SELECT name, phase FROM records").fetchall() == [
            ("plain", "Succeeded")
        ]
    subprocess.run(["rm", "-r", str(folder)], check=True)


@pytest.mark.long
def test_on_a_terminal_ranks_are_drawn_and_the_terminal_is_restored(
    tmp: Path, nothing_is_left: None
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainingjob_cli", "run", "--sample", "plain"],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp), "TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    text = _read_terminal(ours)
    code = process.wait()
    watchdog.cancel()

    assert code == 0, text
    assert "hello from a training job" in text
    assert re.search(r"0.*plain-[0-9a-f]{8}-0-0.*Succeeded.*0", text)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is back


def _read_terminal(descriptor: int) -> str:
    data = b""
    with os.fdopen(descriptor, "rb", buffering=0) as terminal:
        while True:
            try:
                data += terminal.read(4096)
            except OSError:  # how Linux says that the other side is closed
                return data.decode()
