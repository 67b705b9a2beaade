"""Containers run as processes: exit codes, stops, and no process is left behind."""

# A test has its loop to itself: blocking it harms nobody.
# ruff: noqa: ASYNC220, ASYNC240

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.processes.processes import eventually, processes_mentioning
from trainingjob_sandbox.node.log_file import LogFile
from trainingjob_sandbox.node.module_command import module_command
from trainingjob_sandbox.node.mounts import Mount
from trainingjob_sandbox.node.node_context import can_mount
from trainingjob_sandbox.node.process import ContainerProcess
from trainingjob_sandbox.node.supervisor import Launch

DAEMON = (
    "import os, sys, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        with open(sys.argv[1] + '.new', 'w') as file: file.write(str(os.getpid()))\n"
    "        os.rename(file.name, sys.argv[1])\n"
    "        time.sleep(600)\n"
    "    os._exit(0)\n"
    "os.wait()\n"
    "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
)
"""A program that starts a grandchild in its own session, and waits until it runs."""


def launch(
    folder: Path, argv: list[str], *, mounts: list[Mount] | None = None, directory: str = ""
) -> Launch:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return Launch(
        argv=argv,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        directory=directory or str(home),
        scratch=str(home),
        isolated=mounts is not None,
        mounts=mounts or [],
    )


@asynccontextmanager
async def started(what: Launch, folder: Path) -> AsyncIterator[tuple[ContainerProcess, LogFile]]:
    log = LogFile(folder / "log")
    process = await ContainerProcess.start(what, log, {"HOME": str(folder)})
    try:
        yield process, log
    finally:
        process.stop(0)
        await process.wait()
        log.close()
        await eventually(lambda: not processes_mentioning(str(folder)))


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-c", code, *arguments]


def output(log: LogFile) -> str:
    return log.read(0)[0].decode()


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)],
)
async def test_the_exit_code_is_the_programs_or_128_and_the_signal(
    tmp_path: Path, script: str, code: int
) -> None:
    async with started(launch(tmp_path, ["sh", "-c", script]), tmp_path) as (process, _):
        assert (await process.wait()).code == code


async def test_output_and_errors_go_to_the_log_in_order(tmp_path: Path) -> None:
    what = launch(tmp_path, ["sh", "-c", "echo one; echo two >&2; echo three"])

    async with started(what, tmp_path) as (process, log):
        await process.wait()

        assert output(log) == "one\ntwo\nthree\n"


async def test_on_a_full_disk_output_is_lost_and_the_program_runs_on(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    more_than_a_pipe_holds = launch(tmp_path, ["sh", "-c", "head -c 1000000 /dev/zero; exit 3"])

    async with started(more_than_a_pipe_holds, tmp_path) as (process, log):
        assert (await asyncio.wait_for(process.wait(), 60)).code == 3

        assert log.end == 0


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with started(launch(tmp_path, ["no-such-program"]), tmp_path) as (process, _):
        end = await process.wait()

        assert process.started_at is None
        assert end.code == 128
        assert end.start_error == (
            "exec: 'no-such-program': not found on this machine; the sandbox pulls no images"
        )


async def test_an_argument_that_exec_does_not_accept_is_reported(tmp_path: Path) -> None:
    binary = launch(tmp_path, ["true"])
    binary.env["KEY"] = "from a \0 Secret"

    async with started(binary, tmp_path) as (process, _):
        end = await process.wait()

        assert (end.code, process.started_at) == (128, None)
        assert "embedded null byte" in end.start_error


async def test_a_stop_is_a_sigterm_first(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    async with started(launch(tmp_path, python(code)), tmp_path) as (process, log):
        await eventually(lambda: "up" in output(log))

        process.stop(30)

        assert (await process.wait()).code == 7


async def test_a_program_that_ignores_sigterm_is_killed_after_the_grace_period(
    tmp_path: Path,
) -> None:
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    async with started(launch(tmp_path, ["sh", "-c", script]), tmp_path) as (process, log):
        await eventually(lambda: "up" in output(log))
        began = time.monotonic()

        process.stop(0.5)

        assert (await process.wait()).code == 137
        assert 0.4 < time.monotonic() - began < 25  # and not after the 30 s that are usual


async def test_a_second_stop_may_only_shorten_the_grace(tmp_path: Path) -> None:
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    async with started(launch(tmp_path, ["sh", "-c", script]), tmp_path) as (process, log):
        await eventually(lambda: "up" in output(log))

        process.stop(600)
        process.stop(0.1)
        process.stop(600)

        assert (await asyncio.wait_for(process.wait(), 60)).code == 137


async def test_children_of_a_shell_that_dies_of_sigterm_have_the_rest_of_the_grace_period(
    tmp_path: Path,
) -> None:
    code = (
        "import signal, sys, time\n"
        "def save(*_): time.sleep(0.3); print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    script = '"$0" -I -c "$1"; true'
    what = launch(tmp_path, ["sh", "-c", script, sys.executable, code])
    async with started(what, tmp_path) as (process, log):
        await eventually(lambda: "up" in output(log))

        process.stop(30)

        assert (await process.wait()).code == 143
        assert output(log) == "up\nsaved\n"


async def test_a_daemon_ends_with_its_container(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    what = launch(tmp_path, python(DAEMON, str(pid_file)))

    async with started(what, tmp_path) as (process, _):
        assert (await process.wait()).code == 0

        assert not Path(f"/proc/{pid_file.read_text()}").exists()


async def test_a_daemon_is_killed_when_its_container_is(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    what = launch(tmp_path, python(DAEMON + "time.sleep(600)", str(pid_file)))

    async with started(what, tmp_path) as (process, _):
        await eventually(lambda: pid_file.exists() and pid_file.read_text())

        process.stop(0)
        await process.wait()

        assert not Path(f"/proc/{pid_file.read_text()}").exists()


async def test_a_terminated_supervisor_kills_its_container(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    what = launch(tmp_path, python(DAEMON + "time.sleep(600)", str(pid_file)))

    async with started(what, tmp_path) as (process, _):
        await eventually(lambda: pid_file.exists() and pid_file.read_text())

        os.kill(process._process.pid, signal.SIGTERM)

        assert (await process.wait()).code == 137
        assert not Path(f"/proc/{pid_file.read_text()}").exists()


async def test_a_killed_supervisor_is_reported_as_an_exit_of_the_container(tmp_path: Path) -> None:
    async with started(launch(tmp_path, ["sleep", "600"]), tmp_path) as (process, _):
        os.kill(process._process.pid, signal.SIGKILL)

        assert (await process.wait()).code == 137


async def test_nothing_survives_the_node(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    line = launch(tmp_path, python(DAEMON + "time.sleep(600)", str(pid_file))).to_json()
    read, write = os.pipe()
    node = subprocess.Popen(
        module_command("trainingjob_sandbox.node.supervisor", str(write)),
        stdin=subprocess.PIPE,
        pass_fds=(write,),
        env={"HOME": str(tmp_path)},
    )
    os.close(write)
    assert node.stdin is not None
    with os.fdopen(read) as report, node:
        node.stdin.write(line)
        node.stdin.flush()
        await eventually(lambda: pid_file.exists() and pid_file.read_text())

        node.stdin.close()  # what the kernel does for a node that was killed
        node.wait(60)

        assert '"exited"' in report.read()
    assert not processes_mentioning(str(tmp_path))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["env"], {"PATH", "HOME"}),
        (["ls", "/proc/self/fd"], {"0", "1", "2", "3"}),  # 3 is the folder that is listed
    ],
)
async def test_the_container_inherits_nothing_of_the_node(
    tmp_path: Path, argv: list[str], expected: set[str]
) -> None:
    async with started(launch(tmp_path, argv), tmp_path) as (process, log):
        await process.wait()

        assert {line.partition("=")[0] for line in output(log).splitlines()} == expected


async def needs_mounts() -> None:
    if not await can_mount():
        pytest.skip("this machine allows neither root nor user namespaces")


async def run(what: Launch, folder: Path) -> tuple[int, str, str]:
    async with started(what, folder) as (process, log):
        end = await process.wait()
        return end.code, output(log), end.start_error


@pytest.mark.parametrize(
    "target", ["/trainingjob-test", "/opt/trainingjob-test", "/trainingjob-test/a/b", "/dev/tj"]
)
async def test_a_mount_path_that_does_not_exist_is_made_for_the_container_only(
    tmp_path: Path, target: str
) -> None:
    await needs_mounts()
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("content")
    script = f"cat {target}/file; ls -d /proc/self /dev/null; echo back > {target}/back"

    code, text, _ = await run(
        launch(tmp_path, ["sh", "-c", script], mounts=[Mount(str(volume), target)]), tmp_path
    )

    assert (code, text) == (0, "content/dev/null\n/proc/self\n")
    assert (volume / "back").read_text() == "back\n"
    assert not Path(target).exists()
    assert not Path("/trainingjob-test").exists()


async def test_a_volume_hides_what_was_there_and_shows_nested_mounts(tmp_path: Path) -> None:
    await needs_mounts()
    for name in ("outer", "inner", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    target = str(tmp_path / "there")
    mounts = [
        Mount(str(tmp_path / "inner"), f"{target}/below/it"),
        Mount(str(tmp_path / "outer"), target),
    ]

    code, text, _ = await run(
        launch(tmp_path, ["sh", "-c", f"cd {target}; find . | sort"], mounts=mounts), tmp_path
    )

    assert (code, text.split()) == (
        0,
        [".", "./below", "./below/it", "./below/it/inner", "./outer"],
    )
    assert [file.name for file in (tmp_path / "there").iterdir()] == ["there"]


async def test_a_read_only_mount_cannot_be_written_to(tmp_path: Path) -> None:
    await needs_mounts()
    (tmp_path / "volume").mkdir()
    mounts = [Mount(str(tmp_path / "volume"), "/trainingjob-test", read_only=True)]

    code, text, _ = await run(
        launch(tmp_path, ["touch", "/trainingjob-test/file"], mounts=mounts), tmp_path
    )

    assert code == 1
    assert "Read-only file system" in text


async def test_a_single_file_can_be_mounted(tmp_path: Path) -> None:
    await needs_mounts()
    (tmp_path / "train.py").write_text("print('trained')")
    mounts = [Mount(str(tmp_path / "train.py"), "/trainingjob-test/train.py")]

    code, text, _ = await run(
        launch(tmp_path, [sys.executable, "/trainingjob-test/train.py"], mounts=mounts), tmp_path
    )

    assert (code, text) == (0, "trained\n")


async def test_home_stays_reachable_under_a_volume_at_its_parent(tmp_path: Path) -> None:
    await needs_mounts()
    (tmp_path / "volume").mkdir()
    mounts = [Mount(str(tmp_path / "volume"), str(tmp_path.parent))]

    code, text, _ = await run(
        launch(tmp_path, ["sh", "-c", "pwd; touch $HOME/file"], mounts=mounts), tmp_path
    )

    assert (code, text) == (0, f"{tmp_path}/home\n")
    assert (tmp_path / "home" / "file").exists()


async def test_a_working_directory_that_does_not_exist_is_made(tmp_path: Path) -> None:
    await needs_mounts()
    what = launch(tmp_path, ["sh", "-c", "pwd; touch file"], mounts=[], directory="/tj-work/dir")

    code, text, _ = await run(what, tmp_path)

    assert (code, text) == (0, "/tj-work/dir\n")
    assert not Path("/tj-work").exists()


async def test_a_mount_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    await needs_mounts()
    (tmp_path / "volume").mkdir()
    mounts = [Mount(str(tmp_path / "volume"), "/dev/null")]

    code, _, why = await run(launch(tmp_path, ["true"], mounts=mounts), tmp_path)

    assert (code, why) == (128, "cannot mount /dev/null: Not a directory")
