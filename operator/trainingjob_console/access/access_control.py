"""Access control: authenticates requests by token, and authorizes users for namespaces, verbs and metrics."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from trainingjob_api.constants import GROUP, PLURAL_TRAINING_JOBS
from trainingjob_console.access.caller import LOCAL_USER, Caller
from trainingjob_console.access.cookie import is_token, read_token, set_token
from trainingjob_console.access.origin import Origins, host_port, is_local, is_secure
from trainingjob_console.access.subject_reviews import SubjectReviews, digest
from trainingjob_console.errors import ForbiddenError, UnauthorizedError
from trainingjob_console.jobs.filters import Visible
from trainingjob_console.settings import Settings
from trainingjob_web.connections import ACCEPTED

MAX_NAMESPACES: Final = 256
"""The maximum number of namespaces that are checked one by one for a user who may not list jobs in all
of them. They are taken in alphabetical order; jobs in any further namespace are visible only if the user filters by it."""

_METRICS: Final = "/metrics"


class AccessControl:
    """Authenticates the users of requests, and decides what they may see and do.

    Attributes:
        reviews: asks the API server about tokens and rights.
    """

    def __init__(
        self, settings: Settings, reviews: SubjectReviews, namespaces: Callable[[], Iterable[str]]
    ) -> None:
        """Create the access control; no request is sent yet.

        Args:
            settings: the console's settings.
            reviews: asks the API server about tokens and rights.
            namespaces: returns the namespaces that have jobs now.
        """
        self._needs_token: Final = settings.auth == "token"
        self._settings: Final = settings
        self.reviews: Final = reviews
        self._namespaces: Final = namespaces
        self._origins: Final = Origins(settings)
        self._on_log_out: Final[list[Callable[[str], None]]] = []

    async def authenticate(self, connection: HTTPConnection) -> Caller:
        """Return the user of a request.

        Raises:
            ForbiddenError: there is no log-in, and the `Host` header has a foreign name.
            UnauthorizedError: the request has no token, or the API server rejects it.
        """
        self._origins.check_host(connection)
        if not self._needs_token:
            caller = LOCAL_USER
        elif token := self.token_of(connection):
            caller = await self.reviews.authenticate(token)
        else:
            raise UnauthorizedError("log in with a Kubernetes token")
        # At the limit of connections, those without an authenticated request are closed first.
        setattr(connection.state, ACCEPTED, True)
        return caller

    async def authenticate_token(self, token: str) -> Caller:
        """Return the user of a token.

        Raises:
            UnauthorizedError: it is not a token, or the API server rejects it.
        """
        if not is_token(token):
            raise UnauthorizedError(
                "this is not a token: it has invalid characters, or is too long"
            )
        return await self.reviews.authenticate(token)

    def token_of(self, connection: HTTPConnection) -> str:
        """Return the token of a request, from the header or the cookie; empty: there is none."""
        if header := _bearer(connection):
            return header if is_token(header) else ""
        return read_token(
            connection.cookies, secure=self.is_secure(connection), port=_port(connection)
        )

    def set_token(self, connection: HTTPConnection, response: Response, token: str) -> None:
        """Set the session cookie of the token; an empty token deletes the cookie."""
        set_token(response, token, secure=self.is_secure(connection), port=_port(connection))

    def key_of(self, connection: HTTPConnection) -> str:
        """Return the `Caller.key` that the user of this request gets if authentication succeeds."""
        return digest(self.token_of(connection)) if self._needs_token else LOCAL_USER.key

    def is_secure(self, connection: HTTPConnection) -> bool:
        """Return True if the browser uses TLS."""
        return is_secure(connection, self._settings.origins)

    def check_log_in(self, connection: HTTPConnection) -> None:
        """Check that a token may be sent over this connection.

        Raises:
            ForbiddenError: it is plain HTTP, and not to a loopback address.
        """
        if not self.is_secure(connection) and not is_local(connection):
            raise ForbiddenError(
                "a token is not accepted over plain HTTP: use https, or kubectl port-forward and "
                "http://localhost"
            )

    def check_origin(self, connection: HTTPConnection) -> None:
        """Check that the request was sent by a page of the console.

        Raises:
            ForbiddenError: `Origin` or `Host` is foreign.
        """
        self._origins.check_host(connection)
        self._origins.check(connection, header_token=bool(_bearer(connection)))

    def log_out(self, token: str) -> None:
        """Evict the cached user of a token, and notify the log-out listeners."""
        self.reviews.forget(token)
        for listener in self._on_log_out:
            listener(digest(token))

    def forget(self, caller: Caller) -> None:
        """Evict the cached user of the caller's token, which the API server has just rejected."""
        if caller.token is not None:
            self.reviews.forget(caller.token)

    def on_log_out(self, listener: Callable[[str], None]) -> None:
        """Call the listener with the `key` of each caller that logs out."""
        self._on_log_out.append(listener)

    async def visible(self, caller: Caller, namespace: str = "") -> Visible:
        """Return a predicate that is True for namespaces whose jobs the user may list.

        Args:
            caller: the user.
            namespace: the only namespace to check; empty: all that have jobs.
        """
        allowed = await self.listable_namespaces(caller, self.namespaces_to_check(namespace))
        return (lambda _: True) if allowed is None else allowed.__contains__

    def namespaces_to_check(self, namespace: str = "") -> frozenset[str]:
        """Return the namespaces to check for a user: the given one; if empty, those that have jobs now."""
        if namespace:
            return frozenset({namespace})
        return frozenset(sorted(self._namespaces())[:MAX_NAMESPACES])

    async def listable_namespaces(
        self, caller: Caller, candidates: Collection[str]
    ) -> frozenset[str] | None:
        """Return the watched namespaces whose jobs the user may list; None: all namespaces.

        Args:
            caller: the user.
            candidates: the namespaces that are checked one by one if the user may not list jobs in all.

        Raises:
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        if caller.token is None or await self._may_list(caller, ""):
            return frozenset(self._settings.namespaces) or None
        return await self.filter_listable(caller, candidates)

    async def filter_listable(self, caller: Caller, namespaces: Collection[str]) -> frozenset[str]:
        """Return those of the given namespaces that are watched and whose jobs the user may list.

        Raises:
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        candidates = sorted(set(namespaces) & set(self._settings.namespaces or namespaces) - {""})
        if caller.token is None or await self._may_list(caller, ""):
            return frozenset(candidates)
        answers = await asyncio.gather(*(self._may_list(caller, name) for name in candidates))
        return frozenset(
            name for name, allowed in zip(candidates, answers, strict=True) if allowed
        )

    async def is_allowed(
        self,
        caller: Caller,
        verb: str,
        resource: str,
        namespace: str,
        *,
        group: str = "",
        subresource: str = "",
    ) -> bool:
        """Return True if the API server allows the user this verb; without a log-in always.

        Raises:
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        if caller.token is None:
            return True
        return await self.reviews.is_allowed(
            caller,
            verb,
            group=group,
            resource=resource,
            subresource=subresource,
            namespace=namespace,
        )

    async def may_see_metrics(self, caller: Caller) -> bool:
        """Return True if the user may see totals over all jobs, and the operators' metrics.

        This requires the right to list the jobs of all watched namespaces, or to `get` the URL /metrics,
        which is the right that the operator's own metrics require.

        Raises:
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        watched = frozenset(self._settings.namespaces)
        if caller.token is None or await self._may_list(caller, ""):
            return True
        if watched and await self.filter_listable(caller, watched) == watched:
            return True
        return await self.reviews.may_get(caller, _METRICS)

    async def check_may_see_metrics(self, caller: Caller) -> None:
        """Check that the user may see totals over all jobs, and the operators' metrics.

        Raises:
            ForbiddenError: the user may not.
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        if not await self.may_see_metrics(caller):
            raise ForbiddenError(
                "these are totals over all jobs: they require the right to list the TrainingJobs "
                "of all namespaces, or to get the URL /metrics"
            )

    async def _may_list(self, caller: Caller, namespace: str) -> bool:
        return await self.is_allowed(caller, "list", PLURAL_TRAINING_JOBS, namespace, group=GROUP)


def _port(connection: HTTPConnection) -> int:
    return host_port(connection.headers.get("host", ""))


def _bearer(connection: HTTPConnection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
