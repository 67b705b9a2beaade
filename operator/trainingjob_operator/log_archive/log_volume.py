"""The log volume that the settings name, and the claim to it.

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
"""Threads at once: one for each archive that is open, and 16 for what else is done there, which is
to make the directories of jobs that start."""

CLAIM_AGAIN_S: Final = 20.0
"""Seconds before a volume that could not be used is looked at again. With the
half minute for which the archiver leaves it alone, what was mended is noticed within a minute."""

_logger = logging.getLogger(__name__)


class Sweep(Protocol):
    """One sweep of the volume; see `volume.sweep`."""

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """Sweep once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LogVolume:
    """A log volume, for the archiver and for the sweep.

    Attributes:
        identity: who this install is, as soon as that is known.
        store: where logs are written.
        sweep: removes old files.
        max_waiting: pods whose logs wait to be archived, at most.
    """

    identity: Identity
    store: protocols.LogStore
    sweep: Sweep
    max_waiting: int = MAX_WAITING


def log_volume_from(settings: Settings, clock: Clock) -> LogVolume | None:
    """Return the volume that the settings name; None: there is none. Opens nothing yet."""
    identity = Identity(settings.cluster_name, settings.namespaces)
    sweep = log_sweep_from(settings, clock, identity.owner)
    if sweep is None:
        return None
    store = LogStore(settings.volume.root, identity.owner, FileThreads(THREADS))
    return LogVolume(identity=identity, store=store, sweep=sweep)


class VolumeClaim:
    """Takes a volume for ours before anything is written to it."""

    def __init__(
        self,
        store: protocols.LogStore,
        policies: Cluster,
        *,
        policy_namespace: str,
        known_uids: Callable[[], frozenset[str]],
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            store: claims the volume.
            policies: where the default policy is read.
            policy_namespace: where the default policy is, which remembers the volume.
            known_uids: returns the uids of jobs that exist and are ours.
        """
        self._store: Final = store
        self._policies: Final = policies
        self._policy_namespace: Final = policy_namespace
        self._known_uids: Final = known_uids
        self._is_claimed = False
        self._said = ""

    async def claim(self) -> bool:
        """Claim the volume if it is ours or has no owner. False: it is not ours, which is logged."""
        self._is_claimed = await self._claim()
        return self._is_claimed

    async def _claim(self) -> bool:
        try:
            raw = await self._policies.get_policy(self._policy_namespace)
            if raw is None:  # it is not known whether a volume is remembered
                self._say(
                    "logs cannot be archived for now: there is no default RetentionPolicy in "
                    f"namespace {self._policy_namespace} yet, which would know the volume"
                )
                return False
            known_id = as_str(as_dict(raw.get("status")).get("volumeId")) or None
            await self._store.claim(known_id, self._known_uids())
        except (KubernetesError, VolumeError) as error:
            self._say(f"logs cannot be archived for now: {error}")
            return False
        return True

    async def keep_claiming(self) -> None:
        """Claim again until the volume is ours, until cancelled: it may be mended at any time."""
        while not self._is_claimed:
            await asyncio.sleep(CLAIM_AGAIN_S)
            if await self.claim():
                _logger.info("the log volume can be used now")
        await asyncio.Event().wait()  # a task that ends is reported as one that has died

    def _say(self, what: str) -> None:
        """Log it once, and again when it is something else."""
        if what != self._said:
            self._said = what
            _logger.warning("%s", what)
