"""Noticing when a watch begins anew.

A watch that goes on where it broke misses nothing, nor does the first one, which begins at a list
that the index was compared with (`first_lists`). One that is opened behind another list (after
HTTP 410) does: what vanished before that list is never reported, and kopf compares nothing. kopf
has no hook for that moment, but its requests go through a session of ours.
"""

from collections.abc import Callable, Collection, Iterable
from types import SimpleNamespace
from typing import Final

import aiohttp

from trainingjob_api.constants import PLURAL_RETENTION_POLICIES
from trainingjob_operator.kube.first_lists import JOBS, ComparedLists

_OURS: Final = (JOBS, f"/{PLURAL_RETENTION_POLICIES}")
_NOT_FOUND: Final = 404


class RelistTrace:
    """Calls `on_relist` whenever a watch of jobs was opened behind a list not yet compared.

    By then the server delivers every change from that list on, so a list read after the call and
    the watch together leave no gap.

    Attributes:
        has_asked: kopf has asked for jobs, and was answered: it knows of the kind.
    """

    def __init__(
        self,
        on_relist: Callable[[], None],
        *,
        compared: ComparedLists,
        namespaces: Collection[str] = (),
        on_missing: Callable[[str], None] = lambda path: None,
    ) -> None:
        """Prepare; `config` goes into the session that kopf uses.

        Args:
            on_relist: called when a watch was opened behind a list.
            compared: the lists behind which nothing is missed.
            namespaces: whose jobs are served; none: all. kopf watches one more, for its policy, and
                what is missed there concerns nobody.
            on_missing: takes the path of a kind of ours that is not served any more. kopf fails
                right after that call, and with it all of its watches.
        """
        self._on_relist: Final = on_relist
        self._compared: Final = compared
        self._served: Final = tuple(f"/namespaces/{each}{JOBS}" for each in namespaces) or (JOBS,)
        self._on_missing: Final = on_missing
        self.has_asked = False
        self._listed: Final[set[str]] = set()  # one path for each watched namespace
        self._watched: Final[set[str]] = set()  # paths as well
        self.config: Final = aiohttp.TraceConfig()
        self.config.on_request_end.append(self._note)

    def have_begun(self, namespaces: Iterable[str | None]) -> bool:
        """True if the jobs of all these namespaces have been watched. None stands for all.

        Until a watch is open behind its list, what is new is not heard of: with many thousands of
        objects in the lists that takes seconds.
        """
        wanted = (
            (f"/namespaces/{namespace}" if namespace is not None else "") + JOBS
            for namespace in namespaces
        )
        return all(any(path.endswith(each) for path in self._watched) for each in wanted)

    async def _note(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestEndParams,
    ) -> None:
        path = request.url.path
        if request.method == "GET" and path.endswith(_OURS):
            self.has_asked = self.has_asked or path.endswith(JOBS)
            if request.response.status == _NOT_FOUND:
                self._on_missing(path)
        if request.method != "GET" or not path.endswith(JOBS) or not request.response.ok:
            return
        if "watch" not in request.url.query:
            self._listed.add(path)
            return
        self._watched.add(path)
        if path in self._listed:
            self._listed.discard(path)
            version = request.url.query.get("resourceVersion", "")
            is_followed = self._compared.is_followed_by(path, version)
            if path.endswith(self._served) and not is_followed:
                self._on_relist()
