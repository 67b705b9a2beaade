"""Authenticated connections are marked, so that they are closed last at the limit of connections."""

from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from tests.support.console.log_server import log_server
from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.access.subject_reviews import SubjectReviews
from trainingjob_console.errors import RequestError
from trainingjob_console.settings import Settings
from trainingjob_web.connections import ACCEPTED


def request(**headers: str) -> HTTPConnection:
    scope: dict[str, Any] = {
        "type": "http",
        "path": "/api/jobs",
        "client": ("127.0.0.1", 1),
        "headers": [
            (name.encode(), value.encode())
            for name, value in {"host": "localhost", **headers}.items()
        ],
        "state": {},
    }
    return HTTPConnection(scope)


@pytest.mark.parametrize(
    ("auth", "headers", "accepted"),
    [
        ("token", {"authorization": "Bearer anna"}, True),
        ("token", {"authorization": "Bearer nobody"}, False),
        ("token", {}, False),
        ("none", {}, True),
        ("none", {"host": "evil.example"}, False),
    ],
)
async def test_the_connection_of_a_known_user_is_marked(
    tmp_path: Path, auth: str, headers: dict[str, str], accepted: bool
) -> None:
    async with log_server(tmp_path) as server:
        server.unknown.add("nobody")
        access = AccessControl(
            Settings.model_validate({"auth": auth}), SubjectReviews(server.kube), tuple
        )
        asked = request(**headers)
        if accepted:
            await access.authenticate(asked)
        else:
            with pytest.raises(RequestError):
                await access.authenticate(asked)
        assert bool(asked.scope["state"].get(ACCEPTED)) is accepted
