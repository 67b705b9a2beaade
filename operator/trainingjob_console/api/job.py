"""`/api/jobs/{uid}`: one job in full, read with the user's token, or from its record if it was deleted."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_api import constants
from trainingjob_console.access.caller import Caller
from trainingjob_console.api.requests import json_response
from trainingjob_console.components import Components, Feature
from trainingjob_console.concurrency import ConcurrencyLimit
from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.errors import ApiServerError, BusyError, NotFoundError
from trainingjob_console.jobs import job_detail
from trainingjob_console.jobs.history import row_of
from trainingjob_console.jobs.informer import jobs_path
from trainingjob_console.jobs.summary import Object, Summary, as_text
from trainingjob_console.kube.pages import pages

_MAX_UID: Final = 64
_MAX_ITEMS: Final = 4096
"""The maximum number of a job's pods, and of its events, that are read. An attempt has at most a quarter
as many pods."""

_AT_ONCE: Final = 4
_MAX_WAITING: Final = 60
_CALL_S: Final = 20.0
_REFUSED: Final = frozenset({403, 404})
_NOT_LISTED: Final = "the console has just started and has not listed all jobs yet: try again"
_ABSENT: Final = "no such job, neither in the cluster nor among the records that you may see"


class JobApi:
    """Serves one job."""

    def __init__(self, components: Components) -> None:
        self._components: Final = components
        self._slots: Final = ConcurrencyLimit(_AT_ONCE, _MAX_WAITING)
        components.metrics.watch_bound(
            "job_reads", lambda: len(self._slots), lambda: self._slots.limit
        )
        large = components.kube.response_reader
        components.metrics.watch_bound("large_answers", lambda: len(large), lambda: large.limit)

    def feature(self) -> Feature:
        """Return the routes."""
        return Feature(routes=[Route("/api/jobs/{uid}", self.get, methods=["GET"])])

    async def get(self, request: Request) -> Response:
        """Return the job from the cluster; if it no longer exists there, from its record."""
        caller = await self._components.access.authenticate(request)
        uid = request.path_params["uid"]
        if len(uid) > _MAX_UID or not all(c.isascii() and (c.isalnum() or c == "-") for c in uid):
            raise NotFoundError(_ABSENT)
        # Taken before reading: the socket sends changes that happen meanwhile again.
        position = self._components.index.position
        job = self._components.index.get(uid)
        found = await self._from_cluster(caller, job) if job is not None else None
        return json_response(
            (found or await self._from_record(caller, uid)) | {"position": position}
        )

    async def _from_cluster(self, caller: Caller, job: Summary) -> Object | None:
        """Return the job from the cluster; None: the user may not see it, or it was deleted."""
        if not (await self._components.access.visible(caller, job.namespace))(job.namespace):
            return None
        try:
            async with (
                StallTolerantTimeout(_CALL_S),
                self._slots.slot(caller.user, "too many jobs are being read"),
            ):
                found = await self._read(caller, job)
        except TimeoutError as error:
            raise BusyError("the job was not read in time: try again", retry_after_s=5) from error
        except ApiServerError as error:
            if error.status in _REFUSED:
                return None
            raise
        if found["uid"] != job.uid:
            return None
        pods, rights = found["pods"], await self._rights(caller, job.namespace)
        return {
            "row": (found["summary"] or job).row(),
            "attempts": job_detail.attempts(found["current"], pods),
            "ranks": job_detail.ranks(pods),
            "events": found["events"],
            "record": {"state": job.record} if job.record else None,
            "rights": rights,
            **found["parts"],
        }

    async def _read(self, caller: Caller, job: Summary) -> Object:
        """Read the job, its pods and its events; keep of each only what the page shows."""
        max_age_s = self._components.settings.log_max_age
        found, _ = await self._components.kube.read(
            jobs_path(job.namespace, job.name),
            lambda raw: job_detail.of_job(raw, max_age_s),
            token=caller.token,
        )
        pods, events = await asyncio.gather(self._pods(caller, job), self._events(caller, job))
        return found | {"pods": pods, "events": events}

    async def _from_record(self, caller: Caller, uid: str) -> Object:
        record = await self._components.history.record(uid, caller.user)
        namespace = as_text(record.get("namespace")) if record is not None else ""
        if record is None or not (await self._components.access.visible(caller, namespace))(
            namespace
        ):
            if not self._components.index.is_complete:
                raise BusyError(_NOT_LISTED, retry_after_s=1)
            raise NotFoundError(_ABSENT)
        rights = await self._rights(caller, namespace)
        no_rights = {"patch": False, "delete": False, "create": False}
        parts = await asyncio.to_thread(
            job_detail.of_record, record, self._components.settings.log_max_age
        )
        return {"row": row_of(record), **parts, "rights": rights | no_rights}

    async def _pods(self, caller: Caller, job: Summary) -> list[Object]:
        selector = {"labelSelector": f"{constants.LABEL_JOB_UID}={job.uid}"}
        return await self._items(caller, job, "pods", job_detail.of_pod, selector)

    async def _events(self, caller: Caller, job: Summary) -> list[Object]:
        selector = {"fieldSelector": f"involvedObject.uid={job.uid}"}
        return await self._items(
            caller, job, "events", job_detail.of_event, selector, keep=job_detail.events
        )

    async def _items(
        self,
        caller: Caller,
        job: Summary,
        resource: str,
        convert: Callable[[Object], Object],
        query: dict[str, str],
        *,
        keep: Callable[[list[Object]], list[Object]] = list,
    ) -> list[Object]:
        """Return a list of objects; it is empty if the user may not read it: the page shows the rest."""
        path = f"/api/v1/namespaces/{quote(job.namespace)}/{resource}"
        found: list[Object] = []
        seen = 0
        try:
            async with aclosing(
                pages(self._components.kube, path, convert, token=caller.token, query=query)
            ) as parts:
                async for part in parts:
                    found = keep(found + part.items)
                    seen += len(part.items)
                    if seen >= _MAX_ITEMS:
                        break
        except ApiServerError as error:
            if error.status in _REFUSED:
                return []
            raise
        return found

    async def _rights(self, caller: Caller, namespace: str) -> Object:
        may = self._components.access.is_allowed
        jobs, group = constants.PLURAL_TRAINING_JOBS, constants.GROUP
        patch, delete, create, logs = await asyncio.gather(
            *(
                may(caller, verb, jobs, namespace, group=group)
                for verb in ("patch", "delete", "create")
            ),
            may(caller, "get", "pods", namespace, subresource="log"),
        )
        return {"patch": patch, "delete": delete, "create": create, "logs": logs}
