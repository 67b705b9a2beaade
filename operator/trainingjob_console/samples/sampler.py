"""Scrapes the metrics of the operators every 15 seconds, and keeps a day of samples."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.samples.addresses import Addresses
from trainingjob_console.samples.alerts import AlertStates
from trainingjob_console.samples.pinned_auth import PinnedAuth
from trainingjob_console.samples.retention_runs import RetentionRuns
from trainingjob_console.samples.sample_ring import INTERVAL_S, SampleRing
from trainingjob_console.samples.series import LIMITS, SERIES, Scrape, leader_scrape, parse, total
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.frames import encode

MAX_BYTES: Final = 1024 * 1024
_TIMEOUT_S: Final = 5.0
_OK: Final = 200


class Sampler:
    """Scrapes at most eight operators, and a megabyte of each. One that does not respond is shown as down."""

    def __init__(
        self,
        addresses: Addresses,
        clock: Callable[[], datetime],
        auth: PinnedAuth | None = None,
    ) -> None:
        """Initialize without scraping.

        Args:
            addresses: of the operators.
            clock: returns the current time.
            auth: authenticates to operators that require it; None: they do not.
        """
        self._auth: Final = auth
        self.ring: Final = SampleRing()
        self.alerts: Final = AlertStates()
        self.sweeps: Final = RetentionRuns()
        self._addresses: Final = addresses
        self._clock: Final = clock
        self._scrapes: dict[str, Scrape | None] = {}
        self._queues: Final[set[CoalescingQueue]] = set()

    async def run(self) -> None:
        """Sample until cancelled."""
        if not self._addresses:
            await asyncio.Event().wait()
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),  # `_scrape` has the timeout
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            while True:
                urls = await self._addresses.resolved()
                found = await asyncio.gather(*(self._scrape(session, url) for url in urls))
                self.update(dict(zip(urls, found, strict=True)))
                await asyncio.sleep(INTERVAL_S)

    def update(self, scrapes: dict[str, Scrape | None]) -> None:
        """Add the scrapes of the operators, by URL; None: an operator does not respond."""
        now = self._clock().timestamp()
        self._scrapes = scrapes
        found = [each for each in scrapes.values() if each is not None]
        leader = leader_scrape(found)
        self.ring.add(now, {name: value(leader) for name, (_, value) in SERIES.items()})
        self.alerts.update(now, found)
        self.sweeps.update(now, leader)
        for queue in self._queues:
            queue.put("", self._frame_fields())

    def join(self, queue: CoalescingQueue) -> None:
        """Send the newest sample to a queue, and each later one."""
        self._queues.add(queue)
        if self._scrapes:
            queue.put("", self._frame_fields())

    def leave(self, queue: CoalescingQueue) -> None:
        """Stop sending to a queue."""
        self._queues.discard(queue)

    @property
    def limits(self) -> dict[str, float]:
        """The limit of each series that has one."""
        leader = leader_scrape(each for each in self._scrapes.values() if each is not None)
        found = {name: limit(leader) for name, limit in LIMITS.items()}
        return {name: limit for name, limit in found.items() if limit is not None}

    @property
    def operators(self) -> list[dict[str, Any]]:
        """Descriptions of the operators for the page."""
        return [_operator(address, scrape) for address, scrape in self._scrapes.items()]

    def _frame_fields(self) -> str:
        return f'"t":{encode(int(self._clock().timestamp()))}'

    async def _scrape(self, session: aiohttp.ClientSession, address: str) -> Scrape | None:
        try:
            arguments = self._auth.request_arguments() if self._auth else {}
            async with (
                StallTolerantTimeout(_TIMEOUT_S),
                session.get(address, allow_redirects=False, **arguments) as response,
            ):
                body = bytearray()
                async for part in response.content.iter_chunked(65_536):
                    body += part
                    if len(body) > MAX_BYTES:
                        return None
                return parse(body.decode()) if response.status == _OK else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


def _operator(address: str, scrape: Scrape | None) -> dict[str, Any]:
    versions = [dict(labels).get("version") for labels in (scrape or {}).get("build_info", {})]
    return {
        "pod": urlsplit(address).netloc or address,
        "leader": bool(scrape and total(scrape, "leader")),
        "version": versions[0] if versions else None,
        "up": scrape is not None,
    }
