"""What kopf remembers of objects stays bounded."""

from typing import Any

from trainingjob_operator.handlers.memories import BoundedMemories


def body(kind: str, uid: str) -> Any:
    return {"kind": kind, "metadata": {"uid": uid, "name": "x", "namespace": "ml"}}


async def test_of_jobs_and_pods_nothing_is_kept() -> None:
    memories = BoundedMemories()
    for number in range(100):
        await memories.recall(body("TrainingJob", f"j{number}"), noticed_by_listing=True)
        await memories.recall(body("Pod", f"p{number}"))
    assert len(memories) == 0


async def test_what_a_timer_needs_is_kept_until_its_object_goes() -> None:
    memories = BoundedMemories()
    first = await memories.recall(body("RetentionPolicy", "r"))
    assert await memories.recall(body("RetentionPolicy", "r")) is first
    assert len(memories) == 1
    await memories.forget(body("RetentionPolicy", "r"))
    assert len(memories) == 0
