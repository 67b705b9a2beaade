"""`/api/jobs`: a page of the job list, with counts and the position from which a socket continues."""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.access.caller import Caller
from trainingjob_console.api.requests import (
    int_parameter,
    json_response,
    reject_unknown_parameters,
)
from trainingjob_console.clock import utc_now
from trainingjob_console.components import Components, Feature
from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.filters import Filter, read_filter
from trainingjob_console.jobs.history import HistoryPage
from trainingjob_console.jobs.listing import MAX_NAMESPACES, MAX_PAGE, SORTS, Cursor, live_page

_DEFAULT_SORT: Final = "-created"
_PARAMETERS: Final = frozenset(
    {"namespace", "phase", "label", "since", "until", "text", "sort", "limit", "cursor"}
)


class JobsApi:
    """Serves the list of jobs."""

    def __init__(self, components: Components) -> None:
        self._components: Final = components

    def feature(self) -> Feature:
        """Return the routes."""
        return Feature(routes=[Route("/api/jobs", self.list, methods=["GET"])])

    async def list(self, request: Request) -> Response:
        """Return a page: live jobs first, then deleted ones from the history, each job once."""
        reject_unknown_parameters(request, _PARAMETERS)
        wanted = filter_of(request)
        limit = int_parameter(request, "limit", default=100, least=1, most=MAX_PAGE)
        cursor = _cursor_of(request)
        components = self._components
        caller = await components.access.authenticate(request)
        visible = await components.access.visible(caller, wanted.namespace)
        position = components.index.position
        work = live_page(
            components.index.jobs(),
            wanted,
            visible,
            sort=cursor.sort,
            now=cursor.now,
            after=cursor.after,
            limit=limit,
            live_done=cursor.live_done,
        )
        page = await components.scheduler.execute(caller.user, work)
        items, namespaces = [job.row() for job in page.jobs], set(page.namespaces)
        following = cursor.after_live_job(page.after) if page.after is not None else None
        message = ""
        may_have_history = not wanted.namespace or visible(wanted.namespace)
        if following is None and components.history.is_there and may_have_history:
            past, following = await self._history_page(caller, wanted, cursor, limit - len(items))
            items += past.rows
            namespaces |= {row["namespace"] for row in past.rows}
            message = past.message
        return json_response(
            {
                "items": items,
                "total": page.total,
                "totalIsPartial": components.history.is_there,
                "counts": page.counts,
                "namespaces": sorted(namespaces)[:MAX_NAMESPACES],
                "next": following.encode() if following is not None else None,
                "position": position,
                "live": {"complete": components.index.is_complete},
                "history": {
                    "available": components.history.is_there and not message,
                    "message": message or None,
                },
            }
        )

    async def _history_page(
        self, caller: Caller, wanted: Filter, cursor: Cursor, limit: int
    ) -> tuple[HistoryPage, Cursor | None]:
        """Return at most `limit` rows of the history, and the cursor of the next page."""
        if not limit:
            return HistoryPage([]), cursor.in_history("")
        index = self._components.index
        past = await self._components.history.page(
            wanted,
            partial(self._components.access.filter_listable, caller),
            lambda uid: index.get(uid) is not None,
            user=caller.user,
            limit=limit,
            cursor=cursor.history,
        )
        return past, cursor.in_history(past.next) if past.next else None


def filter_of(request: Request) -> Filter:
    """Parse the filter of a query.

    Raises:
        BadRequestError: a parameter is invalid.
    """
    query = request.query_params
    return read_filter(
        namespace=query.get("namespace", ""),
        phase=query.get("phase", ""),
        labels=query.getlist("label"),
        since=query.get("since", ""),
        until=query.get("until", ""),
        text=query.get("text", ""),
    )


def _cursor_of(request: Request) -> Cursor:
    query = request.query_params
    sort = query.get("sort") or _DEFAULT_SORT
    if sort not in SORTS:
        raise BadRequestError(f"sort: must be one of {', '.join(SORTS)}")
    if not (text := query.get("cursor")):
        return Cursor(sort, int(utc_now().timestamp()), None)
    cursor = Cursor.decode(text)
    if cursor.sort != sort:
        raise BadRequestError("cursor: belongs to another sort order")
    return cursor
