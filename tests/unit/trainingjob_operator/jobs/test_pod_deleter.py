"""Deleting pods: one that has changed is read again, before any refusal counts."""

from typing import Any, cast

import pytest

from trainingjob_api.errors import ConflictError, ForbiddenError, KubernetesError
from trainingjob_operator.core.decision import DeletePod
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.jobs.pod_deleter import PodDeleter

KEY = JobKey("ml", "mnist")


class Answers:
    """A cluster that answers the deletion of some pods with an error."""

    def __init__(self, **errors: KubernetesError) -> None:
        self.errors, self.deleted = errors, list[str]()

    async def delete_pod(self, namespace: str, name: str, **options: Any) -> None:
        if name in self.errors:
            raise self.errors[name]
        self.deleted.append(name)


def victim(name: str, *, version: str | None = "7") -> DeletePod:
    return DeletePod(name=name, uid=f"uid-{name}", version=version)


async def delete(cluster: Answers, *victims: DeletePod) -> None:
    await PodDeleter(cast(Any, cluster), JobIndex(3)).delete(KEY, victims)


async def test_one_that_has_changed_since_it_was_seen_is_named_and_the_others_go() -> None:
    cluster = Answers(a=ConflictError("the object has been modified"))
    with pytest.raises(ConflictError, match="pod a has changed since it was seen"):
        await delete(cluster, victim("a"), victim("b"))
    assert cluster.deleted == ["b"]


async def test_a_change_comes_before_a_refusal_which_would_park_the_job() -> None:
    cluster = Answers(a=ForbiddenError("no"), b=ConflictError("modified"))
    with pytest.raises(ConflictError):
        await delete(cluster, victim("a"), victim("b"), victim("c"))
    assert cluster.deleted == ["c"]
    with pytest.raises(ForbiddenError):
        await delete(cluster, victim("a"))


async def test_a_new_pod_with_the_name_of_a_deleted_one_stays() -> None:
    cluster = Answers(a=ConflictError("another uid"))
    await delete(cluster, victim("a", version=None))
    assert cluster.deleted == []
