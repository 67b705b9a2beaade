"""Calls the Kubernetes API over HTTP: deadlines, pagination, 404s and errors; raw dicts in and out.

`kube.cluster` documents each call. The gateway uses raw dicts because the official client's models
cost ten times the CPU, and reject pod templates that the API server accepts.

A 404 that names an object becomes `None`; every other status from 400 up becomes one of our errors.
Each call has a total deadline, from connecting to the last byte of the body. The client has no
deadline by default, so one silent server would block a worker for ever.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Self

import aiohttp

from trainingjob_api.constants import (
    API_VERSION,
    KIND_RETENTION_POLICY,
    KIND_TRAINING_JOB,
    LABEL_JOB_NAME,
    PLURAL_RETENTION_POLICIES,
    PLURAL_TRAINING_JOBS,
    POLICY_NAME,
)
from trainingjob_api.errors import NotServedError, UnavailableError
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.untyped_json import as_dict, as_str
from trainingjob_operator.kube.cluster import Cluster, Object, Page, ServedState
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.errors import (
    ERRORS,
    NOT_FOUND,
    error_from,
    names_an_object,
    not_served,
)
from trainingjob_operator.kube.finalizers import (
    with_record_finalizer,
    without_finalizer,
    without_record_finalizer,
)
from trainingjob_operator.kube.pod_logs import read_log
from trainingjob_operator.kube.request_counts import RequestCounts
from trainingjob_operator.kube.response_reader import (
    PageSize,
    PageTooLargeError,
    ResponseReader,
    decode_object,
    require_created,
    require_list,
)
from trainingjob_operator.kube.transport import JSON, USER_AGENT, Transport, connection_failed
from trainingjob_operator.kube.write_fencing import MayWrite

MERGE_PATCH: Final = "application/merge-patch+json"
_CONNECTIONS: Final = 64
"""Connection limit. With more workers than connections, workers would wait for one another."""

_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None)
"""Off in aiohttp, because `_call` sets a deadline around each call."""

_JSON_PATCH: Final = "application/json-patch+json"
_OURS: Final = f"/apis/{API_VERSION}"
_ONLY_THE_VERSION: Final = {"fieldSelector": "metadata.name=none", "limit": "1"}
"""Query of a list that is always empty, because no object of ours has this name. It sets no
`resourceVersion`, so etcd answers it and not the watch cache of one of several API servers."""
_PLURALS: Final = {
    KIND_TRAINING_JOB: PLURAL_TRAINING_JOBS,
    KIND_RETENTION_POLICY: PLURAL_RETENTION_POLICIES,
}


class Gateway(Cluster):
    """The operator's implementation of `Cluster`."""

    def __init__(
        self,
        connection: Connection,
        *,
        timeout_s: float,
        user_agent: str = USER_AGENT,
        may_write: MayWrite | None = None,
    ) -> None:
        """Prepare the calls; nothing is sent yet.

        Args:
            connection: the API server and our credentials.
            timeout_s: total deadline of each call, in seconds.
            user_agent: the User-Agent header, which the API server's audit log shows.
            may_write: checked right before each write is sent; if it returns False, the write fails.
                None: all writes are sent.
        """
        self._transport: Final = Transport(
            connection, connections=_CONNECTIONS, user_agent=user_agent, may_write=may_write
        )
        self._timeout_s: Final = timeout_s
        self.bodies: Final = ResponseReader()
        self._sizes: Final[defaultdict[str, PageSize]] = defaultdict(PageSize)  # one for each kind
        self.requests: Final = RequestCounts()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    # --- jobs ---------------------------------------------------------------------------------

    async def get_job(self, key: JobKey) -> Object | None:
        return await self._call("GET", jobs_path(key.namespace, key.name))

    def list_jobs(self, namespace: str | None) -> AsyncIterator[Page]:
        return self._pages(jobs_path(namespace), {})

    async def jobs_version(self, namespace: str | None) -> str:
        return await self._version(jobs_path(namespace))

    async def patch_job_status(self, key: JobKey, patch: Object) -> Object | None:
        path = f"{jobs_path(key.namespace, key.name)}/status"
        return await self._call("PATCH", path, body=patch, content_type=MERGE_PATCH)

    async def set_record_finalizer(self, job: JobView, *, present: bool) -> Object | None:
        path = jobs_path(job.key.namespace, job.key.name)
        change = with_record_finalizer(job) if present else without_record_finalizer(job)
        return await self._patch_version(path, job.uid, job.resource_version, change)

    async def jobs_by_record_state(
        self, namespace: str | None, state: str, *, limit: int, token: str
    ) -> Page:
        query = {"fieldSelector": f"status.recordState={state}"}
        document = await self._page(jobs_path(namespace), query, token, limit=limit)
        return _page_of(document)

    async def delete_finished_job(self, job: JobView) -> bool:
        options = delete_options(job.uid, job.resource_version, propagationPolicy="Background")
        path = jobs_path(job.key.namespace, job.key.name)
        return await self._call("DELETE", path, body=options) is not None

    # --- policies -------------------------------------------------------------------------------

    async def get_policy(self, namespace: str) -> Object | None:
        return await self._call("GET", _policies_path(namespace, POLICY_NAME))

    def list_policies(self, namespace: str | None) -> AsyncIterator[Page]:
        return self._pages(_policies_path(namespace), {})

    async def create_policy(self, namespace: str) -> Object:
        manifest: Object = {
            "apiVersion": API_VERSION,
            "kind": KIND_RETENTION_POLICY,
            "metadata": {"name": POLICY_NAME, "namespace": namespace},
            "spec": {},
        }
        path = _policies_path(namespace)
        return require_created(await self._call("POST", path, body=manifest), path)

    async def patch_policy_status(self, namespace: str, patch: Object) -> Object | None:
        path = f"{_policies_path(namespace, POLICY_NAME)}/status"
        return await self._call("PATCH", path, body=patch, content_type=MERGE_PATCH)

    async def remove_finalizer(self, raw: Object, finalizer: str) -> None:
        metadata = raw["metadata"]
        plural = _PLURALS[raw["kind"]]
        path = _path(_OURS, metadata["namespace"], plural, metadata["name"])
        change = without_finalizer(metadata, finalizer)
        await self._patch_version(path, metadata["uid"], metadata["resourceVersion"], change)

    async def _patch_version(
        self, path: str, uid: str, version: str, change: list[Object]
    ) -> Object | None:
        patch: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            # Not `test`: a failed test is a 422 like many other errors, a stale version is a 409.
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            *change,
        ]
        return await self._call("PATCH", path, body=patch, content_type=_JSON_PATCH)

    # --- pods ---------------------------------------------------------------------------------

    async def get_pod(self, namespace: str, name: str) -> Object | None:
        return await self._call("GET", _core_path(namespace, "pods", name))

    def list_pods(
        self, namespace: str | None, *, selector: str = LABEL_JOB_NAME
    ) -> AsyncIterator[Page]:
        return self._pages(pods_path(namespace), {"labelSelector": selector})

    async def pods_version(self, namespace: str | None) -> str:
        return await self._version(pods_path(namespace))

    async def create_pod(self, manifest: Object) -> Object:
        return await self._create("pods", manifest)

    async def try_pod_template(self, manifest: Object) -> None:
        path = _core_path(manifest["metadata"]["namespace"], "podtemplates")
        await self._call("POST", path, body=manifest, query={"dryRun": "All"})

    async def delete_pod(
        self,
        namespace: str,
        name: str,
        *,
        uid: str,
        version: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        grace = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        options = delete_options(uid, version, **grace)
        await self._call("DELETE", _core_path(namespace, "pods", name), body=options)

    def pod_log(self, namespace: str, name: str, *, container: str) -> AsyncGenerator[bytes, None]:
        path = f"{_core_path(namespace, 'pods', name)}/log"
        return read_log(
            self._transport, self.requests, path, container=container, timeout_s=self._timeout_s
        )

    # --- namespaces, services and events ------------------------------------------------------

    async def get_namespace(self, name: str) -> Object | None:
        return await self._call("GET", f"/api/v1/namespaces/{name}")

    async def get_service(self, namespace: str, name: str) -> Object | None:
        return await self._call("GET", _core_path(namespace, "services", name))

    async def create_service(self, manifest: Object) -> Object:
        return await self._create("services", manifest)

    async def create_event(self, manifest: Object) -> Object:
        return await self._create("events", manifest)

    # --- the API server itself ----------------------------------------------------------------

    async def served_state(self) -> ServedState:
        try:
            document = await self._call("GET", _OURS) or {}
        except NotServedError:
            return ServedState.ABSENT
        verbs = {
            as_str(as_dict(each).get("name")): as_dict(each).get("verbs") or ()
            for each in document.get("resources") or ()
        }
        if PLURAL_TRAINING_JOBS not in verbs:
            return ServedState.ABSENT
        # While a CRD is being deleted, its objects can be listed and deleted, but not created.
        is_whole = all("create" in verbs.get(plural, ()) for plural in _PLURALS.values())
        return ServedState.SERVED if is_whole else ServedState.PARTLY

    # --- transport ----------------------------------------------------------------------------

    async def _create(self, plural: str, manifest: Object) -> Object:
        path = _core_path(manifest["metadata"]["namespace"], plural)
        return require_created(await self._call("POST", path, body=manifest), path)

    async def _version(self, path: str) -> str:
        document = require_list(await self._call("GET", path, query=_ONLY_THE_VERSION), path)
        return as_str(as_dict(document.get("metadata")).get("resourceVersion"))

    async def _pages(self, path: str, query: dict[str, str]) -> AsyncIterator[Page]:
        """Yield all pages of a list, which together are a consistent snapshot.

        Raises:
            GoneError: the list took so long that its continue token has expired; start again.
            NotServedError: the API server does not serve the kind; whether objects exist is unknown.
        """
        token = ""
        while True:
            document = await self._page(path, query, token)
            page = _page_of(document)
            del document
            yield page
            page.items.clear()
            if not (token := page.next_token):
                return

    async def _page(
        self, path: str, query: dict[str, str], token: str, *, limit: int | None = None
    ) -> Object:
        """Return one page of a list, with fewer objects where a full page would weigh too much."""
        size = self._sizes[path.rpartition("/")[2]]
        while True:
            asked = size.limit if limit is None else min(size.limit, limit)
            paging = {"limit": str(asked)} | ({"continue": token} if token else {})
            try:
                found = await self._call("GET", path, query=query | paging, size=size)
            except PageTooLargeError:
                size.shrink(asked)
            else:
                return require_list(found, path)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Object | list[Object] | None = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON,
        size: PageSize | None = None,
    ) -> Object | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._transport.send(
                    method,
                    path,
                    query=query,
                    body=body,
                    content_type=content_type,
                    limits=_NO_TIMEOUT,
                )
                data, weight = await self.bodies.read(
                    response, max_weight=size.max_weight if size is not None else None
                )
        except TimeoutError as error:
            self.requests.note(method, query or {}, None)
            raise UnavailableError(
                f"no answer within {self._timeout_s:g} s to {method} {path}", reason="Timeout"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            self.requests.note(method, query or {}, None)
            raise connection_failed(error, method, path) from error
        self.requests.note(method, query or {}, response.status)
        if response.status == NOT_FOUND:
            if names_an_object(data):
                return None
            raise not_served(method, path)
        if response.status >= ERRORS:
            raise error_from(response.status, response.headers, data)
        document = decode_object(data, f"{method} {path}")
        if size is not None:
            size.adapt(len(document.get("items") or ()), weight)
        return document


def _page_of(document: Object) -> Page:
    metadata = document.get("metadata") or {}
    return Page(
        document["items"] or [],
        str(metadata.get("resourceVersion") or "0"),
        str(metadata.get("continue") or ""),
    )


def delete_options(uid: str, version: str | None = None, **more: Any) -> Object:
    """Return a DeleteOptions body with preconditions, so that only this very object is deleted.

    Args:
        uid: the object's uid.
        version: the resourceVersion that the object must have; None: any.
        more: further fields of DeleteOptions.
    """
    preconditions = {"uid": uid} | ({} if version is None else {"resourceVersion": version})
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
    return options | more


def _policies_path(namespace: str | None, name: str = "") -> str:
    return _path(_OURS, namespace, PLURAL_RETENTION_POLICIES, name)


def jobs_path(namespace: str | None, name: str = "") -> str:
    """Return the URL path of all TrainingJobs, of those in a namespace, or of one."""
    return _path(_OURS, namespace, PLURAL_TRAINING_JOBS, name)


def pods_path(namespace: str | None) -> str:
    """Return the URL path of all pods, or of those in a namespace."""
    return _core_path(namespace, "pods")


def _core_path(namespace: str | None, plural: str, name: str = "") -> str:
    return _path("/api/v1", namespace, plural, name)


def _path(prefix: str, namespace: str | None, plural: str, name: str) -> str:
    scope = f"/namespaces/{namespace}" if namespace is not None else ""
    return f"{prefix}{scope}/{plural}" + (f"/{name}" if name else "")
