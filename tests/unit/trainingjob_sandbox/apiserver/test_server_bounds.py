"""Every structure in the server's memory is bounded."""

import asyncio

import pytest

from tests.unit.trainingjob_sandbox.apiserver.widgets import Cluster, config_map
from trainingjob_sandbox.apiserver import ApiError
from trainingjob_sandbox.apiserver.gc import MAX_DELETED_UIDS
from trainingjob_sandbox.apiserver.paging import MAX_SNAPSHOTS, Snapshots, Token
from trainingjob_sandbox.apiserver.storage import CollectionId, Key
from trainingjob_sandbox.apiserver.watch import Subscription

CONFIG_MAPS = CollectionId("", "configmaps")


def churn(cluster: Cluster, count: int) -> None:
    for number in range(count):
        cluster.store.create("configmaps", config_map(f"cm-{number}"))
        cluster.store.delete("configmaps", f"cm-{number}")


def test_each_collection_keeps_a_bounded_history_and_the_evicted_revision() -> None:
    cluster = Cluster(history=10)
    churn(cluster, 20)

    collection = cluster.storage.collection(CONFIG_MAPS)
    assert len(collection.history) == 10
    assert cluster.storage.oldest_revision(CONFIG_MAPS) == collection.history[0].revision - 1
    assert [event.revision for event in collection.since(collection.evicted_revision)] == [
        event.revision for event in collection.history
    ]


def test_compaction_clears_the_history(cluster: Cluster) -> None:
    churn(cluster, 3)

    cluster.storage.compact()

    assert cluster.storage.oldest_revision(CONFIG_MAPS) == cluster.storage.revision
    assert not cluster.storage.collection(CONFIG_MAPS).history


def test_the_collector_keeps_a_bounded_number_of_deleted_uids(cluster: Cluster) -> None:
    gone = cluster.controllers.gc._deleted_uids
    gone.update(dict.fromkeys((f"uid-{number}" for number in range(MAX_DELETED_UIDS)), None))

    churn(cluster, 2)

    assert len(gone) == MAX_DELETED_UIDS


async def test_a_watcher_that_does_not_read_is_disconnected(cluster: Cluster) -> None:
    subscription = Subscription(cluster.storage.collection(CONFIG_MAPS), limit=5)

    churn(cluster, 3)

    assert subscription.ended
    assert await asyncio.wait_for(subscription.take(5), 1) == []
    subscription.close()
    assert not cluster.storage.collection(CONFIG_MAPS).subscribers


def test_pages_expire_with_the_least_recently_used_list() -> None:
    snapshots = Snapshots()
    for revision in range(MAX_SNAPSHOTS):
        snapshots.take(CONFIG_MAPS, revision, [])
    snapshots.recall(CONFIG_MAPS, 0)
    snapshots.take(CONFIG_MAPS, 1000, [])

    assert len(snapshots) == MAX_SNAPSHOTS
    assert snapshots.recall(CONFIG_MAPS, 0) == []
    with pytest.raises(ApiError) as caught:
        snapshots.recall(CONFIG_MAPS, 1)
    assert (caught.value.code, caught.value.status["reason"]) == (410, "Expired")


def test_a_continue_token_is_decoded_as_it_was_encoded() -> None:
    token = Token(7, Key("default", "a.b-c"))

    assert Token.decode(token.encode()) == token


@pytest.mark.parametrize("text", ["xxx", "e30", "bnVsbA", "W10", "ä"])
def test_a_token_that_is_not_ours_is_a_bad_request(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        Token.decode(text)

    assert caught.value.code == 400
