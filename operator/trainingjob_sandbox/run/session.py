"""Runs one session of `trainingjob run`: starts the processes, creates, follows and cancels the job, stops.

`finished_job` shows the record and the retention afterwards.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.run import console as page
from trainingjob_sandbox.run.apply import apply
from trainingjob_sandbox.run.child_processes import ChildProcesses
from trainingjob_sandbox.run.documents import Documents, Object
from trainingjob_sandbox.run.finished_job import FinishedJobReport
from trainingjob_sandbox.run.job_follower import JobFollower
from trainingjob_sandbox.run.records import RecordService, is_installed
from trainingjob_sandbox.run.screen import Screen
from trainingjob_sandbox.run.view import JobView, summary
from trainingjob_sandbox.run.workspace import Workspace

COMPLETE: Final = 0
FAILED: Final = 1
CANCELLED: Final = 130
_EXIT_CODES: Final = {"Complete": COMPLETE, "Failed": FAILED, "Cancelled": CANCELLED}

_DEFAULT_GRACE_S: Final = 30
_CANCEL_MARGIN_S: Final = 30
_HOUSEKEEPING: Final = "1s"
"""Interval of the operator's retention passes while the user waits for one."""


class Interrupts:
    """Handles Ctrl-C, SIGTERM and SIGHUP: the first signal cancels the job, the next one ends the run.

    Attributes:
        cancel: set when the job is to be cancelled.
        stop: set when the run is to end at once.
        has_job: returns True if there is an unfinished job to cancel. Without one the first signal
            ends the run: of a finished job only the rest of its logs is awaited.
    """

    def __init__(self) -> None:
        self.cancel = asyncio.Event()
        self.stop = asyncio.Event()
        self.has_job: Callable[[], bool] = lambda: False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.interrupt)

    def interrupt(self) -> None:
        """Handle one signal."""
        if self.has_job() and not self.cancel.is_set():
            self.cancel.set()
        else:
            self.stop.set()


class Session:
    """One run: the objects of one file in a sandbox of their own."""

    def __init__(
        self,
        documents: Documents,
        screen: Screen,
        workspace: Workspace,
        *,
        timeout_s: float | None,
        retain_s: float | None = None,
        console: bool = False,
    ) -> None:
        """Create the session; nothing is started before `run`.

        Args:
            documents: the objects to create.
            screen: the screen that shows the run.
            workspace: the run's folder.
            timeout_s: stop the job after this time; None: never.
            retain_s: TTL of finished jobs, whose deletion is shown; None: the operator's default,
                which the run does not wait for.
            console: serve the console as well, until Ctrl-C.
        """
        self._console = console
        self._documents = documents
        self._screen = screen
        self._workspace = workspace
        self._timeout_s = timeout_s
        self._retain_s = retain_s
        self._timed_out = False
        self._code: int | None = None
        self._follower: JobFollower | None = None
        self._started = 0.0

    async def run(self) -> int:
        """Run the job; return the exit code once all processes have stopped.

        Raises:
            InputError: the server rejected an object of the file.
            ChildError: one of the processes ended unexpectedly.
            ApiError: the sandbox does not answer.
        """
        interrupts = Interrupts()
        async with ChildProcesses(self._workspace) as children:
            job = asyncio.create_task(self._run_job(children, interrupts), name="job")
            stop = asyncio.create_task(interrupts.stop.wait(), name="stop")
            try:
                ends: list[asyncio.Future[Any]] = [job, stop, children.failure]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if children.failure.done():
                    children.failure.result()
                if not job.done():
                    children.at_once = True
                    self._screen.say("interrupted: stopping all processes at once")
                    if self._follower is not None and self._follower.finished:
                        return self._finish(self._follower.view())
                    return FAILED if self._timed_out else CANCELLED
                return job.result()
            except BaseException:
                children.at_once = True
                raise
            finally:
                await _end(job, stop)

    async def _run_job(self, children: ChildProcesses, interrupts: Interrupts) -> int:
        records = await self._start_records(children)
        kubeconfig = await children.start_sandbox()
        if records is not None:
            await children.records_are_ready(records)
        operator = self._operator_settings(records)
        await children.start_operator(kubeconfig, operator)
        if self._console:
            volume = self._volume if self._has_volume else None
            settings = page.console_settings(kubeconfig, records, volume, operator)
            self._screen.say(f"console: {await children.start_console(settings)}")
        self._screen.say(f"ready for: kubectl --kubeconfig {kubeconfig} get trainingjobs")
        async with ApiClient.from_kubeconfig(kubeconfig, connections=0) as client:
            job = await apply(client, self._documents)
            self._started = time.monotonic()
            follower = JobFollower(client, self._screen, job=job)
            interrupts.has_job = lambda: not follower.finished
            self._follower = follower
            canceller = asyncio.create_task(self._cancel(client, job, interrupts), name="cancel")
            try:
                view = await follower.run()
            finally:
                await _end(canceller)
            code = self._finish(view)
            report = FinishedJobReport(client, records, self._screen, job=job)
            await report.show_record()
            if self._console and not interrupts.cancel.is_set():
                self._screen.say("the console is served until Ctrl-C")
                await interrupts.stop.wait()
            # A user who has interrupted the job does not want to wait for the retention.
            if self._retain_s is not None and not interrupts.cancel.is_set():
                await report.show_retention(after_s=self._retain_s, volume=self._volume)
        return code

    def _operator_settings(self, records: RecordService | None) -> dict[str, str]:
        """Return the operator's settings for this run, without its kubeconfig."""
        settings = records.operator_settings if records is not None else {}
        if self._has_volume:
            self._volume.mkdir()
            settings |= {"TRAININGJOB_VOLUME__ROOT": str(self._volume)}
        if self._retain_s is None:
            return settings
        retain = f"{self._retain_s:g}s"
        return settings | {
            "TRAININGJOB_GC__TTL": retain,
            "TRAININGJOB_GC__INTERVAL": _HOUSEKEEPING,
            "TRAININGJOB_VOLUME__MAX_AGE": retain,
        }

    @property
    def _has_volume(self) -> bool:
        return self._retain_s is not None or self._console

    @property
    def _volume(self) -> Path:
        """The folder of the log volume. It exists only for `--retain` and `--console`."""
        return self._workspace.folder / "volume"

    async def _start_records(self, children: ChildProcesses) -> RecordService | None:
        """Start the record service if it is installed, without waiting until it is ready."""
        parts = "an API server, a node{} and the operator"
        if not is_installed():
            self._screen.say(f"starting {parts.format('')} on this machine")
            self._screen.say("no records are kept; in a clone: pip install '.[records]'")
            return None
        self._screen.say(f"starting {parts.format(', a record service')} on this machine")
        records = RecordService(self._workspace.folder)
        await children.start_records(records)
        return records

    async def _cancel(self, client: ApiClient, job: Object, interrupts: Interrupts) -> None:
        """Stop the job on an interrupt or at its time limit; if it does not stop in time, end the run."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await interrupts.cancel.wait()
        except TimeoutError:
            self._timed_out = True
            interrupts.cancel.set()
            self._screen.say(f"not finished after {self._timeout_s:g} s: stopping the job")
        else:
            self._screen.say("stopping the job; interrupt again to stop all processes at once")
        try:
            await client.patch(self._documents.job.path, {"spec": {"shutdown": "Stop"}})
        except ApiError as error:
            self._screen.say(f"could not stop the job: {error.message}")
        else:
            pod = job["spec"]["template"]["spec"]
            await asyncio.sleep(
                pod.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S) + _CANCEL_MARGIN_S
            )
        interrupts.stop.set()

    def _finish(self, view: JobView) -> int:
        """Print the job's outcome, once; return the exit code."""
        if self._code is not None:
            return self._code
        self._screen.close()  # before the summary, which is not part of the live display
        for line in summary(view, seconds=time.monotonic() - self._started):
            self._screen.say(line)
        code = _EXIT_CODES[view.outcome]
        self._code = FAILED if self._timed_out and code == CANCELLED else code
        return self._code


async def _end(*tasks: "asyncio.Task[object]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
