"""Settings and HTTP client of a run's record service, and the one-line summary of a record.

The service is a process of its own, as on a cluster. It is optional (extra `records`): without it
a run keeps no records.
"""

import asyncio
import os
import re
import secrets
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

_MODULES: Final = (
    "aiosqlite",
    "alembic",
    "fastapi",
    "sqlalchemy",
    "trainingjob_records",
    "uvicorn",
)
_ADDRESS: Final = re.compile(r"records are taken on (http://[^/\s\"]+/[^\s\"]*)")
_PREPARED: Final = "records are kept in "
_CALL_S: Final = 5.0
_AGAIN_S: Final = 0.1
_SHORT_UID: Final = 8

Object = dict[str, Any]


def is_installed() -> bool:
    """True if the record service and its dependencies can be imported."""
    return all(find_spec(name) is not None for name in _MODULES)


class RecordService:
    """The record service of one run. Its database and its token are files in the run's folder.

    Attributes:
        token_file: the file with the bearer token of this service. The token is passed as a file
            because every user of the machine can read command lines.
    """

    def __init__(self, folder: Path) -> None:
        """Create the token file.

        Args:
            folder: the run's folder, which no other user may enter.
        """
        self._database = folder / "records.db"
        self.token_file: Final = folder / "records.token"
        self._token = secrets.token_urlsafe(32)
        self._url = ""
        descriptor = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{self._token}\n")

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables of the record service."""
        return {
            "TRAININGJOB_RECORDS_ADDRESS": "127.0.0.1:0",
            "TRAININGJOB_RECORDS_DATABASE": f"sqlite:///{self._database}",
            "TRAININGJOB_RECORDS_LOG_FORMAT": "json",
            "TRAININGJOB_RECORDS_TOKEN_FILE": str(self.token_file),
        }

    @property
    def url(self) -> str:
        """The URL of the list of records, once the service is ready."""
        return self._url

    @property
    def operator_settings(self) -> dict[str, str]:
        """Environment variables for the operator, once the service is ready."""
        return {
            "TRAININGJOB_PERSIST__URL": self._url,
            "TRAININGJOB_PERSIST__TOKEN_FILE": str(self.token_file),
        }

    def is_ready(self, log: str) -> bool:
        """True if the log has the service's address and the message that its database is prepared."""
        found = _ADDRESS.search(log)
        self._url = found[1] if found else ""
        return bool(found) and _PREPARED in log

    def path_of(self, uid: str) -> str:
        """Return the URL path of a record."""
        return f"{urlsplit(self._url).path}/{uid}"

    async def wait_for_record(self, uid: str, *, timeout_s: float) -> Object | None:
        """Poll until a job has a record, and return it; None after `timeout_s`."""
        headers = {"Authorization": f"Bearer {self._token}"}
        timeout = aiohttp.ClientTimeout(total=_CALL_S)
        try:
            async with (
                asyncio.timeout(timeout_s),
                aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            ):
                while True:
                    record = await _get(session, f"{self._url}/{uid}")
                    if record is not None:
                        return record
                    await asyncio.sleep(_AGAIN_S)
        except TimeoutError:
            return None


async def _get(session: aiohttp.ClientSession, url: str) -> Object | None:
    try:
        async with session.get(url) as response:
            record: Object | None = await response.json() if response.ok else None
            return record
    except aiohttp.ClientError:
        return None


def facts(record: Object) -> str:
    """Return the main facts of a record, in one line."""
    attempts = record["attempt"] + 1
    said = [f"uid {record['uid'][:_SHORT_UID]}", f"phase {record['phase']}"]
    if record["durationSeconds"] is not None:
        said.append(f"{record['durationSeconds']} s")
    if record["exitCode"] is not None:
        said.append(f"exit code {record['exitCode']}")
    return ", ".join([*said, f"{attempts} attempt{'s' if attempts > 1 else ''}"])
