"""Lets requests in or refuses them: the user by its token, the namespaces by the user's rights."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from trainingjob_api.constants import GROUP, PLURAL_TRAINING_JOBS
from trainingjob_console.access.caller import LOCAL_USER, Caller
from trainingjob_console.access.cookie import is_token, read_token, set_token
from trainingjob_console.access.origin import Origins, host_port, is_local, is_secure
from trainingjob_console.access.reviews import Reviews, digest
from trainingjob_console.errors import ForbiddenError, UnauthorizedError
from trainingjob_console.jobs.filters import Visible
from trainingjob_console.settings import Settings
from trainingjob_web.connections import ACCEPTED

MAX_NAMESPACES: Final = 256
"""Namespaces that are asked for one by one for a user who may not list all; those beyond it, by
name, are seen when the user asks for one of them alone."""

_METRICS: Final = "/metrics"


class Gate:
    """Answers who asks, and what they may see and do.

    Attributes:
        reviews: the API server's word.
    """

    def __init__(
        self, settings: Settings, reviews: Reviews, namespaces: Callable[[], Iterable[str]]
    ) -> None:
        """Prepare to ask.

        Args:
            settings: of the console.
            reviews: the API server's word.
            namespaces: returns those that have jobs now.
        """
        self._needs_token: Final = settings.auth == "token"
        self._settings: Final = settings
        self.reviews: Final = reviews
        self._namespaces: Final = namespaces
        self._origins: Final = Origins(settings)
        self._on_log_out: Final[list[Callable[[str], None]]] = []

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Return who asks.

        Raises:
            ForbiddenError: without a log-in, the request came under a foreign name.
            UnauthorizedError: no token came along, or the API server does not know it.
        """
        self._origins.check_host(connection)
        if not self._needs_token:
            caller = LOCAL_USER
        elif token := self.token_of(connection):
            caller = await self.reviews.owner(token)
        else:
            raise UnauthorizedError("log in with a Kubernetes token")
        # At the limit of connections a stranger's is closed before this one.
        setattr(connection.state, ACCEPTED, True)
        return caller

    async def caller_of(self, token: str) -> Caller:
        """Return whose token this is.

        Raises:
            UnauthorizedError: it is nobody's.
        """
        if not is_token(token):
            raise UnauthorizedError("this is no token: it has other characters, or is too long")
        return await self.reviews.owner(token)

    def token_of(self, connection: HTTPConnection) -> str:
        """Return the token that came along, in a header or a cookie; empty: none."""
        if header := _bearer(connection):
            return header if is_token(header) else ""
        return read_token(
            connection.cookies, secure=self.is_secure(connection), port=_port(connection)
        )

    def set_token(self, connection: HTTPConnection, response: Response, token: str) -> None:
        """Have the browser keep the token and send it from now on; empty: forget it."""
        set_token(response, token, secure=self.is_secure(connection), port=_port(connection))

    def key_of(self, connection: HTTPConnection) -> str:
        """Return the `key` of the caller that this will turn out to be, if it is let in."""
        return digest(self.token_of(connection)) if self._needs_token else LOCAL_USER.key

    def is_secure(self, connection: HTTPConnection) -> bool:
        """Return True if the browser speaks TLS."""
        return is_secure(connection, self._settings.origins)

    def check_log_in(self, connection: HTTPConnection) -> None:
        """Return if a token may be sent over this connection.

        Raises:
            ForbiddenError: it is plain HTTP, and not on this machine.
        """
        if not self.is_secure(connection) and not is_local(connection):
            raise ForbiddenError(
                "a token is not taken over plain HTTP: use https, or kubectl port-forward and "
                "http://localhost"
            )

    def check_origin(self, connection: HTTPConnection) -> None:
        """Return if the request came from a page of ours.

        Raises:
            ForbiddenError: it did not, or under a foreign name.
        """
        self._origins.check_host(connection)
        self._origins.check(connection, header_token=bool(_bearer(connection)))

    def log_out(self, token: str) -> None:
        """Forget a token, and tell the listeners: its user has logged out."""
        self.reviews.forget(token)
        for listener in self._on_log_out:
            listener(digest(token))

    def forget(self, caller: Caller) -> None:
        """Forget whose token this is: the API server has just not known it."""
        if caller.token is not None:
            self.reviews.forget(caller.token)

    def on_log_out(self, listener: Callable[[str], None]) -> None:
        """Call the listener with the `key` of each caller that logs out."""
        self._on_log_out.append(listener)

    async def visible(self, caller: Caller, namespace: str = "") -> Visible:
        """Return the test for namespaces whose jobs the user may list.

        Args:
            caller: who asks.
            namespace: only this one is asked for; empty: any.
        """
        allowed = await self.namespaces_of(caller, self.asked_about(namespace))
        return (lambda _: True) if allowed is None else allowed.__contains__

    def asked_about(self, namespace: str = "") -> frozenset[str]:
        """Return the namespaces that a user is asked about: this one; empty: those that have jobs now."""
        if namespace:
            return frozenset({namespace})
        return frozenset(sorted(self._namespaces())[:MAX_NAMESPACES])

    async def namespaces_of(self, caller: Caller, asked: Collection[str]) -> frozenset[str] | None:
        """Return the namespaces whose jobs the user may list, of those that are watched; None: all.

        Args:
            caller: who asks.
            asked: the namespaces that are asked about one by one if the user may not list all.

        Raises:
            UnauthorizedError: the token is nobody's any more.
            ApiServerError: the API server does not answer.
        """
        if caller.token is None or await self._may_list(caller, ""):
            return frozenset(self._settings.namespaces) or None
        return await self.among(caller, asked)

    async def among(self, caller: Caller, namespaces: Collection[str]) -> frozenset[str]:
        """Return those of some namespaces whose jobs the user may list, of those that are watched.

        Raises:
            UnauthorizedError: the token is nobody's any more.
            ApiServerError: the API server does not answer.
        """
        asked = sorted(set(namespaces) & set(self._settings.namespaces or namespaces) - {""})
        if caller.token is None or await self._may_list(caller, ""):
            return frozenset(asked)
        answers = await asyncio.gather(*(self._may_list(caller, name) for name in asked))
        return frozenset(name for name, allowed in zip(asked, answers, strict=True) if allowed)

    async def may(
        self,
        caller: Caller,
        verb: str,
        resource: str,
        namespace: str,
        *,
        group: str = "",
        subresource: str = "",
    ) -> bool:
        """Return True if the user may do this, as the API server says.

        Raises:
            UnauthorizedError: the token is nobody's any more.
            ApiServerError: the API server does not answer.
        """
        if caller.token is None:
            return True
        return await self.reviews.may(
            caller,
            verb,
            group=group,
            resource=resource,
            subresource=subresource,
            namespace=namespace,
        )

    async def may_see_figures(self, caller: Caller) -> bool:
        """Return True if the user may see figures of all jobs together, and those of the operators.

        Those may who list the jobs of all namespaces that are watched, or `get` the URL /metrics, which
        is the right that the operator's own metrics ask for.

        Raises:
            UnauthorizedError: the token is nobody's any more.
            ApiServerError: the API server does not answer.
        """
        watched = frozenset(self._settings.namespaces)
        if caller.token is None or await self._may_list(caller, ""):
            return True
        if watched and await self.among(caller, watched) == watched:
            return True
        return await self.reviews.may_get(caller, _METRICS)

    async def check_figures(self, caller: Caller) -> None:
        """Return if the user may see such figures.

        Raises:
            ForbiddenError: it may not.
            UnauthorizedError: the token is nobody's any more.
            ApiServerError: the API server does not answer.
        """
        if not await self.may_see_figures(caller):
            raise ForbiddenError(
                "these figures are of all jobs together: they are for users who may list the "
                "TrainingJobs of all namespaces, or get the URL /metrics"
            )

    async def _may_list(self, caller: Caller, namespace: str) -> bool:
        return await self.may(caller, "list", PLURAL_TRAINING_JOBS, namespace, group=GROUP)


def _port(connection: HTTPConnection) -> int:
    return host_port(connection.headers.get("host", ""))


def _bearer(connection: HTTPConnection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
