"""What the API server says of itself: whether it serves our kinds, and at which version it is."""

from enum import StrEnum
from typing import Any, Final

from trainingjob_api.constants import (
    API_VERSION,
    PLURAL_RETENTION_POLICIES,
    PLURAL_TRAINING_JOBS,
)
from trainingjob_api.errors import NotServedError
from trainingjob_operator.core.rawread import as_dict, as_str
from trainingjob_operator.kube.gateway import Gateway

_PLURALS: Final = (PLURAL_TRAINING_JOBS, PLURAL_RETENTION_POLICIES)
_NO_NAME: Final = "none"


class Standing(StrEnum):
    """What the API server does with our kinds.

    SERVED: everything. PARTLY: there can be jobs, but a CustomResourceDefinition is being deleted,
    and waits for its objects to go, or that of RetentionPolicies is not there. ABSENT: there can be
    no jobs.
    """

    SERVED = "Served"
    PARTLY = "Partly"
    ABSENT = "Absent"


class StandingGateway(Gateway):
    """Asks for discovery and for the version of a list, which cost the API server next to nothing.

    Every user may read discovery, so this needs no right to read CustomResourceDefinitions, which
    an operator of some namespaces does not have.
    """

    async def standing(self) -> Standing:
        """Return what discovery says of both kinds.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        try:
            document = await self._call("GET", f"/apis/{API_VERSION}") or {}
        except NotServedError:
            return Standing.ABSENT
        verbs: dict[str, Any] = {
            as_str(as_dict(each).get("name")): as_dict(each).get("verbs") or ()
            for each in document.get("resources") or ()
        }
        if PLURAL_TRAINING_JOBS not in verbs:
            return Standing.ABSENT
        # What is being deleted can be listed and deleted, and not created any more.
        is_whole = all("create" in verbs.get(plural, ()) for plural in _PLURALS)
        return Standing.SERVED if is_whole else Standing.PARTLY

    async def current_version(self, namespace: str | None) -> str | None:
        """Return the resourceVersion at which the API server is now.

        The list asks for one name that nobody has, and for no version: the store itself must
        answer that, never the cache of one API server among several.

        Returns:
            None: jobs are not served.

        Raises:
            KubernetesError: the API server refused, or did not answer.
        """
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        path = f"/apis/{API_VERSION}{scope}/{PLURAL_TRAINING_JOBS}"
        query = {"fieldSelector": f"metadata.name={_NO_NAME}", "limit": "1"}
        try:
            document = await self._call("GET", path, query=query) or {}
        except NotServedError:
            return None
        return as_str(as_dict(document.get("metadata")).get("resourceVersion"))
