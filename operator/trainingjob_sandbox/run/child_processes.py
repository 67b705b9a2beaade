"""Starts, watches and stops the child processes of a run: record service, sandbox, operator, console.

All of them end with this process, however it ends. None receives the terminal's Ctrl-C, because
this module decides the order in which they stop.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from trainingjob_sandbox.run import console, die_with_parent
from trainingjob_sandbox.run.records import RecordService
from trainingjob_sandbox.run.workspace import Workspace

_INHERITED: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONUSERBASE", "SYSTEMROOT"),
)
"""The environment variables that children inherit: no proxy, no kubeconfig, no other operator's settings."""

_OPERATOR_SETTINGS: Final = {
    "TRAININGJOB_WEB__ADDRESS": "127.0.0.1:0",
    "TRAININGJOB_LOGGING__FORMAT": "json",
}
_RECORD_SERVICE: Final = "record service"
_CONSOLE: Final = "console"
_STOP_S: Final = {"operator": 10.0, "sandbox": 45.0, _RECORD_SERVICE: 10.0, _CONSOLE: 10.0}
"""Seconds from SIGTERM to SIGKILL. The sandbox gives its pods up to 30 s of that."""

_SECOND_SIGNAL_S: Final = 0.5
_SIGNALS: Final = 10
_LOG_LINES: Final = 15
_POLL_S: Final = 0.05


class ChildError(Exception):
    """A child process ended unexpectedly. The message includes the last lines of its log."""


class ChildProcesses:
    """Async context manager of the child processes; on exit it stops them in reverse order.

    Attributes:
        at_once: if true, exit stops the processes without their grace periods.
        failure: a future that fails with a `ChildError` when a process ends unexpectedly.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._processes: dict[str, Process] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self.at_once = False

    async def __aenter__(self) -> Self:
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.failure.cancel():
            self.failure.exception()  # mark as retrieved: reported already, or superseded
        for watcher in self._watchers:
            watcher.cancel()
        for name in reversed(self._processes):
            await self._stop(name)

    async def start_records(self, records: RecordService) -> None:
        """Start the record service, without waiting until it is ready."""
        await self._start(
            _RECORD_SERVICE, ["-m", "trainingjob_cli", "records"], **records.settings
        )

    async def records_are_ready(self, records: RecordService) -> None:
        """Wait until the record service is ready.

        Raises:
            ChildError: the record service ended instead.
        """
        await self._wait_for_log(_RECORD_SERVICE, records.is_ready)

    async def start_sandbox(self) -> Path:
        """Start the sandbox, wait until it is ready, and return the path of its kubeconfig.

        Raises:
            ChildError: it ended instead.
        """
        root = self._workspace.folder / "sandbox"
        process = await self._start(
            "sandbox",
            ["-m", "trainingjob_cli", "sandbox", "up", "--root", str(root), "--die-with-parent"],
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode().strip()
        if not line:
            raise ChildError(await self._exit_message("sandbox"))
        return Path(line)

    async def start_operator(self, kubeconfig: Path, settings: Mapping[str, str]) -> None:
        """Start the operator with the settings of the run, without waiting until it is ready.

        It also reconciles jobs that were created before it was ready.
        """
        await self._start(
            "operator",
            ["-m", "trainingjob_cli", "operator"],
            KUBECONFIG=str(kubeconfig),
            **_OPERATOR_SETTINGS,
            **settings,
        )

    async def start_console(self, settings: dict[str, str]) -> str:
        """Start the console, connected to the operator's metrics; return its URL when it is ready.

        Raises:
            ChildError: the console or the operator ended instead.
        """
        await self._wait_for_log("operator", lambda log: bool(console.operator_in(log)))
        settings = settings | console.operator_settings(self._log("operator"))
        await self._start(_CONSOLE, ["-m", "trainingjob_cli", "console"], **settings)
        await self._wait_for_log(_CONSOLE, lambda log: bool(console.address_in(log)))
        return console.address_in(self._log(_CONSOLE))

    async def _wait_for_log(self, name: str, matches: Callable[[str], bool]) -> None:
        """Wait until `matches` returns true for the log of a process.

        Raises:
            ChildError: the process ended first.
        """
        while not matches(self._log(name)):
            if self._processes[name].returncode is not None:
                raise ChildError(await self._exit_message(name))
            await asyncio.sleep(_POLL_S)

    def log_file(self, name: str) -> Path:
        """Return the path of a process's log file."""
        return self._workspace.folder / f"{name.replace(' ', '-')}.log"

    def _log(self, name: str) -> str:
        return self.log_file(name).read_text("utf-8", "replace")

    async def _start(self, name: str, arguments: Sequence[str], **variables: str) -> Process:
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        with self.log_file(name).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())),
                *(sys.executable, "-P", *arguments),
                env=inherited | variables,
                stdin=DEVNULL,
                stdout=PIPE if name == "sandbox" else log,
                stderr=log,
                pass_fds=[self._workspace.lifeline],
                start_new_session=True,
            )
        self._processes[name] = process
        self._watchers.append(asyncio.create_task(self._watch(name), name=f"watch {name}"))
        return process

    async def _watch(self, name: str) -> None:
        await self._processes[name].wait()
        if not self.failure.done():
            self.failure.set_exception(ChildError(await self._exit_message(name)))

    async def _exit_message(self, name: str) -> str:
        code = await self._processes[name].wait()
        lines = self._log(name).splitlines()[-_LOG_LINES:]
        return "\n  ".join(
            [f"the {name} ended unexpectedly (exit code {code}); its last log lines:", *lines]
        )

    async def _stop(self, name: str) -> None:
        process = self._processes[name]
        # The first signal starts the grace period of the sandbox's pods, the second one kills them.
        timeouts = [_SECOND_SIGNAL_S] * _SIGNALS if self.at_once else [_STOP_S[name]]
        for seconds in timeouts:
            _send(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), seconds)
                return
        _send(process, signal.SIGKILL)
        await process.wait()


def _send(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
