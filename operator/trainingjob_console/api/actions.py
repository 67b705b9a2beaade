"""`POST /api/actions`: suspends, resumes, stops, deletes or reruns jobs, with the user's own token."""

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.access.caller import Caller
from trainingjob_console.api.requests import json_response, read_json
from trainingjob_console.components import Components, Feature
from trainingjob_console.errors import ApiServerError, BadRequestError
from trainingjob_console.jobs.actions import (
    ACTIONS,
    PATCHES,
    Target,
    copy_of,
    deletion_of,
    describe_effect,
    patch_of,
)
from trainingjob_console.jobs.informer import jobs_path
from trainingjob_console.jobs.summary import Object, as_dict, as_text

MAX_JOBS: Final = 100
_AT_ONCE: Final = 8
_JSON_PATCH: Final = "application/json-patch+json"
_INVALID: Final = 422
_CONFLICT: Final = 409
_GONE: Final = 404
_REPLACED: Final = "another job now has this name; load the list again"


class ActionsApi:
    """Executes actions on jobs with the user's token; each request has the job's uid as precondition."""

    def __init__(self, components: Components) -> None:
        self._components: Final = components
        self._at_once: Final = asyncio.Semaphore(_AT_ONCE)

    def feature(self) -> Feature:
        """Return the routes."""
        return Feature(routes=[Route("/api/actions", self.act, methods=["POST"])])

    async def act(self, request: Request) -> Response:
        """Execute an action on each job, or only describe its effect (dry run). A failure stops no other."""
        access = self._components.access
        access.check_origin(request)
        caller = await access.authenticate(request)
        action, targets, dry_run = _read(await read_json(request))
        results = await asyncio.gather(
            *(self._act_on(caller, action, target, dry_run=dry_run) for target in targets)
        )
        return json_response({"results": results})

    async def _act_on(
        self, caller: Caller, action: str, target: Target, *, dry_run: bool
    ) -> Object:
        result: Object = {"uid": target.uid, "ok": True, "message": "", "name": None}
        try:
            async with self._at_once:
                done = await self._send(caller, action, target, dry_run=dry_run)
        except ApiServerError as error:
            return result | {"ok": False, "message": _describe(error)}
        if action == "run-again":
            result["name"] = as_text(as_dict(done.get("metadata")).get("name")) or None
        job = self._components.index.get(target.uid)
        if job is not None:
            result["message"] = describe_effect(action, job)
        return result

    async def _send(self, caller: Caller, action: str, target: Target, *, dry_run: bool) -> Object:
        query = {"dryRun": "All"} if dry_run else {}
        call, path = self._components.kube.call, jobs_path(target.namespace, target.name)
        if action in PATCHES:
            body = patch_of(action, target.uid)
            return await call(
                "PATCH", path, token=caller.token, query=query, body=body, content_type=_JSON_PATCH
            )
        if action == "delete":
            options = deletion_of(target.uid, dry_run=dry_run)
            return await call("DELETE", path, token=caller.token, body=options)
        job = await call("GET", path, token=caller.token)
        if as_text(as_dict(job.get("metadata")).get("uid")) != target.uid:
            raise ApiServerError(_REPLACED, status=_CONFLICT, reason="Conflict")
        new = copy_of(job)
        return await call(
            "POST", jobs_path(target.namespace), token=caller.token, query=query, body=new
        )


def _describe(error: ApiServerError) -> str:
    if error.status == _GONE:
        return "it no longer exists"
    text = str(error)
    tested = error.status == _INVALID and (
        "test" in text.lower() or "rejected our request" in text
    )
    if tested or (error.status == _CONFLICT and "uid" in text.lower()):
        return _REPLACED
    return text


def _read(body: Object) -> tuple[str, list[Target], bool]:
    """Parse the body: the action, its jobs, and whether it is a dry run.

    Raises:
        BadRequestError: a field is invalid; the message names it.
    """
    action, jobs, dry_run = body.get("action"), body.get("jobs"), body.get("dryRun", False)
    if action not in ACTIONS:
        raise BadRequestError(f"action: must be one of {', '.join(ACTIONS)}")
    if not isinstance(dry_run, bool):
        raise BadRequestError("dryRun: must be true or false")
    if not isinstance(jobs, list) or not 1 <= len(jobs) <= MAX_JOBS:
        raise BadRequestError(f"jobs: must be a list of 1 to {MAX_JOBS}")
    return action, [_target(job) for job in jobs], dry_run


def _target(job: Any) -> Target:
    given = as_dict(job)
    namespace, name, uid = (as_text(given.get(key)) for key in ("namespace", "name", "uid"))
    if not uid or not _is_name(namespace) or not _is_name(name):
        raise BadRequestError("jobs: each needs its namespace, name and uid")
    return Target(namespace, name, uid)


def _is_name(text: str) -> bool:
    """Return True if this can be an object name, which is safe as a segment of a URL path."""
    return (
        bool(text)
        and all(c.isascii() and (c.isalnum() or c in "-.") for c in text)
        and text[0] != "."
    )
