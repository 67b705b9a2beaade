"""The time after a job: its record is shown, and that it stays when the job goes."""

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
"""Seconds for which a record is waited for. It is there at once, or after one of the operator's retries."""

_GONE_S: Final = 45.0
"""Seconds for which the job, its pods and its files are waited for; a pod may use its grace."""

_LOOK_S: Final = 0.1


class Aftermath:
    """Shows what is left of one finished job."""

    def __init__(
        self, client: ApiClient, records: RecordService | None, screen: Screen, *, job: Object
    ) -> None:
        """Prepare to show it.

        Args:
            client: of the API server.
            records: where the record is; None: nowhere.
            screen: where to show it.
            job: as it was created.
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
        """Show the job's record, as the record service hands it out."""
        if self._records is None:
            return
        record = await self._records.record_of(self._uid, patience_s=_RECORD_S)
        if record is None:
            self._screen.say(f"no record of {self._name} has come within {_RECORD_S:g} s")
            return
        self._screen.say(f"its record, from GET {self._records.path_of(self._uid)}:")
        self._screen.say(f"  {facts(record)}")

    async def show_retention(self, *, after_s: float, volume: Path) -> None:
        """Show how the operator's retention takes the job, its pods and its files, and what stays.

        Args:
            after_s: the time to live that the operator was given, of jobs and of files.
            volume: the operator's log volume.
        """
        pods = ", ".join(pod["metadata"]["name"] for pod in await self._pods()) or "none"
        files = _files_of(self._uid, volume)
        self._screen.say(
            f"the operator keeps finished jobs for {after_s:g} s here, for an hour as a rule,"
        )
        self._screen.say(
            f"and what nobody changes on the log volume for {after_s:g} s, for a week as a rule:"
        )
        await self._tell(f"  job {self._name}", self._job_is_gone, later_s=after_s)
        # The log may have been archived since: it is on the volume before the job is deleted.
        files |= _files_of(self._uid, volume)
        names = ", ".join(files[file] for file in sorted(files))
        await self._tell(f"  pods {pods}", self._pods_are_gone)
        await self._tell(f"  files {names or 'none'}", lambda: _are_gone(files), later_s=after_s)
        if self._records is not None:
            record = await self._records.record_of(self._uid, patience_s=_RECORD_S)
            said = f"stays: {facts(record)}" if record is not None else "is gone, too: a fault"
            self._screen.say(f"  the record {said}")

    async def _tell(
        self, what: str, is_gone: Callable[[], Awaitable[bool]], *, later_s: float = 0.0
    ) -> None:
        """Say that something has gone when it has."""
        patience_s = later_s + _GONE_S
        deadline = time.monotonic() + patience_s
        while not await is_gone():
            if time.monotonic() > deadline:
                self._screen.say(f"{what}: still there after {patience_s:g} s")
                return
            await asyncio.sleep(_LOOK_S)
        self._screen.say(f"{what}: gone")

    async def _job_is_gone(self) -> bool:
        try:
            job = await self._client.get(self._path)
        except ApiError as error:
            if error.not_found:
                return True
            raise
        return bool(job["metadata"]["uid"] != self._uid)

    async def _pods_are_gone(self) -> bool:
        return not await self._pods()

    async def _pods(self) -> list[Object]:
        selector = f"{LABEL_JOB_UID}={self._uid}"
        pods, _ = await self._client.list(self._pods_path, label_selector=selector)
        return pods


def _files_of(uid: str, volume: Path) -> dict[Path, str]:
    """Return the job's entries of the volume, each with its name to show."""
    found = volume.glob(f"job_{uid}*")
    return {file: f"{file.name}/" if file.is_dir() else file.name for file in found}


async def _are_gone(files: Iterable[Path]) -> bool:
    return not any(file.exists() for file in files)
