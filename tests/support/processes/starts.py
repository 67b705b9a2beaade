"""Starts `trainingjob` as a process of its own: anew, or as a fork of one that has imported it.

To import the operator, the record service or the console takes two seconds of CPU, and most tests that
run one are not about that. So two processes of these tests import all once, and each start is a fork of one:
with an environment, a folder, an output, signals and an end of its own, as after `python -m`. Where
there is no fork, and in tests marked `anew`, which measure memory or the start itself, each start is a
new interpreter.
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
from tests.support.tree import ROOT

_TRAININGJOB = [sys.executable, "-m", "trainingjob_cli"]
_LOOK_S = 0.01
_MESSAGE_BYTES = 2**18


class Running(Protocol):
    """What a test does to a process: the part of `subprocess.Popen` that is used."""

    @property
    def pid(self) -> int:
        """Its number, which is no other's before its end was looked at."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or the negative signal; None: it was not seen to end."""

    def poll(self) -> int | None:
        """Look if it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""

    def kill(self) -> None:
        """SIGKILL."""


class Forked:
    """A fork of the imported `trainingjob`."""

    def __init__(self, origin: "_Origin", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._origin = origin

    def poll(self) -> int | None:
        """Look if it has ended."""
        if self.returncode is None:
            self.returncode = self._origin.look(self.pid)
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
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Origin:
    """The process that all are forks of. It ends with this one, or when it is closed."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one_at_a_time = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.processes.forking", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def fork(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        output: BinaryIO,
        errors: BinaryIO,
        folder: Path,
    ) -> Forked:
        """Start `trainingjob ARGUMENTS` in a folder, its output and its errors going to files."""
        request = {"arguments": arguments, "environment": environment, "folder": str(folder)}
        return Forked(self, int(self._ask(request, output.fileno(), errors.fileno())))

    def look(self, pid: int) -> int | None:
        """The exit code of a fork that has ended."""
        answer = self._ask({"look": pid})
        return None if answer == "" else int(answer)

    def _ask(self, request: object, *files: int) -> str:
        with self._one_at_a_time:
            socket.send_fds(self._control, [json.dumps(request).encode()], files)
            answer = self._control.recv(_MESSAGE_BYTES)
        assert answer, "the process that trainingjob is forked from has ended"
        return answer.decode()[1:]

    def close(self) -> None:
        """End it, and what it has started with it."""
        self._control.close()
        self._process.wait()


_AT_MOST = 2
"""Two, in turn: a fork has its origin's hash seed, and one that is started again has another, in
which sets have another order."""

_STARTS = itertools.count()
_ORIGINS: list[_Origin] = []
_IS_ANEW = [True]


def start(
    command: list[str],
    environment: dict[str, str] | None,
    output: BinaryIO,
    errors: BinaryIO,
    *,
    anew: bool,
    folder: Path | None = None,
) -> Running:
    """Start a command with these variables (None: ours), its output and its errors going to files.

    It runs in our folder unless another one is given.
    It is killed with the thread that started it, or with the process that it is a fork of.
    """
    is_ours = command[: len(_TRAININGJOB)] == _TRAININGJOB
    if is_ours and not anew:
        if len(_ORIGINS) < _AT_MOST:
            _ORIGINS.append(_Origin())
        arguments = command[len(_TRAININGJOB) :]
        origin = _ORIGINS[next(_STARTS) % len(_ORIGINS)]
        where = folder or Path.cwd()
        return origin.fork(arguments, dict(environment or os.environ), output, errors, where)
    return subprocess.Popen(
        [*tether(), *command],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
    )


def starts_anew() -> bool:
    """True if the next ones are to be new interpreters, False if forks."""
    return _IS_ANEW[0] or not sys.platform.startswith("linux")


@contextmanager
def start_anew(*, anew: bool) -> Iterator[None]:
    """Start each as a new interpreter, or as a fork where that works, until the context ends."""
    before = _IS_ANEW[0]
    _IS_ANEW[0] = anew
    try:
        yield
    finally:
        _IS_ANEW[0] = before


def origins() -> list[int]:
    """The processes that others are forked from."""
    return [each.pid for each in _ORIGINS]


def close_origins() -> None:
    """End the processes that others were forked from."""
    while _ORIGINS:
        _ORIGINS.pop().close()
