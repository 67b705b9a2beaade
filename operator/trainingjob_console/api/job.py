"""`/api/jobs/{uid}`: one job in full, with the user's own rights, or what its record has of it."""

import asyncio
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_api import constants
from trainingjob_console.access.caller import Caller
from trainingjob_console.api.requests import answer
from trainingjob_console.errors import ApiServerError, BusyError, NotFoundError
from trainingjob_console.jobs import one_job
from trainingjob_console.jobs.feed import jobs_path
from trainingjob_console.jobs.history import row_of
from trainingjob_console.jobs.summary import Object, Summary, as_dict, as_dicts, as_text, summarize
from trainingjob_console.parts import Parts, Room

_MAX_UID: Final = 64
_MAX_ITEMS: Final = "1000"
_REFUSED: Final = frozenset({403, 404})
_NOT_LISTED: Final = "the console has just begun, and has not listed all jobs yet: try again"
_ABSENT: Final = "there is no such job, neither in the cluster nor among the records you may see"


class JobApi:
    """Answers for one job."""

    def __init__(self, parts: Parts) -> None:
        self._parts: Final = parts

    def room(self) -> Room:
        """Return its routes."""
        return Room(routes=[Route("/api/jobs/{uid}", self.get, methods=["GET"])])

    async def get(self, request: Request) -> Response:
        """Return the job, live if it lives, else from its record."""
        caller = await self._parts.gate.caller(request)
        uid = request.path_params["uid"]
        if len(uid) > _MAX_UID or not all(c.isascii() and (c.isalnum() or c == "-") for c in uid):
            raise NotFoundError(_ABSENT)
        position = self._parts.index.position  # of before: what changes meanwhile is sent again
        job = self._parts.index.get(uid)
        found = await self._live(caller, job) if job is not None else None
        return answer((found or await self._past(caller, uid)) | {"position": position})

    async def _live(self, caller: Caller, job: Summary) -> Object | None:
        """Return the job of the cluster; None: the user may not see it, or it has gone."""
        if not (await self._parts.gate.visible(caller, job.namespace))(job.namespace):
            return None
        try:
            raw = await self._parts.kube.call(
                "GET", jobs_path(job.namespace, job.name), token=caller.token
            )
        except ApiServerError as error:
            if error.status in _REFUSED:
                return None
            raise
        if as_text(as_dict(raw.get("metadata")).get("uid")) != job.uid:
            return None
        pods, events, rights = await asyncio.gather(
            self._pods(caller, job), self._events(caller, job), self._rights(caller, job.namespace)
        )
        manifest = await asyncio.to_thread(one_job.manifest, raw)
        return {
            "row": (summarize(raw) or job).row(),
            "conditions": one_job.conditions(raw),
            "attempts": one_job.attempts(raw, pods),
            "ranks": one_job.ranks(pods),
            "events": one_job.events(events),
            "manifest": manifest,
            "files": one_job.files(raw, self._parts.settings.log_max_age),
            "record": {"state": job.record} if job.record else None,
            "rights": rights,
        }

    async def _past(self, caller: Caller, uid: str) -> Object:
        record = await self._parts.history.record(uid)
        namespace = as_text(record.get("namespace")) if record is not None else ""
        if record is None or not (await self._parts.gate.visible(caller, namespace))(namespace):
            if not self._parts.index.is_complete:
                raise BusyError(_NOT_LISTED, retry_after_s=1)
            raise NotFoundError(_ABSENT)
        rights = await self._rights(caller, namespace)
        gone = {"patch": False, "delete": False, "create": False}
        parts = await asyncio.to_thread(
            one_job.of_record, record, self._parts.settings.log_max_age
        )
        return {"row": row_of(record), **parts, "rights": rights | gone}

    async def _pods(self, caller: Caller, job: Summary) -> list[Object]:
        selector = f"{constants.LABEL_JOB_UID}={job.uid}"
        return await self._items(
            caller, f"/api/v1/namespaces/{quote(job.namespace)}/pods", labelSelector=selector
        )

    async def _events(self, caller: Caller, job: Summary) -> list[Object]:
        selector = f"involvedObject.uid={job.uid}"
        return await self._items(
            caller, f"/api/v1/namespaces/{quote(job.namespace)}/events", fieldSelector=selector
        )

    async def _items(self, caller: Caller, path: str, **query: str) -> list[Object]:
        """Return a list, empty if the user may not see it: the rest of the page is worth showing."""
        try:
            found = await self._parts.kube.call(
                "GET", path, token=caller.token, query=query | {"limit": _MAX_ITEMS}
            )
        except ApiServerError as error:
            if error.status in _REFUSED:
                return []
            raise
        return as_dicts(found.get("items"))

    async def _rights(self, caller: Caller, namespace: str) -> Object:
        may = self._parts.gate.may
        jobs, group = constants.PLURAL_TRAINING_JOBS, constants.GROUP
        patch, delete, create, logs = await asyncio.gather(
            *(
                may(caller, verb, jobs, namespace, group=group)
                for verb in ("patch", "delete", "create")
            ),
            may(caller, "get", "pods", namespace, subresource="log"),
        )
        return {"patch": patch, "delete": delete, "create": create, "logs": logs}
