"""The record service as a process, and a client that sends requests as the operator does."""

import asyncio
import io
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.support.processes.child import ChildProcess, clean_environment
from tests.support.records.records import Record, encode, idempotency_key

TOKEN = "correct-horse-battery-staple"
_PATIENCE_S = 90.0
_ADDRESS = re.compile(r"records are taken on (http://[^/\s]+)/")


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class RecordServiceProcess(ChildProcess):
    """`trainingjob records`, with its log in a file."""

    def __init__(self, folder: Path, database: str, **settings: str) -> None:
        super().__init__(folder / "records.log")
        self.database_kind = database.partition(":")[0]
        self.token_file = folder / "tokens"
        self.token_file.write_text(f"{TOKEN}\n")
        self._settings = {
            "TRAININGJOB_RECORDS_DATABASE": database,
            "TRAININGJOB_RECORDS_ADDRESS": "127.0.0.1:0",
            "TRAININGJOB_RECORDS_TOKEN_FILE": str(self.token_file),
            "TRAININGJOB_RECORDS_LOG_LEVEL": "debug",
            **{f"TRAININGJOB_RECORDS_{name}".upper(): value for name, value in settings.items()},
        }

    def start(self) -> None:
        """Start it on a free port; append to an existing log."""
        command = [sys.executable, "-m", "trainingjob_cli", "records"]
        self.spawn(command, clean_environment() | self._settings)

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used; 0 where there is no /proc."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        if not stat.exists():
            return 0.0
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def url(self) -> str:
        """Wait until it logs its URL, and return it."""
        return _wait(self, lambda: (match := _ADDRESS.search(self.log())) and match[1])

    async def wait_until(self, path: str, status: int) -> None:
        """Wait until a probe answers with this status."""
        deadline = time.monotonic() + _PATIENCE_S
        async with Client(self.url) as client:
            while (answer := await client.get(path)).status != status:
                assert self.process.poll() is None, self.log()
                assert time.monotonic() < deadline, f"{answer}\n{self.log()}"
                await asyncio.sleep(0.05)

    async def wait_until_ready(self) -> None:
        """Wait until `/readyz` returns ok."""
        await self.wait_until("/readyz", 200)


def _wait(service: RecordServiceProcess, ask: Any) -> str:
    deadline = time.monotonic() + _PATIENCE_S
    while not (found := ask()):
        assert service.process.poll() is None, service.log()
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.02)
    return str(found)


class Client:
    """An HTTP client of one service, with the token by default."""

    def __init__(self, url: str, *, token: str | None = TOKEN) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def request(self, method: str, path: str, **arguments: Any) -> Answer:
        """Send any request."""
        assert self._session is not None
        async with self._session.request(
            method, self.url + path, allow_redirects=False, **arguments
        ) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.text())

    async def get(self, path: str, **arguments: Any) -> Answer:
        return await self.request("GET", path, **arguments)

    async def put(self, record: Record) -> Answer:
        """Send a PUT as the operator does."""
        body = encode(record)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key(record, body),
        }
        path = f"/api/v1/jobs/{record['uid']}"
        return await self.request("PUT", path, data=io.BytesIO(body), headers=headers)

    async def put_bytes(self, uid: str, body: Any, **headers: str) -> Answer:
        """Send a PUT with any body."""
        sent = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.request("PUT", f"/api/v1/jobs/{uid}", data=body, headers=sent)

    async def list(self, *query: tuple[str, str]) -> Any:
        """Return a page of the list."""
        answer = await self.get("/api/v1/jobs", params=query)
        assert answer.status == 200, answer
        return answer.json
