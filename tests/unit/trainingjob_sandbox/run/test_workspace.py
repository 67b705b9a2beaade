"""The folder is removed when the last process with its lifeline has ended, and not before."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes.processes import command_line
from trainingjob_sandbox.run import die_with_parent
from trainingjob_sandbox.run.workspace import Workspace

PATIENCE_S = 60.0

OWNER = """
import subprocess, sys
from trainingjob_sandbox.run.workspace import Workspace

with Workspace(keep=False) as workspace:
    (workspace.folder / "file").touch()
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"],
                             stdin=sys.stdin, pass_fds=[workspace.lifeline])
    print(workspace.folder, child.pid, flush=True)
    child.wait()
"""

STARTER = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], str(os.getpid()),
                          sys.executable, "-c", "import time; time.sleep(1000)"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_the_folder_is_removed_at_the_end() -> None:
    with Workspace(keep=False) as workspace:
        (workspace.folder / "deep").mkdir()
        (workspace.folder / "deep" / "file").write_text("x")

    assert not workspace.folder.exists()


def test_the_folder_is_removed_after_an_exception() -> None:
    with contextlib.suppress(RuntimeError), Workspace(keep=False) as workspace:
        raise RuntimeError

    assert not workspace.folder.exists()


def test_the_folder_is_kept_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with Workspace(keep=True) as workspace:
        (workspace.folder / "file").touch()

    assert (workspace.folder / "file").exists()
    assert workspace.folder.parent == tmp_path.resolve()


def test_after_a_kill_the_folder_stays_until_the_last_child_has_ended() -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        path, _ = owner.stdout.readline().split()
        owner.kill()
        owner.wait()
        assert (Path(path) / "file").exists()

    # Its standard input is closed now, so the child ends.
    _until(lambda: not Path(path).exists())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_program_started_by_die_with_parent_ends_with_its_starter() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, die_with_parent.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    with starter.stdin, starter.stdout:
        child = int(starter.stdout.readline())
        _until(lambda: command_line(child).endswith("sleep(1000) "))
        _until(lambda: "die_with_parent" not in command_line(child))
        starter.kill()
        starter.wait()

    _until(lambda: not command_line(child))


def test_a_program_whose_starter_is_gone_is_not_started(tmp_path: Path) -> None:
    somebody_else = 1

    subprocess.run(
        [
            *(sys.executable, "-I", "-S", die_with_parent.__file__, str(somebody_else)),
            *(sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'w')"),
        ],
        check=True,
        timeout=PATIENCE_S,
    )

    assert not (tmp_path / "ran").exists()
