"""Reads, creates and replaces the Lease of the leader election."""

from typing import Final

from trainingjob_api.constants import ANNOTATION_NAMESPACES
from trainingjob_api.errors import ConflictError
from trainingjob_operator.core.lease import LeaseView
from trainingjob_operator.kube.cluster import Object
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.response_reader import require_created

API_VERSION: Final = "coordination.k8s.io/v1"
_LONGEST_S: Final = 60.0
"""Deadline of a call; the leader election sets a shorter one around it."""


class LeaseGateway(Gateway):
    """The calls for one Lease, on separate connections: they never queue behind other calls."""

    def __init__(
        self, connection: Connection, *, namespace: str, name: str, serves: str | None = None
    ) -> None:
        """Prepare the calls; nothing is sent yet.

        Args:
            connection: the API server and our credentials.
            namespace: the Lease's namespace.
            name: the Lease's name.
            serves: value of the annotation that lists the namespaces its holder serves, see
                `LeaseView`; None: no annotation.
        """
        super().__init__(
            connection, timeout_s=_LONGEST_S, user_agent="trainingjob-operator/leader-election"
        )
        self.namespace: Final = namespace
        self.name: Final = name
        self._serves: Final = serves
        self._path: Final = f"/apis/{API_VERSION}/namespaces/{namespace}/leases"

    async def read_lease(self) -> LeaseView | None:
        """Read the Lease, live; None: it does not exist.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        raw = await self._call("GET", f"{self._path}/{self.name}")
        return LeaseView.of(raw) if raw is not None else None

    async def create_lease(self, spec: Object) -> LeaseView:
        """Create the Lease.

        Raises:
            AlreadyExistsError: another candidate created it first.
            KubernetesError: the API server refused, or did not answer.
        """
        body = self._object({"name": self.name, "namespace": self.namespace}, spec)
        return LeaseView.of(
            require_created(await self._call("POST", self._path, body=body), self._path)
        )

    async def replace_lease(self, seen: LeaseView, spec: Object) -> LeaseView:
        """Update the `spec` of the Lease, if it still has the version that was seen.

        Raises:
            ConflictError: the Lease has another version, or was deleted.
            KubernetesError: the API server refused, or did not answer.
        """
        # Keep what the election does not know: labels, or fields of a later version.
        body = self._object(seen.raw["metadata"], {**(seen.raw.get("spec") or {}), **spec})
        raw = await self._call("PUT", f"{self._path}/{self.name}", body=body)
        if raw is None:
            raise ConflictError(f"the Lease {self.namespace}/{self.name} was deleted")
        return LeaseView.of(raw)

    def _object(self, metadata: Object, spec: Object) -> Object:
        annotations = {
            **(metadata.get("annotations") or {}),
            ANNOTATION_NAMESPACES: self._serves,
        }
        kept = {name: value for name, value in annotations.items() if value is not None}
        metadata = {**metadata, "annotations": kept}
        return {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
