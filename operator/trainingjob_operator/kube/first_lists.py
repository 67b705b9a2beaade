"""What kopf gets when it lists jobs: the version to watch from, and no objects.

kopf lists before it watches, in pages of a number of objects, decoded at once: 250 jobs of a
megabyte each are more than a gigabyte. Nobody needs them. Every watch that is opened behind a list
is followed by a resync (`relists`), which reads the same objects in pages of bounded weight, and
compares them, which kopf does not.

kopf's requests go through a session of ours, and both halves of this are aiohttp's public means: a
middleware that changes the request, and a class of responses that changes what is decoded.
"""

from typing import Any, Final

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from trainingjob_api.constants import PLURAL_TRAINING_JOBS

_JOBS: Final = f"/{PLURAL_TRAINING_JOBS}"


def _is_list(method: str, url: URL) -> bool:
    return method == "GET" and url.path.endswith(_JOBS) and "watch" not in url.query


async def ask_for_one(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Ask for a page of one object: no list can be had without any."""
    if _is_list(request.method, request.url):
        request.url = request.url.update_query(limit="1")
    return await handler(request)


class VersionOnly(aiohttp.ClientResponse):
    """An answer that decodes to an empty list, complete, if it is a list of jobs."""

    async def json(self, **options: Any) -> Any:
        """Decode the body, without the objects of such a list and without its next page."""
        document = await super().json(**options)
        if self.ok and _is_list(self.method, self.url) and isinstance(document, dict):
            version = (document.get("metadata") or {}).get("resourceVersion")
            return document | {"items": [], "metadata": {"resourceVersion": version}}
        return document
