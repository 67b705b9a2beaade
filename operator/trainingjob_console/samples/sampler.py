"""Asks the operators for their metrics every 15 seconds, and keeps a day of what they say."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from trainingjob_console.samples.addresses import Addresses
from trainingjob_console.samples.alerts import AlertStates
from trainingjob_console.samples.pinned_auth import PinnedAuth
from trainingjob_console.samples.retention_runs import RetentionRuns
from trainingjob_console.samples.sample_ring import EVERY_S, SampleRing
from trainingjob_console.samples.series import LIMITS, SERIES, Scrape, leading, parse, total
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.frames import encode

MAX_BYTES: Final = 1024 * 1024
_ANSWER_S: Final = 5.0
_OK: Final = 200


class Sampler:
    """At most eight operators, a megabyte of each. One that does not answer is shown as down."""

    def __init__(
        self,
        addresses: Addresses,
        clock: Callable[[], datetime],
        introduction: PinnedAuth | None = None,
    ) -> None:
        """Ask nobody yet.

        Args:
            addresses: of the operators.
            clock: the time.
            introduction: shown to operators that ask for a right; None: these do not.
        """
        self._introduction: Final = introduction
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
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            while True:
                urls = await self._addresses.now()
                found = await asyncio.gather(*(self._scrape(session, url) for url in urls))
                self.take(dict(zip(urls, found, strict=True)))
                await asyncio.sleep(EVERY_S)

    def take(self, scrapes: dict[str, Scrape | None]) -> None:
        """Add what the operators say now; None: one does not answer."""
        now = self._clock().timestamp()
        self._scrapes = scrapes
        found = [each for each in scrapes.values() if each is not None]
        works = leading(found)
        self.ring.add(now, {name: value(works) for name, (_, value) in SERIES.items()})
        self.alerts.update(now, found)
        self.sweeps.take(now, works)
        for queue in self._queues:
            queue.put("", self._news())

    def join(self, queue: CoalescingQueue) -> None:
        """Send a queue the newest, and each that follows."""
        self._queues.add(queue)
        if self._scrapes:
            queue.put("", self._news())

    def leave(self, queue: CoalescingQueue) -> None:
        """Send a queue nothing more."""
        self._queues.discard(queue)

    @property
    def limits(self) -> dict[str, float]:
        """The limit of each series that has one."""
        works = leading(each for each in self._scrapes.values() if each is not None)
        found = {name: limit(works) for name, limit in LIMITS.items()}
        return {name: limit for name, limit in found.items() if limit is not None}

    @property
    def operators(self) -> list[dict[str, Any]]:
        """The operators, as the page shows them."""
        return [_operator(address, scrape) for address, scrape in self._scrapes.items()]

    def _news(self) -> str:
        return f'"t":{encode(int(self._clock().timestamp()))}'

    async def _scrape(self, session: aiohttp.ClientSession, address: str) -> Scrape | None:
        try:
            shown = self._introduction.arguments() if self._introduction else {}
            async with session.get(address, allow_redirects=False, **shown) as response:
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
