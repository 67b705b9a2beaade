"""`/api/session`, `/api/login`, `/api/logout`: the logged-in user, log-in with a token, and log-out."""

import base64
import binascii
import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.api.requests import json_response, read_json
from trainingjob_console.components import Components, Feature
from trainingjob_console.errors import BadRequestError, UnauthorizedError
from trainingjob_console.jobs.summary import time_text
from trainingjob_console.version import version

_MAX_SHOWN: Final = 1000
_PARTS_OF_JWT: Final = 3
_LATEST: Final = 253_402_300_799


class SessionApi:
    """Serves the session, and logs users in and out."""

    def __init__(self, components: Components) -> None:
        self._components: Final = components

    def feature(self) -> Feature:
        """Return the routes."""
        return Feature(
            routes=[
                Route("/api/session", self.session, methods=["GET"]),
                Route("/api/login", self.log_in, methods=["POST"]),
                Route("/api/logout", self.log_out, methods=["POST"]),
            ]
        )

    async def session(self, request: Request) -> Response:
        """Return the logged-in user and the visible namespaces, or that a log-in is needed."""
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
            return json_response(found | {"loginNeeded": True, "namespaces": []})
        if caller.token is None:
            return json_response(found)
        allowed = await access.listable_namespaces(caller, access.namespaces_to_check())
        shown = None if allowed is None else sorted(allowed)[:_MAX_SHOWN]
        user = {"name": caller.name, "groups": list(caller.groups)}
        return json_response(
            found | {"user": user, "namespaces": shown, "expires": expiry_of(caller.token)}
        )

    async def log_in(self, request: Request) -> Response:
        """Set the session cookie if the API server accepts the token."""
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
        """Delete the session cookie, and close the sockets of all tabs that share it."""
        access = self._components.access
        access.check_origin(request)
        if token := access.token_of(request):
            access.log_out(token)
        response = Response(status_code=204)
        access.set_token(request, response, "")
        return response


def expiry_of(token: str) -> str | None:
    """Return the expiry time (`exp`) of a JWT, for display only; None: it has none.

    The signature is not verified here: the API server rejects an expired token itself.
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
