"""Lists the pods of a job and reads their logs, with the token of the user who reads."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeGuard

from trainingjob_api import constants
from trainingjob_console.errors import ApiServerError
from trainingjob_console.jobs.summary import as_dict, as_dicts, as_text
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.pages import pages
from trainingjob_console.logs.resume import LineResume

MAIN: Final = "main"
"""The name of the main container, whose log is the log of the rank, in source ids."""

_MAX_PODS: Final = 4096
_IDLE_S: Final = 3600.0
READ_S: Final = 20.0
"""Seconds without a byte after which a read that does not follow is aborted."""

_PART: Final = 65_536
_FILE_BYTES: Final = 64
"""Bytes at the beginning of a log that include the timestamp of its first line."""

_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLog:
    """The log of one container.

    Attributes:
        pod: name of the pod.
        uid: of the pod.
        container: name of the container in the pod.
        source_container: name of the container in source ids.
        has_started: the container has started, so there may be a log.
        has_ended: the container has terminated.
    """

    namespace: str
    pod: str
    uid: str
    rank: int
    attempt: int
    container: str
    source_container: str
    has_started: bool
    has_ended: bool

    @property
    def path(self) -> str:
        """Path of the pod at the API server."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}"


async def logs_of_job(kube: Kube, token: str | None, namespace: str, uid: str) -> list[PodLog]:
    """Return the logs of a job's pods, by rank; for each rank the oldest attempt first.

    Raises:
        ApiServerError: the pods cannot be listed.
        BusyError: too many large responses are being read.
    """
    logs: list[PodLog] = []
    seen = 0
    path = f"/api/v1/namespaces/{namespace}/pods"
    query = {"labelSelector": f"{constants.LABEL_JOB_UID}={uid}"}
    async with aclosing(pages(kube, path, logs_of_pod, token=token, query=query)) as parts:
        async for part in parts:
            logs += chain.from_iterable(part.items)
            seen += len(part.items)
            if seen >= _MAX_PODS:
                break
    return sorted(logs, key=lambda log: (log.rank, log.source_container, log.attempt))


def logs_of_pod(raw: dict[str, Any]) -> list[PodLog]:
    """Return the logs of one pod; empty if the pod belongs to no job."""
    metadata, spec, status = (as_dict(raw.get(part)) for part in ("metadata", "spec", "status"))
    labels = as_dict(metadata.get("labels"))
    rank, attempt = labels.get(constants.LABEL_INDEX), labels.get(constants.LABEL_ATTEMPT)
    if not _is_number(rank, digits=5):
        return []
    number = int(attempt) if _is_number(attempt, digits=9) else 0
    names = [as_text(each.get("name")) for each in as_dicts(spec.get("containers"))]
    main = _main_of(as_dict(metadata.get("annotations")), names)
    states = {
        as_text(each.get("name")): as_dict(each.get("state"))
        for each in as_dicts(status.get("containerStatuses"))
    }
    over = status.get("phase") in ("Succeeded", "Failed")
    return [
        PodLog(
            namespace=as_text(metadata.get("namespace")),
            pod=as_text(metadata.get("name")),
            uid=as_text(metadata.get("uid")),
            rank=int(rank),
            attempt=number,
            container=name,
            source_container=MAIN if name == main else name,
            has_started=over or bool({"running", "terminated"} & states.get(name, {}).keys()),
            has_ended=over or "terminated" in states.get(name, {}),
        )
        for name in names
    ]


def _is_number(label: object, *, digits: int) -> TypeGuard[str]:
    """Return True if a label has only digits, and at most so many. Labels are not trusted: any user can set them."""
    return isinstance(label, str) and label.isdecimal() and len(label) <= digits


def _main_of(annotations: dict[str, Any], names: list[str]) -> str:
    asked = annotations.get(constants.ANNOTATION_MAIN_CONTAINER)
    for name in (asked, constants.MAIN_CONTAINER):
        if isinstance(name, str) and name in names:
            return name
    return names[0] if names else ""


async def refresh_log(kube: Kube, token: str | None, log: PodLog) -> PodLog | None:
    """Return the current state of a log; None: its pod was deleted.

    Raises:
        ApiServerError: the pod cannot be read.
    """
    try:
        logs, _ = await kube.read(log.path, logs_of_pod, token=token)
    except ApiServerError as error:
        if error.status == _NOT_FOUND:
            return None
        raise
    found = (each for each in logs if each.uid == log.uid)
    return next((each for each in found if each.container == log.container), None)


@asynccontextmanager
async def open_log(
    kube: Kube, token: str | None, log: PodLog, *, follow: bool = False, since: str = ""
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open a log, from its beginning or from a time.

    Args:
        kube: client of the API server.
        token: of the user.
        log: the log.
        follow: keep the stream open while the log is written, with a timestamp before each line.
        since: `sinceTime`, in whole seconds; empty: from the beginning.

    Raises:
        ApiServerError: the log cannot be read; also raised within the context.
        BusyError: too many logs are being read.
    """
    query = {"container": log.container}
    if follow:
        query |= {"follow": "true", "timestamps": "true"}
    if since:
        query["sinceTime"] = since
    idle = _IDLE_S if follow else READ_S
    async with kube.log(f"{log.path}/log", token=token, query=query, idle_s=idle) as response:
        yield response.content.iter_chunked(_PART) if not follow else response.content.iter_any()


async def current_log_file(kube: Kube, token: str | None, log: PodLog) -> str:
    """Return the name of the node's current log file; empty: it has no line, or its first line no timestamp.

    A kubelet rotates a log that is full, and serves only the new file. Offsets count from the beginning of one file. It
    is named by the timestamp of its first line, which the container runtime sets and which never changes.

    Args:
        kube: client of the API server.
        token: of the user.
        log: the log.

    Raises:
        ApiServerError: the log cannot be read.
        BusyError: too many logs are being read.
    """
    query = {"container": log.container, "timestamps": "true", "limitBytes": str(_FILE_BYTES)}
    beginning, seen = LineResume(), 0
    async with kube.log(f"{log.path}/log", token=token, query=query, idle_s=READ_S) as response:
        async for part in response.content.iter_any():
            beginning.feed(part)
            seen += len(part)
            if seen >= _FILE_BYTES:
                break
    return beginning.file
