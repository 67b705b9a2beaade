"""Access to logs while the console has just started, and has not listed all jobs yet."""

from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.console.log_server import log_server, user
from trainingjob_console.errors import BusyError, NotFoundError


async def test_an_unknown_job_is_unavailable_until_all_jobs_are_listed(tmp_path: Path) -> None:
    async with log_server(tmp_path) as server:
        server.index.is_complete = False
        with pytest.raises(BusyError):
            await server.job_logs.authorize(user("anna"), str(uuid4()))
        server.index.is_complete = True
        with pytest.raises(NotFoundError):
            await server.job_logs.authorize(user("anna"), str(uuid4()))
