"""What kopf remembers of objects is counted, and goes with them."""

from typing import Any

from trainingjob_operator.handlers.memories import CountedMemories

POLICY: Any = {"kind": "RetentionPolicy", "metadata": {"uid": "r", "name": "default"}}


async def test_what_a_timer_needs_is_kept_and_counted_until_its_object_goes() -> None:
    memories = CountedMemories()
    first = await memories.recall(POLICY)
    assert await memories.recall(POLICY) is first
    assert len(memories) == 1
    await memories.forget(POLICY)
    assert len(memories) == 0
