"""`/api/jobs`: a page of jobs, with what is counted and the place from which a socket goes on."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.api.requests import answer, check_names, number
from trainingjob_console.clock import utc_now
from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.filters import Filter, read_filter
from trainingjob_console.jobs.listing import MAX_PAGE, SORTS, Cursor, live_page
from trainingjob_console.parts import Parts, Room

_DEFAULT_SORT: Final = "-created"
_PARAMETERS: Final = frozenset(
    {"namespace", "phase", "label", "since", "until", "text", "sort", "limit", "cursor"}
)


class JobsApi:
    """Answers lists of jobs."""

    def __init__(self, parts: Parts) -> None:
        self._parts: Final = parts

    def room(self) -> Room:
        """Return its routes."""
        return Room(routes=[Route("/api/jobs", self.list, methods=["GET"])])

    async def list(self, request: Request) -> Response:
        """Return a page of live jobs."""
        check_names(request, _PARAMETERS)
        wanted = filter_of(request)
        limit = number(request, "limit", default=100, least=1, most=MAX_PAGE)
        cursor = _cursor_of(request)
        parts = self._parts
        caller = await parts.gate.caller(request)
        visible = await parts.gate.visible(caller, wanted.namespace)
        position = parts.index.position
        page = live_page(
            parts.index.jobs(),
            wanted,
            visible,
            sort=cursor.sort,
            now=cursor.now,
            after=cursor.after,
            limit=limit,
        )
        following = None
        if page.after is not None:
            following = Cursor(cursor.sort, cursor.now, page.after).encode()
        return answer(
            {
                "items": [job.row() for job in page.jobs],
                "total": page.total,
                "totalIsPartial": False,
                "counts": page.counts,
                "namespaces": page.namespaces,
                "next": following,
                "position": position,
                "history": {"available": False, "message": None},
            }
        )


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
