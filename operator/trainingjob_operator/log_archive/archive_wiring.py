"""The archive of logs, wired as the settings ask for it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from trainingjob_api.errors import KubernetesError, VolumeError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.rawread import as_dict, as_str
from trainingjob_operator.log_archive.archiver import Archiver
from trainingjob_operator.log_archive.log_store import LogStore
from trainingjob_operator.log_archive.ports import LogSource
from trainingjob_operator.log_archive.threads import FileThreads
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.identity import Identity

THREADS: Final = 16
"""Calls on the volume at once: two for each log that is archived."""

CLAIM_AGAIN_S: Final = 20.0
"""How long to wait before a volume that could not be used is looked at again, in seconds. With the
half minute for which the archiver leaves it alone, what was mended is noticed within a minute."""

_logger = logging.getLogger(__name__)


class Cluster(LogSource, Protocol):
    """What is needed of the gateway."""

    async def get_policy(self, namespace: str) -> dict[str, Any] | None:
        """Read the RetentionPolicy of a namespace."""
        ...


class LogArchiving:
    """The archiver, the volume that it writes to, and the threads in which it does.

    Attributes:
        archiver: what the reconciler speaks to.
        threads: where files are read and written.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster,
        clock: Clock,
        policy_namespace: str,
        known_uids: Callable[[], frozenset[str]],
        identity: Identity,
        on_news: Callable[[JobKey], None],
    ) -> None:
        """Build the parts; nothing runs yet.

        Args:
            settings: the volume's root.
            cluster: where logs and the default policy are read.
            clock: the time.
            policy_namespace: where the default policy is, which remembers the volume.
            known_uids: of jobs that exist and are ours.
            identity: who we are, as soon as that is known.
            on_news: called with a key of which there is news for the reconciler.
        """
        self.threads: Final = FileThreads(THREADS)
        self._shelf: Final = LogStore(settings.volume.root, identity.owner, self.threads)
        self._cluster: Final = cluster
        self._policy_namespace: Final = policy_namespace
        self._known_uids: Final = known_uids
        self._said = ""
        self.archiver: Final = Archiver(
            pods=cluster, shelf=self._shelf, clock=clock, on_news=on_news
        )

    async def start(self) -> list[asyncio.Task[Any]]:
        """Look whether the volume is ours, and start; cancel the tasks to stop.

        A volume that is not there, or not ours, is said, and keeps nobody from starting.
        """
        tasks = [asyncio.create_task(self.archiver.run(), name="archiver")]
        if not await self.claim():
            tasks.append(asyncio.create_task(self._keep_claiming(), name="volume-claim"))
        return tasks

    async def claim(self) -> bool:
        """Look whether the volume is ours, or take it if it is nobody's. False: it is not ours."""
        try:
            raw = await self._cluster.get_policy(self._policy_namespace)
            if raw is None:  # it is not known whether a volume is remembered
                self._say(
                    "logs cannot be archived for now: there is no default RetentionPolicy in "
                    f"namespace {self._policy_namespace} yet, which would know the volume"
                )
                return False
            known_id = as_str(as_dict(raw.get("status")).get("volumeId")) or None
            await self._shelf.claim(known_id, self._known_uids())
        except (KubernetesError, VolumeError) as error:
            self._say(f"logs cannot be archived for now: {error}")
            return False
        return True

    async def _keep_claiming(self) -> None:
        """Look again until the volume is ours: its owner may be mended at any time."""
        while True:
            await asyncio.sleep(CLAIM_AGAIN_S)
            if await self.claim():
                _logger.info("the log volume can be used now")
                break
        await asyncio.Event().wait()  # a task that ends is taken for one that has died

    def _say(self, what: str) -> None:
        """Log it once, and again when it is something else."""
        if what != self._said:
            self._said = what
            _logger.warning("%s", what)
