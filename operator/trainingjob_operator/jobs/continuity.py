"""Noticing what no watch reports: our definitions go or come back, or the cluster's past is restored.

A cluster that is restored from a backup goes back to an older resourceVersion. Everything that is
remembered is newer than what there is then, and would be kept for ever; the watches wait for
versions that are far ahead. When the definitions are deleted, kopf stops watching policies for good,
and there is nothing left to watch of jobs.

In both cases the operator begins anew, as a restart would: from complete lists, once the
definitions are served. A restart loses nothing that matters, so this does not either.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from trainingjob_api.errors import KubernetesError
from trainingjob_operator.core.job import is_newer
from trainingjob_operator.kube.cluster import Cluster, ServedState

LOOK_S: Final = 2.0
_ABSENT_LOOK_S: Final = 0.5
_MUTE_S: Final = 30.0

_logger = logging.getLogger(__name__)


class Continuity:
    """Looks every `LOOK_S` seconds, with two small requests. Remembers one version.

    Attributes:
        missing: what keeps jobs from being served; None: nothing that is known.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str | None,
        newest_version: Callable[[], str],
        compare: Callable[[], object],
        begin_anew: Callable[[str], object],
        is_watching: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            cluster: where to ask.
            namespace: where jobs may be listed; None stands for everywhere.
            newest_version: the highest resourceVersion of a job that was seen.
            compare: asks for a comparison with complete lists, soon.
            begin_anew: takes the reason for which the operator has to begin anew.
            is_watching: True if kopf has asked for policies at all.
            monotonic: seconds.
        """
        self.missing: str | None = None
        self._cluster: Final = cluster
        self._namespace: Final = namespace
        self._newest_version: Final = newest_version
        self._compare: Final = compare
        self._begin_anew: Final = begin_anew
        self._is_watching: Final = is_watching
        self._monotonic: Final = monotonic
        self._version = ""

    async def until_served(self) -> None:
        """Wait while there can be no jobs, as far as that can be asked.

        Where there can be some they have to be released, even if not everything is served.
        """
        while (standing := await self._ask()) is ServedState.ABSENT:
            if self.missing is None:
                _logger.warning("%s", _words(standing))
            self.missing = _words(standing)
            await asyncio.sleep(_ABSENT_LOOK_S)
        if self.missing is not None:
            _logger.info("the CustomResourceDefinitions are served now")
        self.missing = None

    async def watch_cluster(self) -> None:
        """Look again and again, until cancelled."""
        begun = self._monotonic()
        while True:
            await self.look()
            mute = not self._is_watching() and self._monotonic() - begun > _MUTE_S
            if mute and self.missing is None:
                # It looked for our kinds at another API server, or a moment too early.
                self._begin_anew("kopf does not watch RetentionPolicies, which are served")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Look once."""
        standing = await self._ask()
        if standing is ServedState.SERVED:
            if self.missing is not None:
                self._begin_anew("the CustomResourceDefinitions are served again")
            await self._compare_versions()
        elif standing is ServedState.PARTLY:
            if self.missing is None:
                _logger.warning("%s", _words(standing))
            self.missing = _words(standing)
            self._compare()  # no watch is relied on; jobs still have to be released
        elif standing is ServedState.ABSENT:
            self.missing = _words(standing)
            self._begin_anew(self.missing)

    async def _ask(self) -> ServedState | None:
        """Return what is served; None: that is not known, and nothing is concluded from it."""
        try:
            return await self._cluster.served_state()
        except KubernetesError as error:
            _logger.debug("cannot ask which kinds are served: %s", error)
            return None

    async def _compare_versions(self) -> None:
        seen, newest = self._version, self._newest_version()
        if seen.isdigit() and newest.isdigit() and is_newer(newest, seen):
            seen = newest
        try:
            now = await self._cluster.jobs_version(self._namespace)
        except KubernetesError as error:
            _logger.debug("cannot ask for the current version: %s", error)
            return
        if not now:
            return
        self._version = now
        if seen.isdigit() and now.isdigit() and is_newer(seen, now):
            self._begin_anew(
                f"the API server has gone back from version {seen} to {now}, as after the restore "
                "of a backup"
            )


def _words(standing: ServedState | None) -> str:
    if standing is ServedState.PARTLY:
        return (
            "a CustomResourceDefinition is being deleted or is not there; jobs that are deleted are "
            "let go; apply manifests/crds for others to run"
        )
    return "the CustomResourceDefinition of TrainingJobs is not there; apply manifests/crds"
