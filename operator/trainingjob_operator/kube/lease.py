"""The calls for the Lease of the leader election."""

from typing import Final

from trainingjob_api.constants import ANNOTATION_NAMESPACES
from trainingjob_api.errors import ConflictError
from trainingjob_operator.core.lease import LeaseView
from trainingjob_operator.kube.cluster import Object
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.response_bodies import require_created

API_VERSION: Final = "coordination.k8s.io/v1"
_LONGEST_S: Final = 60.0
"""Deadline of a call of its own; the caller sets a shorter one."""


class LeaseGateway(Gateway):
    """The calls for one Lease, on connections of their own: they never queue behind other calls."""

    def __init__(
        self, connection: Connection, *, namespace: str, name: str, serves: str | None = None
    ) -> None:
        """Prepare the calls; nothing is sent yet.

        Args:
            connection: where to and as whom.
            namespace: the Lease's.
            name: its name.
            serves: what its next holder says of itself, see `LeaseView`; None: nothing.
        """
        super().__init__(
            connection, timeout_s=_LONGEST_S, user_agent="trainingjob-operator/leader-election"
        )
        self.namespace: Final = namespace
        self.name: Final = name
        self._serves: Final = serves
        self._path: Final = f"/apis/{API_VERSION}/namespaces/{namespace}/leases"

    async def read_lease(self) -> LeaseView | None:
        """Read the Lease, live; None: there is none.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        raw = await self._call("GET", f"{self._path}/{self.name}")
        return LeaseView.of(raw) if raw is not None else None

    async def create_lease(self, spec: Object) -> LeaseView:
        """Create the Lease.

        Raises:
            AlreadyExistsError: another candidate was faster.
            KubernetesError: the API server refused, or did not answer.
        """
        body = self._object({"name": self.name, "namespace": self.namespace}, spec)
        return LeaseView.of(
            require_created(await self._call("POST", self._path, body=body), self._path)
        )

    async def replace_lease(self, seen: LeaseView, spec: Object) -> LeaseView:
        """Replace the `spec` of the Lease in exactly the version that was seen.

        Raises:
            ConflictError: it has another version, or is gone.
            KubernetesError: the API server refused, or did not answer.
        """
        # What the election does not know, as labels or a field of a later version, stays.
        body = self._object(seen.raw["metadata"], {**(seen.raw.get("spec") or {}), **spec})
        raw = await self._call("PUT", f"{self._path}/{self.name}", body=body)
        if raw is None:
            raise ConflictError(f"the Lease {self.namespace}/{self.name} is gone")
        return LeaseView.of(raw)

    def _object(self, metadata: Object, spec: Object) -> Object:
        annotations = {
            **(metadata.get("annotations") or {}),
            ANNOTATION_NAMESPACES: self._serves,
        }
        kept = {name: value for name, value in annotations.items() if value is not None}
        metadata = {**metadata, "annotations": kept}
        return {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
