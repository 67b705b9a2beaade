"""What kopf gets when it lists jobs: the version to watch from, and no objects.

kopf lists before it watches, in pages of a number of objects, decoded at once: 250 jobs of a
megabyte each are more than a gigabyte. No handler needs them. The index is compared with lists of
our own, in pages of bounded weight, which kopf's is not.

At a start that has been done before kopf lists. Its first watches are therefore opened at the
versions of those lists: what has happened since comes as events, so that nothing is missed and
nothing has to be listed again. Every later watch behind a list begins at that list, and is followed
by another comparison (`relists`).

kopf's requests go through a session of ours, and both halves of this are aiohttp's public means: a
middleware that changes the request, and a class of responses that changes what is decoded.
"""

from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from trainingjob_api.constants import PLURAL_TRAINING_JOBS
from trainingjob_operator.core.job import is_newer

JOBS: Final = f"/{PLURAL_TRAINING_JOBS}"


class ComparedLists:
    """The versions of the lists that the index was filled from, for the first watch of each.

    Bound: one version for each namespace that kopf watches, or one in all.
    """

    def __init__(self, listed_version: Callable[[str | None], str] = lambda namespace: "") -> None:
        """Prepare.

        Args:
            listed_version: returns the version of the last complete list of a namespace's jobs, or
                of all (None), that the index was compared with; "" if there was none.
        """
        self._listed_version: Final = listed_version
        self._given: Final[dict[str | None, str]] = {}

    def take(self, path: str, now: str) -> str:
        """Return the version from which to watch: of a list that was compared, or this one.

        Each is good for one watch: if it turns out to be too old, the next one begins at a list.

        Args:
            path: of the request that lists.
            now: the version at which the server is. One that is behind was restored from a backup.
        """
        namespace = _namespace_of(path)
        version = self._listed_version(namespace)
        # "0" stands for any version.
        if namespace in self._given or not version.strip("0") or is_newer(version, now):
            return now
        self._given[namespace] = version
        return version

    def is_followed_by(self, path: str, version: str) -> bool:
        """True if a watch at this path, from this version on, misses nothing since such a list."""
        return self._given.get(_namespace_of(path)) == version


def _namespace_of(path: str) -> str | None:
    *_, before, namespace, _ = ("", "", *path.split("/"))
    return namespace if before == "namespaces" else None


def _is_list(method: str, url: URL) -> bool:
    return method == "GET" and url.path.endswith(JOBS) and "watch" not in url.query


async def ask_for_one(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Ask for a page of one object: no list can be had without any."""
    if _is_list(request.method, request.url):
        request.url = request.url.update_query(limit="1")
    return await handler(request)


def version_only(compared: ComparedLists) -> type[aiohttp.ClientResponse]:
    """Return a class of answers that decode to an empty list, complete, if they list jobs.

    Args:
        compared: the lists at which the first watches are opened.
    """

    class VersionOnly(aiohttp.ClientResponse):
        async def json(self, **options: Any) -> Any:
            """Decode the body, without the objects of such a list and without its next page."""
            document = await super().json(**options)
            if self.ok and _is_list(self.method, self.url) and isinstance(document, dict):
                now = str((document.get("metadata") or {}).get("resourceVersion") or "")
                version = compared.take(self.url.path, now)
                return document | {"items": [], "metadata": {"resourceVersion": version}}
            return document

    return VersionOnly
