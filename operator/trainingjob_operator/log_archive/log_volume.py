"""Builds the log volume from the settings, and claims it for this install.

Bound: none of its own; the store's threads, the archiver's queue and the sweep have theirs.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from trainingjob_api.errors import KubernetesError, VolumeError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.untyped_json import as_dict, as_str
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.log_archive import protocols
from trainingjob_operator.log_archive.archiver import CONCURRENCY, MAX_WAITING
from trainingjob_operator.log_archive.file_threads import FileThreads
from trainingjob_operator.log_archive.log_store import LogStore
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.identity import Identity
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport
from trainingjob_operator.volume.sweep.sweep import log_sweep_from

THREADS: Final = CONCURRENCY + 16
"""Most threads at once: one for each open archive, and 16 for creating the directories of starting
jobs."""

CLAIM_AGAIN_S: Final = 20.0
"""Seconds between two claims of an unusable volume. Together with the archiver's half minute, a
repaired volume is noticed within a minute."""

_logger = logging.getLogger(__name__)


class Sweep(Protocol):
    """Sweeps the volume; see `volume.sweep`."""

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """Sweep once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogVolume:
    """A log volume, for the archiver and for the sweep.

    Attributes:
        identity: the identity of this install, once it is known.
        store: the archives and job directories.
        sweep: removes old files.
        max_waiting: the most pods whose logs wait to be archived.
    """

    identity: Identity
    store: protocols.LogStore
    sweep: Sweep
    max_waiting: int = MAX_WAITING


def log_volume_from(settings: Settings, clock: Clock) -> LogVolume | None:
    """Return the log volume of the settings; None: there is none. Opens nothing yet."""
    identity = Identity(settings.cluster_name, settings.namespaces)
    sweep = log_sweep_from(settings, clock, identity.owner)
    if sweep is None:
        return None
    store = LogStore(settings.volume.root, identity.owner, FileThreads(THREADS))
    return LogVolume(identity=identity, store=store, sweep=sweep)


class VolumeClaim:
    """Claims the volume for this install before anything is written to it."""

    def __init__(
        self,
        store: protocols.LogStore,
        policies: Cluster,
        *,
        policy_namespace: str,
        known_uids: Callable[[], frozenset[str]],
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            store: claims the volume.
            policies: the API server, from which the default policy is read.
            policy_namespace: namespace of the default policy, whose status has the volume's id.
            known_uids: returns the uids of existing jobs of ours.
        """
        self._store: Final = store
        self._policies: Final = policies
        self._policy_namespace: Final = policy_namespace
        self._known_uids: Final = known_uids
        self._is_claimed = False
        self._last_message = ""

    async def claim(self) -> bool:
        """Claim the volume if it is ours or has no owner. False: that failed, and the reason is logged."""
        self._is_claimed = await self._claim()
        return self._is_claimed

    async def _claim(self) -> bool:
        try:
            raw = await self._policies.get_policy(self._policy_namespace)
            if raw is None:  # the id of the expected volume is unknown
                self._log_once(
                    "logs cannot be archived for now: there is no default RetentionPolicy in "
                    f"namespace {self._policy_namespace} yet, whose status has the volume's id"
                )
                return False
            known_id = as_str(as_dict(raw.get("status")).get("volumeId")) or None
            await self._store.claim(known_id, self._known_uids())
        except (KubernetesError, VolumeError) as error:
            self._log_once(f"logs cannot be archived for now: {error}")
            return False
        return True

    async def keep_claiming(self) -> None:
        """Retry the claim until it succeeds, then wait until cancelled."""
        while not self._is_claimed:
            await asyncio.sleep(CLAIM_AGAIN_S)
            if await self.claim():
                _logger.info("the log volume can be used now")
        await asyncio.Event().wait()  # the liveness probe fails when a task ends

    def _log_once(self, what: str) -> None:
        """Log a message, unless it is the same as the last one."""
        if what != self._last_message:
            self._last_message = what
            _logger.warning("%s", what)
