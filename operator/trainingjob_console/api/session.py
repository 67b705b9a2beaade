"""`/api/session`: who is logged in, and what that user may see."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.api.requests import answer
from trainingjob_console.parts import Parts, Room
from trainingjob_console.version import version


class SessionApi:
    """Answers who asks."""

    def __init__(self, parts: Parts) -> None:
        self._parts: Final = parts

    def room(self) -> Room:
        """Return its routes."""
        return Room(routes=[Route("/api/session", self.session, methods=["GET"])])

    async def session(self, request: Request) -> Response:
        """Return who is logged in; without a log-in that one is needed."""
        settings = self._parts.settings
        return answer(
            {
                "mode": settings.auth,
                "user": None,
                "loginNeeded": settings.auth == "token",
                "namespaces": None,
                "expires": None,
                "version": version(),
            }
        )
