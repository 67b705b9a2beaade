"""Paginated lists with pages of bounded weight: reduces each page to what is kept before it requests the next."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from trainingjob_console.errors import AnswerTooLargeError, ApiServerError
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.response_reader import PAGE_WEIGHT, Object

T = TypeVar("T")

MAX_PAGE: Final = 250
"""The maximum `limit` of a page."""

_FIRST: Final = 125
_LESS: Final = 4
_MORE: Final = 4


@dataclass(frozen=True, slots=True)
class ListPage(Generic[T]):
    """A page of a list, with its objects converted by `convert`.

    Attributes:
        items: the converted objects, in the order of the list.
        version: the list's `resourceVersion`, from which a watch can start.
        following: the `continue` token of the next page; empty: this is the last page.
    """

    items: list[T]
    version: str
    following: str

    @property
    def last(self) -> bool:
        """Return True if this is the last page."""
        return not self.following


async def pages(
    kube: Kube,
    path: str,
    convert: Callable[[Object], T],
    *,
    token: str | None,
    query: Mapping[str, str] | None = None,
) -> AsyncGenerator[ListPage[T]]:
    """Yield the pages of a list. The larger the objects, the fewer are in a page, down to one.

    Args:
        kube: the API server.
        path: the URL path of the collection.
        convert: converts an object to what is kept of it; it may be called in a thread.
        token: the user's token; None: the console's own account.
        query: the selectors.

    Raises:
        ApiServerError: a request was refused or not answered.
        BusyError: too many large responses are being read.
    """
    size, following = _FIRST, ""
    while True:
        asked = {**(query or {}), "limit": str(size)}
        if following:
            asked["continue"] = following
        max_weight = PAGE_WEIGHT if size > 1 else None
        try:
            page, weight = await kube.read(
                path,
                lambda answer: _page(answer, convert),
                token=token,
                query=asked,
                max_weight=max_weight,
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
        following = page.following
        if not following:
            return


def _page(answer: Object, convert: Callable[[Object], T]) -> ListPage[T]:
    """Convert the response to a page; a response without `items` is an error, not an empty list."""
    if "items" not in answer:
        raise ApiServerError("the API server does not answer with a list")
    metadata = answer.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return ListPage(
        items=[convert(item) for item in answer["items"] or () if isinstance(item, dict)],
        version=str(metadata.get("resourceVersion") or ""),
        following=str(metadata.get("continue") or ""),
    )
