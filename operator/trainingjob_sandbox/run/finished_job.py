"""Shows the record of a finished job, and how retention deletes the job, its pods and its log files."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from trainingjob_api.constants import API_VERSION, LABEL_JOB_UID, PLURAL_TRAINING_JOBS
from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.run.documents import Object
from trainingjob_sandbox.run.records import RecordService, facts
from trainingjob_sandbox.run.screen import Screen

_RECORD_S: Final = 15.0
"""Seconds to wait for the record. It is stored at once, or by one of the operator's retries."""

_DELETED_S: Final = 45.0
"""Seconds to wait for the deletion of the job, its pods and its files; includes a pod's grace period."""

_POLL_S: Final = 0.1


class FinishedJobReport:
    """Reports on one finished job: its record, and what retention deletes."""

    def __init__(
        self, client: ApiClient, records: RecordService | None, screen: Screen, *, job: Object
    ) -> None:
        """Create the report; nothing is read yet.

        Args:
            client: client of the API server.
            records: the record service; None if records are not kept.
            screen: the screen to print on.
            job: the job as it was created.
        """
        metadata = job["metadata"]
        namespace = metadata["namespace"]
        self._client = client
        self._records = records
        self._screen = screen
        self._name = metadata["name"]
        self._uid = metadata["uid"]
        jobs_path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL_TRAINING_JOBS}"
        self._path = f"{jobs_path}/{self._name}"
        self._pods_path = f"/api/v1/namespaces/{namespace}/pods"

    async def show_record(self) -> None:
        """Print the job's record, as the record service returns it."""
        if self._records is None:
            return
        record = await self._records.wait_for_record(self._uid, timeout_s=_RECORD_S)
        if record is None:
            self._screen.say(f"no record of {self._name} was stored within {_RECORD_S:g} s")
            return
        self._screen.say(f"its record, from GET {self._records.path_of(self._uid)}:")
        self._screen.say(f"  {facts(record)}")

    async def show_retention(self, *, after_s: float, volume: Path) -> None:
        """Print when retention deletes the job, its pods and its files, and that the record is kept.

        Args:
            after_s: the TTL of jobs and of files in the operator's settings.
            volume: the operator's log volume.
        """
        pods = ", ".join(pod["metadata"]["name"] for pod in await self._pods()) or "none"
        files = _files_of(self._uid, volume)
        self._screen.say(
            f"in this run the operator deletes finished jobs after {after_s:g} s (default: 1 hour)"
        )
        self._screen.say(
            f"and log files that have not changed for {after_s:g} s (default: 1 week):"
        )
        await self._report_deletion(f"  job {self._name}", self._job_is_deleted, ttl_s=after_s)
        # A log archived in the meantime is on the volume before the job is deleted.
        files |= _files_of(self._uid, volume)
        names = ", ".join(files[file] for file in sorted(files))
        await self._report_deletion(f"  pods {pods}", self._pods_are_deleted)
        await self._report_deletion(
            f"  files {names or 'none'}", lambda: _are_deleted(files), ttl_s=after_s
        )
        if self._records is not None:
            record = await self._records.wait_for_record(self._uid, timeout_s=_RECORD_S)
            said = (
                f"is kept: {facts(record)}"
                if record is not None
                else "was deleted too: this is a fault"
            )
            self._screen.say(f"  the record {said}")

    async def _report_deletion(
        self, what: str, is_deleted: Callable[[], Awaitable[bool]], *, ttl_s: float = 0.0
    ) -> None:
        """Wait until `is_deleted` returns true, and print that; print a failure after the time limit."""
        timeout_s = ttl_s + _DELETED_S
        deadline = time.monotonic() + timeout_s
        while not await is_deleted():
            if time.monotonic() > deadline:
                self._screen.say(f"{what}: not deleted after {timeout_s:g} s")
                return
            await asyncio.sleep(_POLL_S)
        self._screen.say(f"{what}: deleted")

    async def _job_is_deleted(self) -> bool:
        try:
            job = await self._client.get(self._path)
        except ApiError as error:
            if error.not_found:
                return True
            raise
        return bool(job["metadata"]["uid"] != self._uid)

    async def _pods_are_deleted(self) -> bool:
        return not await self._pods()

    async def _pods(self) -> list[Object]:
        selector = f"{LABEL_JOB_UID}={self._uid}"
        pods, _ = await self._client.list(self._pods_path, label_selector=selector)
        return pods


def _files_of(uid: str, volume: Path) -> dict[Path, str]:
    """Return the job's files and directories on the volume, each with the name to print."""
    found = volume.glob(f"job_{uid}*")
    return {file: f"{file.name}/" if file.is_dir() else file.name for file in found}


async def _are_deleted(files: Iterable[Path]) -> bool:
    return not any(file.exists() for file in files)
