"""Backs up and restores the sandbox's API server, as an administrator does with etcd snapshots."""

from collections.abc import Callable

from tests.support.apiserver.api import ApiServerUnderTest
from trainingjob_sandbox.apiserver.server import ApiServer


def back_up(api_server: ApiServerUnderTest) -> Callable[[], None]:
    """Save all objects and the resource version; return a function that restores them.

    The restore ends all watches, as the restart of the API server that goes with it does.
    """
    inside = api_server.inside

    def save(server: ApiServer) -> tuple[int, dict[object, dict[object, object]]]:
        storage = server.store.storage
        return storage.revision, {
            where: dict(each.objects) for where, each in storage.collections.items()
        }

    revision, objects = inside.call(save)

    def put_back(server: ApiServer) -> None:
        storage = server.store.storage
        storage.revision = storage.compacted = revision
        for where, collection in storage.collections.items():
            collection.objects.clear()
            collection.objects.update(objects.get(where, {}))  # type: ignore[arg-type]
            collection.history.clear()
            collection.evicted_revision = 0
            for subscriber in tuple(collection.subscribers):
                subscriber.end()

    return lambda: inside.call(put_back)
