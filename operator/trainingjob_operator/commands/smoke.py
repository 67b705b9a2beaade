"""`trainingjob smoke`: tests an install by running one small job, from submission to its record."""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_api.constants import (
    API_VERSION,
    CONDITION_PERSISTED,
    CONDITION_PODS_READY,
    KIND_TRAINING_JOB,
    MAIN_CONTAINER,
)
from trainingjob_api.errors import (
    ForbiddenError,
    KubernetesError,
    NotServedError,
    OperatorError,
    RecordError,
    SettingsError,
)
from trainingjob_operator.clock import Clock, SystemClock
from trainingjob_operator.core.job import JobKey, JobStatus, RecordState
from trainingjob_operator.core.status_wire import status_view
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.job_submission import JobSubmissionGateway
from trainingjob_operator.records.endpoint import RecordWriter, writer_from
from trainingjob_operator.settings import Settings
from trainingjob_web.env_settings import parse_duration

TTL_S: Final = 600
"""The TTL of the job: if this command cannot delete it, the operator does so after this time."""

_POLL_S: Final = 1.0

Object = dict[str, Any]


class SmokeError(OperatorError):
    """A step of the smoke test failed. The message names the step, and says where to look."""


@dataclass(frozen=True, slots=True)
class SmokeJob:
    """The job to run.

    Attributes:
        namespace: its namespace.
        image: the image of its pod; it must have the command `trainingjob`.
        pod_spec: further fields of the pod, like `nodeSelector`.
        patience_s: timeout for each step, in seconds.
        reads_record: whether to read the record from the endpoint once it is stored.
    """

    namespace: str
    image: str
    pod_spec: Object
    patience_s: float
    reads_record: bool

    def manifest(self) -> Object:
        """Return a job of one pod that meets the Pod Security Standard `restricted`."""
        container = {
            "name": MAIN_CONTAINER,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["version"],
            "resources": {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"memory": "256Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        pod: Object = {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        }
        return {
            "apiVersion": API_VERSION,
            "kind": KIND_TRAINING_JOB,
            "metadata": {
                "name": f"smoke-{secrets.token_hex(4)}",
                "namespace": self.namespace,
            },
            "spec": {
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": TTL_S,
                "template": {"spec": pod | self.pod_spec},
            },
        }


def smoke_job_from(
    *, namespace: str, image: str, pod_spec: str, timeout: str, read_record: bool
) -> SmokeJob:
    """Build the job from the options of the command.

    Raises:
        SettingsError: one of them is invalid.
    """
    try:
        spec = json.loads(pod_spec)
    except ValueError as error:
        raise SettingsError(f"--pod-spec is not JSON: {error}") from error
    if not isinstance(spec, dict) or {"containers", "restartPolicy"} & spec.keys():
        raise SettingsError(
            "--pod-spec must be an object with fields of a pod's spec, without containers and "
            "restartPolicy"
        )
    try:
        patience_s = parse_duration(timeout)
    except ValueError as error:
        raise SettingsError(f"--timeout: {error}") from error
    if not isinstance(patience_s, float) or patience_s < 1:
        raise SettingsError("--timeout: must be at least one second, like 90s or 2m")
    return SmokeJob(
        namespace=namespace,
        image=image,
        pod_spec=spec,
        patience_s=patience_s,
        reads_record=read_record,
    )


async def smoke(
    settings: Settings, smoke_job: SmokeJob, *, kubeconfig: str | None, context: str | None
) -> bool:
    """Submit a job, wait for its end and its record, and delete it; print each step.

    Args:
        settings: the operator's, with the endpoint of the records, if there is one.
        smoke_job: the job.
        kubeconfig: path of the kubeconfig; None: as kubectl.
        context: its context.

    Returns:
        True if all steps worked; else the error was printed to stderr.

    Raises:
        SettingsError: no API server is configured, or the certificates cannot be read.
    """
    connection = await connect(kubeconfig, context)
    reads = bool(settings.persist.url) and smoke_job.reads_record
    writer = writer_from(settings.persist) if reads else None
    try:
        async with JobSubmissionGateway(
            connection, timeout_s=settings.kubernetes.timeout
        ) as gateway:
            await _Smoke(gateway, writer, smoke_job, owes=bool(settings.persist.url)).run()
    except (SmokeError, KubernetesError) as error:
        _say(str(error))
        return False
    finally:
        if writer is not None:
            await writer.close()
    _say("it works")
    return True


class _Smoke:
    """The steps of the test."""

    def __init__(
        self,
        gateway: JobSubmissionGateway,
        writer: RecordWriter | None,
        smoke_job: SmokeJob,
        *,
        owes: bool,
        clock: Clock | None = None,
    ) -> None:
        self._gateway: Final = gateway
        self._writer: Final = writer
        self._smoke_job: Final = smoke_job
        self._owes: Final = owes
        self._clock: Final = clock or SystemClock()

    async def run(self) -> None:
        """Run all steps; delete the job in any case.

        Raises:
            SmokeError: one step failed.
            KubernetesError: the API server refused, or did not answer.
        """
        created = await self._submit()
        try:
            await self._wait_for_end(created)
            await self._wait_for_record(created)
        except BaseException:
            await self._delete_after_failure(created)
            raise
        await self._gateway.delete_job(created)
        await self._wait_until_gone(created)

    async def _submit(self) -> Object:
        try:
            created = await self._gateway.create_job(self._smoke_job.manifest())
        except NotServedError as error:
            raise SmokeError(
                f"TrainingJobs are not served here ({error}): are the CRDs installed, and is there "
                f"a namespace {self._smoke_job.namespace}?"
            ) from error
        except ForbiddenError as error:
            raise SmokeError(
                f"the job was refused: {error}. Either this account may not create TrainingJobs in "
                f"{self._smoke_job.namespace}, or an admission policy denies it"
            ) from error
        _say(f"submitted {_name(created)}")
        return created

    async def _wait_for_end(self, created: Object) -> None:
        def look(job: Object | None) -> str:
            """Return the reason to go on waiting; "": the job has succeeded."""
            status = _status(job, created)
            phase = status.phase
            if phase == "Succeeded":
                return ""
            if phase in {"Failed", "Cancelled"}:
                raise SmokeError(f"{_name(created)} has ended as {phase}: {_why(status, phase)}")
            if not phase:
                return (
                    "no operator has processed it: is one ready, and does it serve the namespace "
                    f"{self._smoke_job.namespace}?"
                )
            return f"it is {phase}: {_why(status, CONDITION_PODS_READY) or 'no reason is given'}"

        await self._poll_until("finish", look, created)
        _say(f"{_name(created)} has succeeded")

    async def _wait_for_record(self, created: Object) -> None:
        if not self._owes:
            _say("no endpoint for records is set: skipping the check of the record")
            return

        def look(job: Object | None) -> str:
            status = _status(job, created)
            state = status.record_state
            if state == RecordState.REJECTED:
                raise SmokeError(
                    f"the record of {_name(created)} was rejected: {_why(status, CONDITION_PERSISTED)}"
                )
            if state == RecordState.STORED:
                return ""
            why = _why(status, CONDITION_PERSISTED) or "the operator's log and metrics say why"
            return f"its record is {state or 'not owed'}: {why}"

        await self._poll_until("have its record stored", look, created)
        if self._writer is not None:
            try:
                await self._writer.read(created["metadata"]["uid"])
            except RecordError as error:
                raise SmokeError(
                    f"the operator reports the record of {_name(created)} as stored, but it "
                    f"cannot be read from the endpoint: {error}"
                ) from error
        _say("its record is stored" + (", and was read" if self._writer is not None else ""))

    async def _wait_until_gone(self, created: Object) -> None:
        def look(job: Object | None) -> str:
            if job is None or job["metadata"]["uid"] != created["metadata"]["uid"]:
                return ""
            held = ", ".join(job["metadata"].get("finalizers") or ()) or "nothing"
            return f"its finalizers are {held}: is the operator still running?"

        await self._poll_until("disappear after its deletion", look, created)
        _say(f"{_name(created)} is deleted")

    async def _poll_until(
        self, what: str, look: Callable[[Object | None], str], created: Object
    ) -> None:
        """Poll the job until `look` returns "".

        Raises:
            SmokeError: the timeout of the step is over.
        """
        metadata = created["metadata"]
        key = JobKey(metadata["namespace"], metadata["name"])
        until = self._clock.monotonic() + self._smoke_job.patience_s
        while waits_for := look(await _read_job(lambda: self._gateway.get_job(key))):
            if self._clock.monotonic() > until:
                raise SmokeError(
                    f"{_name(created)} did not {what} within {self._smoke_job.patience_s:g} s; "
                    f"{waits_for}"
                )
            await asyncio.sleep(_POLL_S)

    async def _delete_after_failure(self, created: Object) -> None:
        try:
            await self._gateway.delete_job(created)
        except KubernetesError as error:
            _say(
                f"{_name(created)} could not be deleted ({error}): the operator deletes it "
                f"{TTL_S:g} s after its end"
            )


async def _read_job(ask: Callable[[], Awaitable[Object | None]]) -> Object | None:
    """Read the job; retry once after a transient error, which does not fail the test."""
    try:
        return await ask()
    except KubernetesError as error:
        if error.permanent:
            raise
        await asyncio.sleep(_POLL_S)
        return await ask()


def _status(job: Object | None, created: Object) -> JobStatus:
    if job is None:
        raise SmokeError(f"{_name(created)} has been deleted by somebody else")
    return status_view(as_dict(job.get("status")))


def _why(status: JobStatus, kind: str) -> str:
    """Return reason and message of a condition; "": there is no such condition."""
    found = status.condition(kind)
    if found is None:
        return ""
    return f"{found.reason}: {found.message}" if found.message else found.reason


def _name(created: Object) -> str:
    return f"trainingjob {created['metadata']['namespace']}/{created['metadata']['name']}"


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob smoke: {line}\n")
    sys.stderr.flush()
