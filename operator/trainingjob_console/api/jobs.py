"""`/api/jobs`: a page of jobs, with what is counted and the place from which a socket goes on."""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.access.caller import Caller
from trainingjob_console.api.requests import answer, check_names, number
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
    """Answers lists of jobs."""

    def __init__(self, components: Components) -> None:
        self._components: Final = components

    def feature(self) -> Feature:
        """Return its routes."""
        return Feature(routes=[Route("/api/jobs", self.list, methods=["GET"])])

    async def list(self, request: Request) -> Response:
        """Return a page: live jobs first, then those of the past, each job once."""
        check_names(request, _PARAMETERS)
        wanted = filter_of(request)
        limit = number(request, "limit", default=100, least=1, most=MAX_PAGE)
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
            through=cursor.through,
        )
        page = await components.scheduler.execute(caller.user, work)
        items, namespaces = [job.row() for job in page.jobs], set(page.namespaces)
        following = cursor.go_on(page.after) if page.after is not None else None
        message = ""
        may_have_past = not wanted.namespace or visible(wanted.namespace)
        if following is None and components.history.is_there and may_have_past:
            past, following = await self._past(caller, wanted, cursor, limit - len(items))
            items += past.rows
            namespaces |= {row["namespace"] for row in past.rows}
            message = past.message
        return answer(
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

    async def _past(
        self, caller: Caller, wanted: Filter, cursor: Cursor, room: int
    ) -> tuple[HistoryPage, Cursor | None]:
        """Return as much of the history as there is room for, and where the next page begins."""
        if not room:
            return HistoryPage([]), cursor.go_through("")
        index = self._components.index
        past = await self._components.history.page(
            wanted,
            partial(self._components.access.filter_listable, caller),
            lambda uid: index.get(uid) is not None,
            user=caller.user,
            limit=room,
            place=cursor.history,
        )
        return past, cursor.go_through(past.next) if past.next else None


def filter_of(request: Request) -> Filter:
    """Read the filter of a query.

    Raises:
        BadRequestError: a parameter cannot be understood.
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
    if not (word := query.get("cursor")):
        return Cursor(sort, int(utc_now().timestamp()), None)
    cursor = Cursor.decode(word)
    if cursor.sort != sort:
        raise BadRequestError("cursor: is of another order")
    return cursor
