"""The supervisor program of one container run: starts it, stops it, and kills all its descendants.

It is the parent process of the container. Orphans of the container become its children
(`PR_SET_CHILD_SUBREAPER`), so it finds and kills even a process that forked twice and started its
own session. That needs no privilege, no cgroup and no pid namespace: it works inside a container
and as an ordinary user, and `ps` shows the same pids inside and outside. When the node ends, in
whatever way, the control pipe reaches end of file and everything is killed. Only a SIGKILL of the
supervisor itself can leave grandchildren behind.

Protocol: standard input has a first line of JSON (a `Launch`), then any number of lines
`stop <seconds>`; end of file kills at once. The descriptor given as the argument receives lines of
JSON: `started`, then `exited`; or only `failed`. Standard output and error are the container's.
"""

# Descriptors, /proc paths and a start that must be fast: os, not pathlib.
# ruff: noqa: PTH112, PTH123

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from trainingjob_sandbox.node.mounts import Mount, Mounter, enter_namespace

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_SWEEP_S: Final = 0.01
_POLL_S: Final = 0.05
_MAX_LAUNCH: Final = 32 * 1024 * 1024
START_ERROR_CODE: Final = 128
"""The exit code that container runtimes report for a program that could not be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The specification of the program to run.

    Attributes:
        argv: program and arguments.
        env: the complete environment.
        directory: the working directory; with a mount namespace it is created if missing.
        scratch: the container's own folder, which stays reachable whatever is mounted.
        isolated: True to create a mount namespace; without one `mounts` must be empty.
        mounts: the mounts.
    """

    argv: list[str]
    env: dict[str, str]
    directory: str
    scratch: str
    isolated: bool
    mounts: list[Mount] = field(default_factory=list)

    def to_json(self) -> bytes:
        """Return one line of JSON with its newline."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> "Launch":
        """Parse the output of `to_json`."""
        raw: dict[str, Any] = json.loads(line)
        raw["mounts"] = [Mount(**mount) for mount in raw["mounts"]]
        return cls(**raw)


class StartError(Exception):
    """The container could not be started. The message says why, and what to change."""


class Control:
    """Reads the node's commands from the control pipe, and detects its end of file."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.closed = False
        self._buffer = bytearray()

    def first_line(self) -> bytes:
        """Wait for one complete line."""
        while b"\n" not in self._buffer:
            if not self._read() or len(self._buffer) > _MAX_LAUNCH:
                raise StartError("the node ended before it sent the launch specification")
        return self._take_line()

    def commands(self) -> Iterator[str]:
        """Read the available input, and yield its complete lines."""
        self._read()
        while b"\n" in self._buffer:
            yield self._take_line().decode("ascii", "replace")

    def close(self) -> None:
        """Behave as after end of file: a signal to the supervisor must not leave orphans."""
        self.closed = True

    def _read(self) -> bool:
        chunk = os.read(self.descriptor, 65536)
        self._buffer += chunk
        self.closed = self.closed or not chunk
        return not self.closed

    def _take_line(self) -> bytes:
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line


class Supervisor:
    """Runs one container until all its processes have ended."""

    def __init__(self, control: Control, wake: int) -> None:
        self._control = control
        self._wake = wake
        self._main = 0
        self._status: int | None = None
        self._deadline: float | None = None
        """Monotonic time at which everything is killed; None if no stop was requested."""

    def start(self, launch: Launch) -> int:
        """Set up the mounts, start the main process, and return its pid.

        Raises:
            StartError: a mount or the start of the program failed.
        """
        directory = _prepare(launch)
        try:
            process = subprocess.Popen(
                launch.argv,
                cwd=directory,
                env=launch.env,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
            )
        except OSError as error:
            raise StartError(_exec_message(launch, error)) from error
        except ValueError as error:  # a NUL character, or a variable named `a=b`
            raise StartError(f"exec: command, directory or variables: {error}") from error
        process.returncode = 0  # this module reaps it with all others; Popen must not try to
        self._main = process.pid
        return self._main

    def wait(self) -> int:
        """Handle commands until the container has ended; return its exit code, 128 + n for signal n."""
        poll = select.poll()
        poll.register(self._control.descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._is_finished():
            ready = dict(poll.poll(_milliseconds(self._deadline)))
            if self._wake in ready:
                os.read(self._wake, 4096)
            if self._control.descriptor in ready:
                self._handle_commands()
            _reap_into(self._record_exit)
        self._kill_everything()
        assert self._status is not None
        return _exit_code(self._status)

    def _is_finished(self) -> bool:
        """Return True if the remaining processes have to be killed now.

        A container ends with its main process. One exception is a shell that was terminated by our
        SIGTERM instead of passing it on: its descendants have received a SIGTERM since then, and
        have the rest of the grace period to exit.
        """
        if self._control.closed:
            return True
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return True
        if self._status is None:
            return False
        stopped = self._deadline is not None and os.WIFSIGNALED(self._status)
        return not (stopped and any(_descendants()))

    def _handle_commands(self) -> None:
        for command in self._control.commands():
            word, _, seconds = command.partition(" ")
            if word == "stop":
                self._stop(float(seconds))

    def _stop(self, grace_s: float) -> None:
        """Send SIGTERM to the main process, as the kubelet does; the earliest deadline applies."""
        first = self._deadline is None
        wanted = time.monotonic() + grace_s
        self._deadline = wanted if self._deadline is None else min(self._deadline, wanted)
        if first and self._status is None:
            _signal(self._main, signal.SIGTERM)

    def _record_exit(self, pid: int, status: int) -> None:
        if pid != self._main:
            return
        self._status = status
        if self._deadline is not None and os.WIFSIGNALED(status):
            for descendant in _descendants():
                _signal(descendant, signal.SIGTERM)

    def _kill_everything(self) -> None:
        """Send SIGKILL until no child is left: the next round finds processes forked meanwhile."""
        while True:
            for pid in [*_descendants(), *([] if self._status is not None else [self._main])]:
                _signal(pid, signal.SIGKILL)
            if not _reap_into(self._record_exit):
                return
            time.sleep(_SWEEP_S)


def _prepare(launch: Launch) -> str:
    """Create the container's mounts; return its working directory."""
    if not launch.isolated:
        if not os.path.isdir(launch.directory):
            raise StartError(f"the working directory {launch.directory} does not exist")
        return launch.directory
    try:
        enter_namespace()
        mounter = Mounter()
        scratch = os.open(launch.scratch, os.O_PATH | os.O_CLOEXEC)
        mounter.apply(launch.mounts)
        for wanted in (launch.scratch, launch.directory):
            if not os.path.isdir(wanted):
                mounter.apply([Mount(f"/proc/self/fd/{scratch}", wanted)])
        os.close(scratch)
    except OSError as error:
        raise StartError(f"cannot mount {error.filename}: {error.strerror}") from error
    return launch.directory


def _exec_message(launch: Launch, error: OSError) -> str:
    program = launch.argv[0]
    if error.errno == errno.ENOENT and error.filename == program:
        return f"exec: {program!r}: not found on this machine; the sandbox pulls no images"
    return f"exec: {program!r}: {error.strerror}"


def _die_with_parent() -> None:
    """Make the kernel kill the container's main process when the supervisor is killed."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _reap_into(record: Any) -> bool:
    """Reap every child that has ended, passing it to `record`; return False if there is no child."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        record(pid, status)


def _descendants() -> list[int]:
    """Return the pids of all living descendants of this process, from one scan of /proc."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir("/proc") as processes:
        for entry in processes:
            if entry.name.isdigit() and (parent := _parent(entry.name)):
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _parent(pid: str) -> int:
    """Return the parent's pid; 0 if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name, in parentheses, may contain any character: parse the fields after it.
            state, parent, *_ = stat.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return 0
    return 0 if state in {b"Z", b"X"} else int(parent)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _milliseconds(deadline: float | None) -> float | None:
    """Return the poll timeout: None without a stop, else until the deadline, at most `_POLL_S`."""
    if deadline is None:
        return None
    return max(min(deadline - time.monotonic(), _POLL_S), 0) * 1000


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main(argv: list[str]) -> int:
    """Run one container; see the module's docstring for the protocol."""
    report = os.dup(int(argv[0]))
    os.close(int(argv[0]))
    control = Control(os.dup(0))
    wake, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: control.close())
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def send(**event: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(report, json.dumps(event).encode() + b"\n")

    supervisor = Supervisor(control, wake)
    try:
        pid = supervisor.start(Launch.from_json(control.first_line()))
    except StartError as error:
        send(event="failed", code=START_ERROR_CODE, message=str(error))
        return 1
    send(event="started", pid=pid, at=time.time())
    code = supervisor.wait()
    send(event="exited", code=code, at=time.time())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
