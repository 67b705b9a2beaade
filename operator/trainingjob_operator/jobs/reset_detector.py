"""Detects deleted or recreated CRDs and a cluster restored from a backup, and restarts the operator.

No watch reports either. A restored cluster goes back to an older resourceVersion: the index holds
newer objects, which it would keep for ever, and the watches wait for versions that are far ahead.
When a CRD is deleted, kopf stops watching policies for good, and jobs can no longer be watched.

In both cases the operator starts again within its process: from complete lists, once the CRDs are
served. As after a restart of the process, nothing that matters is lost.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from trainingjob_api.errors import KubernetesError
from trainingjob_operator.core.job import is_newer
from trainingjob_operator.kube.cluster import Cluster, ServedState

CHECK_S: Final = 2.0
_ABSENT_CHECK_S: Final = 0.5
_MUTE_S: Final = 30.0

_logger = logging.getLogger(__name__)


class ResetDetector:
    """Checks every `CHECK_S` seconds, with two small requests. Remembers one resourceVersion.

    Attributes:
        missing: the reason why jobs cannot be served; None: no reason is known.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str | None,
        newest_version: Callable[[], str],
        compare: Callable[[], object],
        restart: Callable[[str], object],
        is_watching: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            cluster: the API server.
            namespace: the namespace in which jobs may be listed; None: all namespaces.
            newest_version: returns the highest resourceVersion of a job that was seen.
            compare: requests a resync.
            restart: called with the reason when the operator has to start again.
            is_watching: returns True once kopf has requested policies.
            monotonic: the time in seconds.
        """
        self.missing: str | None = None
        self._cluster: Final = cluster
        self._namespace: Final = namespace
        self._newest_version: Final = newest_version
        self._compare: Final = compare
        self._restart: Final = restart
        self._is_watching: Final = is_watching
        self._monotonic: Final = monotonic
        self._version = ""

    async def until_served(self) -> None:
        """Wait while the API server says that the CRD of TrainingJobs does not exist.

        If jobs can exist, the operator starts although other CRDs are missing: finalizers of
        deleted jobs must be released.
        """
        while (served := await self._ask()) is ServedState.ABSENT:
            if self.missing is None:
                _logger.warning("%s", _message(served))
            self.missing = _message(served)
            await asyncio.sleep(_ABSENT_CHECK_S)
        if self.missing is not None:
            _logger.info("the CustomResourceDefinitions are served now")
        self.missing = None

    async def watch_cluster(self) -> None:
        """Check periodically, until cancelled."""
        begun = self._monotonic()
        while True:
            await self.check()
            mute = not self._is_watching() and self._monotonic() - begun > _MUTE_S
            if mute and self.missing is None:
                # kopf discovered the kinds from another API server, or a moment too early.
                self._restart("kopf does not watch RetentionPolicies, which are served")
            await asyncio.sleep(CHECK_S)

    async def check(self) -> None:
        """Check once."""
        served = await self._ask()
        if served is ServedState.SERVED:
            if self.missing is not None:
                self._restart("the CustomResourceDefinitions are served again")
            await self._compare_versions()
        elif served is ServedState.PARTLY:
            if self.missing is None:
                _logger.warning("%s", _message(served))
            self.missing = _message(served)
            self._compare()  # watches are unreliable now, and finalizers must still be released
        elif served is ServedState.ABSENT:
            self.missing = _message(served)
            self._restart(self.missing)

    async def _ask(self) -> ServedState | None:
        """Return which CRDs are served; None: unknown, and nothing is concluded from that."""
        try:
            return await self._cluster.served_state()
        except KubernetesError as error:
            _logger.debug("cannot find out which kinds are served: %s", error)
            return None

    async def _compare_versions(self) -> None:
        seen, newest = self._version, self._newest_version()
        if seen.isdigit() and newest.isdigit() and is_newer(newest, seen):
            seen = newest
        try:
            now = await self._cluster.jobs_version(self._namespace)
        except KubernetesError as error:
            _logger.debug("cannot read the current resourceVersion: %s", error)
            return
        if not now:
            return
        self._version = now
        if seen.isdigit() and now.isdigit() and is_newer(seen, now):
            self._restart(
                f"the API server has gone back from resourceVersion {seen} to {now}, as it does "
                "when a backup is restored"
            )


def _message(served: ServedState | None) -> str:
    if served is ServedState.PARTLY:
        return (
            "a CustomResourceDefinition is missing or is being deleted; the operator only releases "
            "finalizers of deleted jobs; apply manifests/crds to run jobs again"
        )
    return "the CustomResourceDefinition of TrainingJobs does not exist; apply manifests/crds"
