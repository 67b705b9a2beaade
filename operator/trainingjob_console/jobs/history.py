"""The history: client of the record service for pages of records and single records of deleted jobs."""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import aiohttp

from trainingjob_console.concurrency import ConcurrencyLimit
from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.errors import BusyError
from trainingjob_console.jobs.filters import Filter
from trainingjob_console.jobs.history_cursor import HistoryCursor, key_of
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
_WAITING: Final = 48
_MAX_ANSWER: Final = 4 * 1024 * 1024
_MAX_TOKEN: Final = 4096
_FETCHED: Final = 200
"""Records per page of the service after the first; the service's maximum."""

_PAGE_S: Final = 2.0
"""The time after which no further page of the service is read for one page of the console. Records of other
users, other clusters and live jobs are skipped, and there may be any number of them."""

_NOT_FOUND: Final = 404
_OK: Final = 200

Allowed = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Returns those of the given namespaces whose jobs the user may list."""

_logger = logging.getLogger(__name__)
FINAL_PHASES: Final = frozenset({"Succeeded", "Failed", "Cancelled"})


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of the history.

    Attributes:
        rows: the newest first. There may be few or none even if there is a next page.
        next: the cursor of the next page; empty: this is the last one.
        message: the reason why rows are missing; empty: the service has answered.
    """

    rows: list[Object]
    next: str = ""
    message: str = ""


class History:
    """Reads from the record service, with a deadline and a size limit on each call.

    At most 16 calls run at once and 48 wait, a quarter of both per user; further ones are refused.

    Clusters may share a service. The users' rights apply to one cluster only, so records of other
    clusters, and those without a cluster name, are skipped.
    """

    def __init__(self, url: str | None, token_file: Path | None, cluster: str) -> None:
        """Create the client; nothing is opened yet.

        Args:
            url: the URL of the service's list; None: no service is configured.
            token_file: the file whose first line is the token; read at each call.
            cluster: the name of this cluster in the records.
        """
        self._url: Final = url
        self._token_file: Final = token_file
        self._cluster: Final = cluster
        self._own_secret: Final = secrets.token_bytes(32)
        self.calls: Final = ConcurrencyLimit(_CONNECTIONS, _WAITING)
        self._session: aiohttp.ClientSession | None = None
        self._has_seen_ours = self._has_warned = self._is_away = False

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
        allowed: Allowed,
        live: Callable[[str], bool],
        *,
        user: str,
        limit: int,
        cursor: str,
    ) -> HistoryPage:
        """Return a page; if the service does not answer, the page has a message instead of further rows.

        Args:
            wanted: the filter.
            allowed: returns which of a page's namespaces the user may list.
            live: returns True for the uid of a job that is listed among the live ones.
            user: the user: `Caller.user`.
            limit: the maximum number of rows.
            cursor: the `next` of the previous page; empty: the beginning.

        Raises:
            BadRequestError: the cursor is invalid.
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        if self._url is None:
            return HistoryPage([], message="no record service is configured")
        if wanted.phase and wanted.phase not in FINAL_PHASES:
            return HistoryPage([])
        secret = self._secret()
        at, until = HistoryCursor.decode(secret, cursor), perf_counter() + _PAGE_S
        rows: list[Object] = []
        fetched = limit
        try:
            while True:
                answer = await self._get(
                    self._url, _query(wanted, fetched, at.service_cursor), user
                )
                for item in await self._shown(answer or {}, at, allowed, live):
                    if len(rows) == limit:
                        return HistoryPage(rows, at.encode(secret))
                    rows.append(row_of(item))
                    at = HistoryCursor(at.service_cursor, key_of(item))
                following = as_text((answer or {}).get("next"), 512)
                if not following:
                    return HistoryPage(rows)
                at, fetched = HistoryCursor(following, at.after), _FETCHED
                if len(rows) == limit or perf_counter() > until:
                    return HistoryPage(rows, at.encode(secret))
        except BusyError as error:
            return HistoryPage(rows, message=str(error))

    async def _shown(
        self, answer: Object, at: HistoryCursor, allowed: Allowed, live: Callable[[str], bool]
    ) -> list[Object]:
        """Return the records of the service's answer that the user may see, after the given position."""
        items = as_dicts(answer.get("items"))
        self._check_name(items)
        ours = [
            item
            for item in items
            if at.is_before(item) and self._is_ours(item) and not live(as_text(item.get("uid")))
        ]
        seen = await allowed({as_text(item.get("namespace")) for item in ours}) if ours else ()
        return [item for item in ours if as_text(item.get("namespace")) in seen]

    def _check_name(self, items: list[Object]) -> None:
        """Log once that the name of this cluster may be wrong, if only other clusters' records were seen."""
        self._has_seen_ours = self._has_seen_ours or any(map(self._is_ours, items))
        if items and not self._has_seen_ours and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "the record service has returned records of the cluster %s and none yet of %s: if the "
                "operator uses another name for this cluster, set TRAININGJOB_CONSOLE_CLUSTER_NAME",
                as_text(items[0].get("cluster")) or "without a name",
                self._cluster,
            )

    def _is_ours(self, record: Object) -> bool:
        return record.get("cluster") == self._cluster

    async def record(self, uid: str, user: str) -> Object | None:
        """Return the record of a job of this cluster; None: there is none.

        Args:
            uid: the job's uid.
            user: the user: `Caller.user`.

        Raises:
            BusyError: the service does not answer, or too many calls of it are running.
        """
        if self._url is None:
            return None
        found = await self._get(f"{self._url}/{uid}", [], user)
        return found if found is not None and self._is_ours(found) else None

    async def _get(self, url: str, query: list[tuple[str, str]], user: str) -> Object | None:
        try:
            async with (
                StallTolerantTimeout(_CALL_S),
                self.calls.slot(user, "too many requests for the history are running"),
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
                found = as_dict(json.loads(body))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The error may contain an address or the path of the token file: it is logged, not shown to users.
            if not self._is_away:
                words = str(error) or "no answer in time"
                _logger.warning("the record service cannot be queried: %s", words[:MAX_TEXT])
            self._is_away = True
            raise BusyError("the record service cannot be queried") from error
        else:
            self._is_away = False
            return found

    def _headers(self) -> dict[str, str]:
        token = self._token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _token(self) -> str:
        if self._token_file is None:
            return ""
        with self._token_file.open(encoding="ascii", errors="ignore") as file:
            return file.readline(_MAX_TOKEN).strip()

    def _secret(self) -> bytes:
        """Return the secret that encrypts cursors: the service's token, which all its consoles share."""
        try:
            return self._token().encode() or self._own_secret
        except OSError:
            return self._own_secret

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "User-Agent": "trainingjob-console"},
                timeout=aiohttp.ClientTimeout(total=None),  # `_get` has the deadline
            )
        return self._session


def _query(wanted: Filter, limit: int, cursor: str) -> list[tuple[str, str]]:
    given = {
        "namespace": wanted.namespace,
        "phase": wanted.phase,
        "since": time_text(wanted.since) or "",
        "until": time_text(wanted.until) or "",
        "text": wanted.text,
        "cursor": cursor,
        "limit": str(limit),
    }
    found = [(name, value) for name, value in given.items() if value]
    return found + [("label", label) for label in wanted.labels]


def row_of(record: Object) -> Object:
    """Return the list row of a record, or of a record's summary, which has the same field names."""
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
