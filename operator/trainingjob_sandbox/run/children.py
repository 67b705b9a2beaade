"""The processes behind a run: the record service, the sandbox and the operator.

They are started, watched and stopped here. All die with this process, whatever way it ends, and none sees the terminal's Ctrl-C: the order
in which things stop is ours.
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

from trainingjob_sandbox.run import console, tether
from trainingjob_sandbox.run.records import RecordService
from trainingjob_sandbox.run.workspace import Workspace

_INHERITED: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONUSERBASE", "SYSTEMROOT"),
)
"""No proxy, no kubeconfig and no setting of another operator may find its way in."""

_OPERATOR_SETTINGS: Final = {
    "TRAININGJOB_WEB__ADDRESS": "127.0.0.1:0",
    "TRAININGJOB_LOGGING__FORMAT": "json",
}
_RECORD_SERVICE: Final = "record service"
_CONSOLE: Final = "console"
_STOP_S: Final = {"operator": 10.0, "sandbox": 45.0, _RECORD_SERVICE: 10.0, _CONSOLE: 10.0}
"""Seconds to stop in before a process is killed; the sandbox gives pods up to 30 s of them."""

_SECOND_SIGNAL_S: Final = 0.5
_SIGNALS: Final = 10
_LOG_LINES: Final = 15
_LOOK_S: Final = 0.05


class ChildError(Exception):
    """One of them ended by itself. The message ends with the end of its log."""


class Children:
    """The processes; stopped in reverse order when the context is left.

    Attributes:
        at_once: set to true, no process is given time any more when the context is left.
        failure: is done when one of them ends by itself; its exception is a `ChildError`.
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
            self.failure.exception()  # it has been reported, or something worse has happened
        for watcher in self._watchers:
            watcher.cancel()
        for name in reversed(self._processes):
            await self._stop(name)

    async def start_records(self, records: RecordService) -> None:
        """Start the record service; it gets ready while the sandbox does."""
        await self._start(
            _RECORD_SERVICE, ["-m", "trainingjob_cli", "records"], **records.settings
        )

    async def records_are_ready(self, records: RecordService) -> None:
        """Wait until records are taken.

        Raises:
            ChildError: the record service ended instead.
        """
        await self._said(_RECORD_SERVICE, records.is_ready)

    async def start_sandbox(self) -> Path:
        """Start the sandbox; returns its kubeconfig when everything in it is ready.

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
            raise ChildError(await self._obituary("sandbox"))
        return Path(line)

    async def start_operator(self, kubeconfig: Path, settings: Mapping[str, str]) -> None:
        """Start the operator, with settings of the run; it takes up jobs that were there before."""
        await self._start(
            "operator",
            ["-m", "trainingjob_cli", "operator"],
            KUBECONFIG=str(kubeconfig),
            **_OPERATOR_SETTINGS,
            **settings,
        )

    async def start_console(self, settings: dict[str, str]) -> str:
        """Start the console, which is shown the operator; returns its address when it is served.

        Raises:
            ChildError: it ended instead, or the operator did.
        """
        await self._said("operator", lambda log: bool(console.operator_in(log)))
        settings = settings | console.operator_settings(self._log("operator"))
        await self._start(_CONSOLE, ["-m", "trainingjob_cli", "console"], **settings)
        await self._said(_CONSOLE, lambda log: bool(console.address_in(log)))
        return console.address_in(self._log(_CONSOLE))

    async def _said(self, name: str, holds: Callable[[str], bool]) -> None:
        """Wait until this holds of the log of a process.

        Raises:
            ChildError: it ended before.
        """
        while not holds(self._log(name)):
            if self._processes[name].returncode is not None:
                raise ChildError(await self._obituary(name))
            await asyncio.sleep(_LOOK_S)

    def log_file(self, name: str) -> Path:
        """Return the path of a process's own log."""
        return self._workspace.folder / f"{name.replace(' ', '-')}.log"

    def _log(self, name: str) -> str:
        return self.log_file(name).read_text("utf-8", "replace")

    async def _start(self, name: str, arguments: Sequence[str], **variables: str) -> Process:
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        with self.log_file(name).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid())),
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
            self.failure.set_exception(ChildError(await self._obituary(name)))

    async def _obituary(self, name: str) -> str:
        code = await self._processes[name].wait()
        lines = self._log(name).splitlines()[-_LOG_LINES:]
        return "\n  ".join(
            [f"the {name} ended early (exit code {code}); the end of its log:", *lines]
        )

    async def _stop(self, name: str) -> None:
        process = self._processes[name]
        # The first signal to the sandbox lets pods use their grace, the second one ends them.
        patience = [_SECOND_SIGNAL_S] * _SIGNALS if self.at_once else [_STOP_S[name]]
        for seconds in patience:
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
