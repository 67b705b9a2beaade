"""Lists in pages of bounded weight: of each page what is used is kept before the next one is asked for."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from trainingjob_console.errors import AnswerTooLargeError, ApiServerError
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.response_reader import PAGE_WEIGHT, Object

T = TypeVar("T")

MAX_PAGE: Final = 250
"""Objects that are asked for at once at most."""

_FIRST: Final = 125
_LESS: Final = 4
_MORE: Final = 4


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """A page, by what was made of each of its objects.

    Attributes:
        items: in the order of the list.
        version: of the list, from which on its changes can be followed.
        following: the place of the next page; empty: this ends the list.
    """

    items: list[T]
    version: str
    following: str

    @property
    def last(self) -> bool:
        """Return True if this ends the list."""
        return not self.following


async def pages(
    kube: Kube,
    path: str,
    make: Callable[[Object], T],
    *,
    token: str | None,
    query: Mapping[str, str] | None = None,
) -> AsyncGenerator[ListPage[T]]:
    """Yield a list in pages: of fewer objects where they are large, and of one if need be.

    Args:
        kube: the API server.
        path: of the collection.
        make: makes of an object what is kept of it; it may be called in a thread.
        token: the user's; None: the console's own account.
        query: selectors.

    Raises:
        ApiServerError: it was refused, or a page was not answered.
        BusyError: too many large answers are being read.
    """
    size, place = _FIRST, ""
    while True:
        asked = {**(query or {}), "limit": str(size)} | ({"continue": place} if place else {})
        most = PAGE_WEIGHT if size > 1 else None
        try:
            page, weight = await kube.read(
                path, lambda answer: _page(answer, make), token=token, query=asked, most=most
            )
        except AnswerTooLargeError:
            if size == 1:
                raise
            size = max(size // _LESS, 1)
            continue
        if page.items:
            fitting = max(PAGE_WEIGHT * 3 // 4 * len(page.items) // max(weight, 1), 1)
            size = min(fitting, _MORE * size, MAX_PAGE)
        yield page
        place = page.following
        if not place:
            return


def _page(answer: Object, make: Callable[[Object], T]) -> ListPage[T]:
    """Read a page. Of what is no list it is not known what it leaves out."""
    if "items" not in answer:
        raise ApiServerError("the API server does not answer with a list")
    metadata = answer.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return ListPage(
        items=[make(item) for item in answer["items"] or () if isinstance(item, dict)],
        version=str(metadata.get("resourceVersion") or ""),
        following=str(metadata.get("continue") or ""),
    )
