"""Authenticates tokens with SelfSubjectReviews, authorizes with SelfSubjectAccessReviews, caches both.

Bound: LRU caches of 1,024 users and 8,192 granted rights, and separate ones of 256 invalid tokens and
16,384 refused rights. Only digests of tokens are kept. At most 64 tokens that are not in the cache are
looked up or wait for it.
"""

import asyncio
import hashlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from trainingjob_console.access.caller import Caller
from trainingjob_console.access.ttl_cache import LookupCache
from trainingjob_console.concurrency import ConcurrencyLimit
from trainingjob_console.deadlines import StallTolerantTimeout
from trainingjob_console.errors import (
    UNAUTHORIZED,
    ApiServerError,
    BusyError,
    UnauthorizedError,
)
from trainingjob_console.kube.client import Kube
from trainingjob_console.kube.response_reader import Object

MAX_OWNERS: Final = 1024
MAX_UNKNOWN: Final = 256
MAX_RIGHTS: Final = 8192
MAX_REFUSED: Final = 16_384
"""Enough for 64 users who may list jobs in none of 256 namespaces."""

FRESH_S: Final = 30.0
REFUSED_S: Final = 5.0
"""TTL of refusals. It is short, because the right may be granted meanwhile; it is not zero, because
each guessed token costs a call. Refused `list` rights have the TTL `FRESH_S`: a user who may list jobs in few of
many namespaces has hundreds of them."""

_REVIEW_S: Final = 10.0
_AT_ONCE: Final = 16
_UNKNOWN_AT_ONCE: Final = 4
_UNKNOWN_WAITING: Final = 60
_WHO: Final = (
    "authentication.k8s.io/v1",
    "SelfSubjectReview",
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
)
_MAY: Final = (
    "authorization.k8s.io/v1",
    "SelfSubjectAccessReview",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
)
_TOO_MANY: Final = "too many log-ins are being checked"


def digest(token: str) -> str:
    """Return the digest of a token, which is its cache key and does not reveal it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Owner:
    """The user of a token, without the token."""

    name: str
    groups: tuple[str, ...]


class SubjectReviews:
    """Asks the API server about tokens and rights, with the tokens themselves, and caches the answers."""

    def __init__(
        self, kube: Kube, *, fresh_s: float = FRESH_S, refused_s: float = REFUSED_S
    ) -> None:
        """Create empty caches.

        Args:
            kube: the API server.
            fresh_s: TTL of users, granted rights and refused `list` rights, in seconds.
            refused_s: TTL of invalid tokens and of all other refused rights, in seconds.
        """
        self._fresh_s: Final = fresh_s
        self._kube: Final = kube
        self._at_once: Final = asyncio.Semaphore(_AT_ONCE)
        self.unknown: Final = ConcurrencyLimit(_UNKNOWN_AT_ONCE, _UNKNOWN_WAITING)
        self.owners: Final[LookupCache[str, Owner]] = LookupCache(
            MAX_OWNERS, MAX_UNKNOWN, fresh_s=fresh_s, refused_s=refused_s
        )
        self.rights: Final[LookupCache[tuple[str, ...], bool]] = LookupCache(
            MAX_RIGHTS, MAX_REFUSED, fresh_s=fresh_s, refused_s=refused_s
        )

    async def authenticate(self, token: str) -> Caller:
        """Return the user of a token.

        Raises:
            UnauthorizedError: the token is not valid, or no longer.
            BusyError: too many tokens are being looked up.
            ApiServerError: the API server does not answer.
        """
        key = digest(token)
        found = await self.owners.get(key, lambda: self._ask_owner(token, key))
        if found is None:
            raise UnauthorizedError(
                "the API server rejects this token: it is invalid, or has expired"
            )
        return Caller(name=found.name, groups=found.groups, token=token, key=key)

    def forget(self, token: str) -> None:
        """Evict the cached user of a token."""
        self.owners.forget(digest(token))

    async def is_allowed(
        self,
        caller: Caller,
        verb: str,
        *,
        group: str,
        resource: str,
        subresource: str,
        namespace: str,
    ) -> bool:
        """Return True if the API server allows this verb; an empty namespace means all namespaces.

        Raises:
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        attributes = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "subresource": subresource,
            "namespace": namespace,
        }
        return await self._may(caller, "resourceAttributes", attributes)

    async def may_get(self, caller: Caller, path: str) -> bool:
        """Return True if the user may `get` this non-resource URL.

        Raises:
            UnauthorizedError: the token is no longer valid.
            ApiServerError: the API server does not answer.
        """
        return await self._may(caller, "nonResourceAttributes", {"path": path, "verb": "get"})

    async def _may(self, caller: Caller, kind: str, attributes: dict[str, str]) -> bool:
        spec: Object = {kind: {name: value for name, value in attributes.items() if value}}
        key = (caller.key, kind, *attributes.values())
        found = await self.rights.get(
            key,
            lambda: self._ask_right(caller, spec),
            refused_s=self._fresh_s if attributes["verb"] == "list" else None,
        )
        return found is not None

    async def _ask_owner(self, token: str, key: str) -> Owner | None:
        # Unknown tokens have a queue of their own, so that a flood of invalid ones does not delay users
        # whose cached entry has expired.
        known = key in self.owners.answers
        slot = self._at_once if known else self.unknown.slot(key, _TOO_MANY)
        try:
            status = await self._review(_WHO, token, slot)
        except UnauthorizedError:
            return None
        user = status.get("userInfo")
        user = user if isinstance(user, dict) else {}
        groups = user.get("groups")
        return Owner(
            name=str(user.get("username") or ""),
            groups=tuple(str(group) for group in groups) if isinstance(groups, list) else (),
        )

    async def _ask_right(self, caller: Caller, spec: Object) -> bool | None:
        status = await self._review(_MAY, caller.token or "", self._at_once, spec)
        return True if status.get("allowed") is True and status.get("denied") is not True else None

    async def _review(
        self,
        what: tuple[str, str, str],
        token: str,
        slot: AbstractAsyncContextManager[None],
        spec: Object | None = None,
    ) -> Object:
        version, kind, path = what
        body = {"apiVersion": version, "kind": kind} | ({"spec": spec} if spec else {})
        try:
            async with StallTolerantTimeout(_REVIEW_S), slot:
                answer = await self._kube.call("POST", path, token=token, body=body)
        except TimeoutError as error:
            raise BusyError(_TOO_MANY, retry_after_s=5) from error
        except ApiServerError as error:
            if error.status == UNAUTHORIZED:
                raise UnauthorizedError("the API server rejects this token") from error
            raise
        status = answer.get("status")
        return status if isinstance(status, dict) else {}
