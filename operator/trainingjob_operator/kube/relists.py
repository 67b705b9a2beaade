"""Noticing when a watch begins anew.

A watch that goes on where it broke misses nothing. One that is opened behind a fresh list (at the
start, or after HTTP 410) does: what vanished before that list is never reported, and kopf compares
nothing. kopf has no hook for that moment, but its requests go through a session of ours.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Final

import aiohttp

from trainingjob_operator.constants import PLURAL_TRAINING_JOBS

_RESOURCES: Final = (f"/{PLURAL_TRAINING_JOBS}", "/pods")


class RelistTrace:
    """Calls `on_relist` whenever a watch of jobs or pods was opened behind a list.

    By then the server delivers every change from that list on, so a list read after the call and
    the watch together leave no gap.
    """

    def __init__(self, on_relist: Callable[[], None]) -> None:
        self._on_relist: Final = on_relist
        self._listed: Final[set[str]] = set()  # one path for each watched namespace and resource
        self.config: Final = aiohttp.TraceConfig()
        self.config.on_request_end.append(self._note)

    async def _note(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        path = request.url.path
        if request.method != "GET" or not path.endswith(_RESOURCES) or not request.response.ok:
            return
        if "watch" not in request.url.query:
            self._listed.add(path)
        elif path in self._listed:
            self._listed.discard(path)
            self._on_relist()
