"""The jobs of the past: pages of the record service, and single records."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from trainingjob_console.errors import BusyError
from trainingjob_console.jobs.filters import Filter, Visible
from trainingjob_console.jobs.summary import (
    MAX_TEXT,
    Object,
    as_count,
    as_dict,
    as_dicts,
    as_number,
    as_seconds,
    as_text,
    time_text,
)

_CALL_S: Final = 5.0
_CONNECTIONS: Final = 16
_MAX_ANSWER: Final = 4 * 1024 * 1024
_MAX_TOKEN: Final = 4096
_PAGES: Final = 5
"""Pages that are read of the service for one of ours: of what others may see, or live, nothing is left."""

_NOT_FOUND: Final = 404
_OK: Final = 200
FINAL_PHASES: Final = frozenset({"Succeeded", "Failed", "Cancelled"})


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Rows of the past.

    Attributes:
        rows: the newest first.
        next: where the next page begins; empty: there are no more.
        message: why there are none; empty: the service has answered.
    """

    rows: list[Object]
    next: str = ""
    message: str = ""


class History:
    """Asks the record service, with a deadline and a limit of bytes on each call."""

    def __init__(self, url: str | None, token_file: Path | None) -> None:
        """Prepare to ask.

        Args:
            url: of its list; None: there is none.
            token_file: whose first line is the token, read anew at each call.
        """
        self._url: Final = url
        self._token_file: Final = token_file
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_there(self) -> bool:
        """True if a record service is configured."""
        return self._url is not None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def page(
        self,
        wanted: Filter,
        visible: Visible,
        live: Callable[[str], bool],
        *,
        limit: int,
        place: str,
    ) -> HistoryPage:
        """Return a page; a service that does not answer makes an empty one that says so.

        Args:
            wanted: the filter.
            visible: the namespaces that the user may list.
            live: returns True for the uid of a job that is listed among the live ones.
            limit: rows at most.
            place: the `next` of the page before; empty: the beginning.
        """
        if self._url is None:
            return HistoryPage([], message="no record service is configured")
        if wanted.phase and wanted.phase not in FINAL_PHASES:
            return HistoryPage([])
        rows: list[Object] = []
        try:
            for _ in range(_PAGES):
                answer = await self._get(self._url, _query(wanted, limit - len(rows), place))
                rows += [
                    row_of(item)
                    for item in as_dicts(as_dict(answer).get("items"))
                    if visible(as_text(item.get("namespace")))
                    and not live(as_text(item.get("uid")))
                ]
                place = as_text(as_dict(answer).get("next"), 512)
                if not place or len(rows) >= limit:
                    break
        except BusyError as error:
            return HistoryPage(rows, message=str(error))
        return HistoryPage(rows, place)

    async def record(self, uid: str) -> Object | None:
        """Return the record of a job; None: there is none.

        Raises:
            BusyError: the service does not answer.
        """
        if self._url is None:
            return None
        return await self._get(f"{self._url}/{uid}", [])

    async def _get(self, url: str, query: list[tuple[str, str]]) -> Object | None:
        try:
            async with (
                asyncio.timeout(_CALL_S),
                self._open().get(
                    url, params=query, headers=self._headers(), allow_redirects=False
                ) as response,
            ):
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > _MAX_ANSWER:
                        raise BusyError("the record service's answer is too large")
                if response.status == _NOT_FOUND:
                    return None
                if response.status != _OK:
                    raise BusyError(f"the record service answers {response.status}")
                return as_dict(json.loads(body))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            words = str(error) or "no answer in time"
            raise BusyError(f"the record service cannot be asked: {words[:MAX_TEXT]}") from error

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        with self._token_file.open(encoding="ascii", errors="ignore") as file:
            token = file.readline(_MAX_TOKEN).strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "User-Agent": "trainingjob-console"},
            )
        return self._session


def _query(wanted: Filter, limit: int, place: str) -> list[tuple[str, str]]:
    given = {
        "namespace": wanted.namespace,
        "phase": wanted.phase,
        "since": time_text(wanted.since) or "",
        "until": time_text(wanted.until) or "",
        "text": wanted.text,
        "cursor": place,
        "limit": str(limit),
    }
    found = [(name, value) for name, value in given.items() if value]
    return found + [("label", label) for label in wanted.labels]


def row_of(record: Object) -> Object:
    """Return the row of a record, or of a summary of one: they have the same names."""
    total = as_count(record.get("numNodes"), 1)
    phase = as_text(record.get("phase"), 64)
    done = total if phase == "Succeeded" else 0
    labels = as_dict(record.get("labels"))
    return {
        "uid": as_text(record.get("uid")),
        "namespace": as_text(record.get("namespace")),
        "name": as_text(record.get("name")),
        "source": "history",
        "phase": phase,
        "reason": as_text(record.get("reason"), MAX_TEXT) or None,
        "message": as_text(record.get("message"), MAX_TEXT) or None,
        "ranks": {"ready": 0, "active": 0, "succeeded": done, "failed": 0, "total": total},
        "restarts": as_count(record.get("restarts")),
        "attempt": as_count(record.get("attempt")),
        "created": time_text(as_seconds(record.get("createdAt"))),
        "started": time_text(as_seconds(record.get("startedAt"))),
        "completed": time_text(as_seconds(record.get("completedAt"))),
        "exitCode": as_number(record.get("exitCode")),
        "suspended": False,
        "shutdown": None,
        "waiting": None,
        "record": "Stored",
        "labels": {key: as_text(value) for key, value in labels.items()},
        "resourceVersion": "",
    }
