"""Authenticates a token with a TokenReview and authorizes it with a SubjectAccessReview."""

from typing import Final

from trainingjob_api.errors import KubernetesError
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.kube.cluster import Object
from trainingjob_operator.kube.connection import Connection
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.response_reader import require_created

_TOKENS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_TIMEOUT_S: Final = 5.0
"""Deadline of a call: a Prometheus scrape times out after ten seconds."""


class ReviewGateway(Gateway):
    """The reviews, on separate connections: they never queue behind other calls.

    A review stores nothing, so a standby may create reviews, too.
    """

    def __init__(self, connection: Connection) -> None:
        """Prepare the calls; nothing is sent yet."""
        super().__init__(
            connection, timeout_s=_TIMEOUT_S, user_agent="trainingjob-operator/metrics"
        )

    async def may_get(self, token: str, path: str) -> bool | None:
        """Return True if the token's user may `get` a non-resource path; False: it may not.

        None: the token is not valid.

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
            raise KubernetesError(f"POST {path}: the response has no status") from error
