"""Reads the identity of this install: the uid of the operator's own namespace."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from trainingjob_api.constants import REASON_IDENTITY_UNKNOWN
from trainingjob_api.errors import KubernetesError, VolumeError
from trainingjob_operator.core.untyped_json import as_dict, as_str
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.volume.identity import Identity

_RETRY_S: Final = 5.0
_INTERVAL_S: Final = 300.0
_logger = logging.getLogger(__name__)


class IdentityReader:
    """Reads the identity at the start, until that succeeds, and again before each sweep."""

    def __init__(self, cluster: Cluster, identity: Identity, namespace: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            cluster: the client that reads the namespace.
            identity: stores the uid.
            namespace: the name of the operator's own namespace.
        """
        self._cluster: Final = cluster
        self._identity: Final = identity
        self._namespace: Final = namespace

    async def read(self) -> None:
        """Read the uid again: the namespace can be recreated while this process runs.

        Raises:
            VolumeError: the uid cannot be read, so the owner of a volume cannot be checked.
        """
        try:
            raw = await self._cluster.get_namespace(self._namespace)
        except KubernetesError as error:
            why = self._explain(str(error))
            self._identity.set_read_error(why)
            raise VolumeError(why, reason=REASON_IDENTITY_UNKNOWN) from error
        uid = as_str(as_dict((raw or {}).get("metadata")).get("uid"))
        if not uid:
            why = self._explain("there is no such namespace")
            self._identity.forget(why)
            raise VolumeError(why, reason=REASON_IDENTITY_UNKNOWN)
        self._identity.set_uid(uid)

    async def keep_reading(self, on_known: Callable[[], Awaitable[object]]) -> None:
        """Read the uid every few minutes, or every few seconds while unknown, until cancelled.

        Args:
            on_known: called when an unknown identity becomes known.
        """
        said = ""
        while True:
            why = self._identity.why_unknown
            if why and why != said:
                _logger.warning("the log volume is not used for now: %s", why)
                said = why
            await asyncio.sleep(_RETRY_S if why else _INTERVAL_S)
            try:
                await self.read()
            except VolumeError:
                continue
            if why:
                said = ""
                await on_known()

    def _explain(self, fault: str) -> str:
        return (
            f"the uid of namespace {self._namespace}, which identifies this operator's log "
            f"volume, cannot be read ({fault}): no volume is claimed, no log is written and "
            "nothing is removed; the operator's service account needs `get` on this namespace (the "
            "chart grants it), and TRAININGJOB_OPERATOR_NAMESPACE must name it if the operator "
            "does not run in it"
        )
