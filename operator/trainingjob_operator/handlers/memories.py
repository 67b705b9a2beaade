"""kopf's own memory of objects, bounded: it keeps nothing of jobs.

kopf remembers a kilobyte of every object that it ever saw and has not seen go: for timers, for
daemons, for handlers that compare. We have none of these on jobs, which come by the thousand, and
whose end a watch can miss for ever. What a timer needs it gets: RetentionPolicies are remembered,
one for each namespace at most.
"""

from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from trainingjob_api.constants import KIND_RETENTION_POLICY


class BoundedMemories(ResourceMemories):
    """Handed to `kopf.operator`, which takes one but does not name its class in public."""

    async def recall(
        self, raw_body: kopf.RawBody, *, ephemeral: bool = False, **options: Any
    ) -> ResourceMemory:
        """The memory of an object: lasting if a timer needs it, else for this event alone."""
        lasting = raw_body.get("kind") == KIND_RETENTION_POLICY
        return await super().recall(raw_body, ephemeral=ephemeral or not lasting, **options)

    def __len__(self) -> int:
        return len(self._items)
