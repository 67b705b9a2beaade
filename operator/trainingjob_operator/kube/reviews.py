"""The question who a caller is and what it may read, which the API server answers."""

from typing import Final

from trainingjob_api.errors import KubernetesError
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.kube.cluster import Object
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.response_bodies import require_created

_TOKENS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_TIMEOUT_S: Final = 5.0
"""Deadline of a call: whoever scrapes waits ten seconds."""


class ReviewGateway(Gateway):
    """The reviews, on connections of their own: they never queue behind other calls.

    Nothing is stored by them, so a standby makes them, too.
    """

    def __init__(self, connection: Connection) -> None:
        """Prepare the calls; nothing is sent yet."""
        super().__init__(
            connection, timeout_s=_TIMEOUT_S, user_agent="trainingjob-operator/metrics"
        )

    async def may_get(self, token: str, path: str) -> bool | None:
        """Return True if the owner of this token may get a path that is no resource.

        None: it is nobody's token.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        spec: Object = {"token": token}
        status = await self._review("authentication.k8s.io/v1", "TokenReview", _TOKENS, spec)
        if status.get("authenticated") is not True:
            return None
        user = as_dict(status.get("user"))
        spec = {
            "user": user.get("username", ""),
            "uid": user.get("uid", ""),
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
            "nonResourceAttributes": {"path": path, "verb": "get"},
        }
        status = await self._review(
            "authorization.k8s.io/v1", "SubjectAccessReview", _ACCESS, spec
        )
        return status.get("allowed") is True and status.get("denied") is not True

    async def _review(self, version: str, kind: str, path: str, spec: Object) -> Object:
        body: Object = {"apiVersion": version, "kind": kind, "metadata": {}, "spec": spec}
        try:
            return as_dict(
                require_created(await self._call("POST", path, body=body), path)["status"]
            )
        except KeyError as error:
            raise KubernetesError(f"POST {path}: the answer has no status") from error
