"""`/api/session`, `/api/login`, `/api/logout`: who is logged in, and what that user may see."""

import base64
import binascii
import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.api.requests import answer, read_json
from trainingjob_console.components import Components, Feature
from trainingjob_console.errors import BadRequestError, UnauthorizedError
from trainingjob_console.jobs.summary import time_text
from trainingjob_console.version import version

_MAX_SHOWN: Final = 1000
_PARTS_OF_JWT: Final = 3
_LATEST: Final = 253_402_300_799


class SessionApi:
    """Answers who asks, and lets users in and out."""

    def __init__(self, components: Components) -> None:
        self._components: Final = components

    def feature(self) -> Feature:
        """Return its routes."""
        return Feature(
            routes=[
                Route("/api/session", self.session, methods=["GET"]),
                Route("/api/login", self.log_in, methods=["POST"]),
                Route("/api/logout", self.log_out, methods=["POST"]),
            ]
        )

    async def session(self, request: Request) -> Response:
        """Return who is logged in; without a log-in, that one is needed."""
        access, mode = self._components.access, self._components.settings.auth
        found: dict[str, Any] = {
            "mode": mode,
            "user": None,
            "loginNeeded": False,
            "namespaces": None,
            "expires": None,
            "version": version(),
        }
        try:
            caller = await access.authenticate(request)
        except UnauthorizedError:
            return answer(found | {"loginNeeded": True, "namespaces": []})
        if caller.token is None:
            return answer(found)
        allowed = await access.listable_namespaces(caller, access.namespaces_to_check())
        shown = None if allowed is None else sorted(allowed)[:_MAX_SHOWN]
        user = {"name": caller.name, "groups": list(caller.groups)}
        return answer(
            found | {"user": user, "namespaces": shown, "expires": expiry_of(caller.token)}
        )

    async def log_in(self, request: Request) -> Response:
        """Set the cookie if the API server knows the token."""
        access = self._components.access
        access.check_origin(request)
        access.check_log_in(request)
        token = (await read_json(request)).get("token")
        if not isinstance(token, str) or not token.strip():
            raise BadRequestError(
                "token: must be a Kubernetes token, as `kubectl create token` prints"
            )
        token = token.strip()
        await access.authenticate_token(token)
        response = Response(status_code=204)
        access.set_token(request, response, token)
        return response

    async def log_out(self, request: Request) -> Response:
        """Take the cookie away, and end what is open with it: other tabs have the same cookie."""
        access = self._components.access
        access.check_origin(request)
        if token := access.token_of(request):
            access.log_out(token)
        response = Response(status_code=204)
        access.set_token(request, response, "")
        return response


def expiry_of(token: str) -> str | None:
    """Return when a token says that it ends, for the user to see; None: it does not say.

    Its signature is the API server's matter, which refuses it from then on.
    """
    pieces = token.split(".")
    if len(pieces) != _PARTS_OF_JWT:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(pieces[1] + "=" * (-len(pieces[1]) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        return None
    ends = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(ends, bool) or not isinstance(ends, int | float) or not 0 <= ends <= _LATEST:
        return None
    return time_text(int(ends))
