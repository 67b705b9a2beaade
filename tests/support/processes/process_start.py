"""Starts `trainingjob` as a process: a new interpreter, or a fork of one that has already imported it.

Importing the operator, the record service or the console takes two seconds of CPU, which most tests do not
measure. So two fork servers import everything once, and each start forks one of them. The fork has its own
environment, folder, output, signals and exit code, as after `python -m`. Without `fork()`, and in tests
marked `anew`, which measure memory or the start itself, each start is a new interpreter.
"""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from hack.cluster.process import tether
from tests.support.repository import ROOT

_TRAININGJOB = [sys.executable, "-m", "trainingjob_cli"]
_LOOK_S = 0.01
_MESSAGE_BYTES = 2**18


class ProcessHandle(Protocol):
    """The methods of `subprocess.Popen` that tests use."""

    @property
    def pid(self) -> int:
        """Its PID, which is not reused before the process is reaped."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or the negative signal; None: not reaped yet."""

    def poll(self) -> int | None:
        """Return the exit code if it has ended, else None."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""

    def kill(self) -> None:
        """Send SIGKILL."""


class ForkedProcess:
    """A fork of the imported `trainingjob`."""

    def __init__(self, server: "_ForkServer", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        """Return the exit code if it has ended, else None."""
        if self.returncode is None:
            self.returncode = self._server.exit_code(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not, after so many seconds.
        """
        begun = time.monotonic()
        while (code := self.poll()) is None:
            if timeout is not None and time.monotonic() > begun + timeout:
                raise subprocess.TimeoutExpired("trainingjob", timeout)
            time.sleep(_LOOK_S)
        return code

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _ForkServer:
    """A fork server. It ends with this process, or when it is closed."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one_at_a_time = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.support.processes.fork_server",
                    str(theirs.fileno()),
                ],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """The PID of the fork server."""
        return self._process.pid

    def fork(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        output: BinaryIO,
        errors: BinaryIO,
        folder: Path,
    ) -> ForkedProcess:
        """Start `trainingjob ARGUMENTS` in a folder, with stdout and stderr redirected to files."""
        request = {"arguments": arguments, "environment": environment, "folder": str(folder)}
        return ForkedProcess(self, int(self._ask(request, output.fileno(), errors.fileno())))

    def exit_code(self, pid: int) -> int | None:
        """Return the exit code of a fork; None: it still runs."""
        answer = self._ask({"exit_code_of": pid})
        return None if answer == "" else int(answer)

    def _ask(self, request: object, *files: int) -> str:
        with self._one_at_a_time:
            socket.send_fds(self._control, [json.dumps(request).encode()], files)
            answer = self._control.recv(_MESSAGE_BYTES)
        assert answer, "the process that trainingjob is forked from has ended"
        return answer.decode()[1:]

    def close(self) -> None:
        """Stop it and its forks."""
        self._control.close()
        self._process.wait()


_MAX_FORK_SERVERS = 2
"""Two, used alternately: a fork has the hash seed of its server, so a restarted command gets another seed, and
sets iterate in another order."""

_STARTS = itertools.count()
_FORK_SERVERS: list[_ForkServer] = []
_IS_ANEW = [True]


def start_process(
    command: list[str],
    environment: dict[str, str] | None,
    output: BinaryIO,
    errors: BinaryIO,
    *,
    anew: bool,
    folder: Path | None = None,
) -> ProcessHandle:
    """Start a command with these variables (None: those of this process), with stdout and stderr redirected to files.

       By default it runs in the current folder. It is killed with the thread that started it, or
    with the process that it is a fork of.
    """
    is_ours = command[: len(_TRAININGJOB)] == _TRAININGJOB
    if is_ours and not anew:
        if len(_FORK_SERVERS) < _MAX_FORK_SERVERS:
            _FORK_SERVERS.append(_ForkServer())
        arguments = command[len(_TRAININGJOB) :]
        server = _FORK_SERVERS[next(_STARTS) % len(_FORK_SERVERS)]
        where = folder or Path.cwd()
        return server.fork(arguments, dict(environment or os.environ), output, errors, where)
    return subprocess.Popen(
        [*tether(), *command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
    )


def starts_anew() -> bool:
    """Return True if the next starts are new interpreters, False if they are forks."""
    return _IS_ANEW[0] or not sys.platform.startswith("linux")


@contextmanager
def start_anew(*, anew: bool) -> Iterator[None]:
    """Choose new interpreters, or forks where they work, until the context ends."""
    before = _IS_ANEW[0]
    _IS_ANEW[0] = anew
    try:
        yield
    finally:
        _IS_ANEW[0] = before


def fork_server_pids() -> list[int]:
    """Return the PIDs of the fork servers."""
    return [each.pid for each in _FORK_SERVERS]


def close_fork_servers() -> None:
    """Stop the fork servers."""
    while _FORK_SERVERS:
        _FORK_SERVERS.pop().close()
