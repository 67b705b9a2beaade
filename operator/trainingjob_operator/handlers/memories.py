"""kopf's own memory of objects, counted.

kopf remembers a kilobyte of every object that it ever saw and has not seen go. It sees only
RetentionPolicies, of which a namespace has one at most, and needs it for their timers.
"""

from kopf._core.reactor.inventory import ResourceMemories


class CountedMemories(ResourceMemories):
    """Handed to `kopf.operator`, which takes one but does not name its class in public."""

    def __len__(self) -> int:
        return len(self._items)
