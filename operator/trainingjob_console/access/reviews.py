"""The API server's word on a token: who its owner is, and what it may do. Remembered for a while.

Bound: 1,024 owners and 8,192 rights; apart from them 256 tokens that are nobody's, and 16,384 refused
rights. The one that was used longest ago goes first. Of tokens only digests are kept. At most 64 tokens that
nobody has asked about before are looked up, or wait for it.
"""

import asyncio
import hashlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from trainingjob_console.access.caller import Caller
from trainingjob_console.access.remembered import Remembered
from trainingjob_console.errors import (
    UNAUTHORIZED,
    ApiServerError,
    BusyError,
    UnauthorizedError,
)
from trainingjob_console.kube.bodies import Object
from trainingjob_console.kube.client import Kube
from trainingjob_console.places import Places

MAX_OWNERS: Final = 1024
MAX_UNKNOWN: Final = 256
MAX_RIGHTS: Final = 8192
MAX_REFUSED: Final = 16_384
"""As many as 64 users have who may look at none of 256 namespaces."""

FRESH_S: Final = 30.0
REFUSED_S: Final = 5.0
"""A refusal is asked for again soon: it may be mended by now, and a guess costs us a call. Not so that of a
list: a user who may look at few of many namespaces has hundreds of those."""

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
    """Return the name of a token by which it is remembered, and which does not reveal it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Owner:
    """The user of a token, without the token."""

    name: str
    groups: tuple[str, ...]


class Reviews:
    """Asks the API server about tokens, with those tokens."""

    def __init__(
        self, kube: Kube, *, fresh_s: float = FRESH_S, refused_s: float = REFUSED_S
    ) -> None:
        """Ask nothing yet.

        Args:
            kube: the API server.
            fresh_s: seconds for which an owner, or a right, is remembered.
            refused_s: seconds for which a refusal is; that of a list is for `fresh_s`.
        """
        self._fresh_s: Final = fresh_s
        self._kube: Final = kube
        self._at_once: Final = asyncio.Semaphore(_AT_ONCE)
        self.unknown: Final = Places(_UNKNOWN_AT_ONCE, _UNKNOWN_WAITING)
        self.owners: Final[Remembered[str, Owner]] = Remembered(
            MAX_OWNERS, MAX_UNKNOWN, fresh_s=fresh_s, refused_s=refused_s
        )
        self.rights: Final[Remembered[tuple[str, ...], bool]] = Remembered(
            MAX_RIGHTS, MAX_REFUSED, fresh_s=fresh_s, refused_s=refused_s
        )

    async def owner(self, token: str) -> Caller:
        """Return the user of a token.

        Raises:
            UnauthorizedError: it is nobody's, or not any more.
            BusyError: too many tokens are being looked up.
            ApiServerError: the API server does not answer.
        """
        key = digest(token)
        found = await self.owners.get(key, lambda: self._ask_owner(token, key))
        if found is None:
            raise UnauthorizedError("the API server does not know this token, or not any more")
        return Caller(name=found.name, groups=found.groups, token=token, key=key)

    def forget(self, token: str) -> None:
        """Forget a token: its user has logged out."""
        self.owners.forget(digest(token))

    async def may(
        self,
        caller: Caller,
        verb: str,
        *,
        group: str,
        resource: str,
        subresource: str,
        namespace: str,
    ) -> bool:
        """Return True if the user may do this; an empty namespace is the whole cluster.

        Raises:
            UnauthorizedError: the token is nobody's any more.
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
        """Return True if the user may `get` this path, which is no resource's.

        Raises:
            UnauthorizedError: the token is nobody's any more.
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
        # A flood of tokens that are nobody's waits for itself, not users whose time is over.
        known = key in self.owners.answers
        place = self._at_once if known else self.unknown.take(key, _TOO_MANY)
        try:
            status = await self._review(_WHO, token, place)
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
        place: AbstractAsyncContextManager[None],
        spec: Object | None = None,
    ) -> Object:
        version, kind, path = what
        body = {"apiVersion": version, "kind": kind} | ({"spec": spec} if spec else {})
        try:
            async with asyncio.timeout(10), place:
                answer = await self._kube.call("POST", path, token=token, body=body)
        except TimeoutError as error:
            raise BusyError(_TOO_MANY, retry_after_s=5) from error
        except ApiServerError as error:
            if error.status == UNAUTHORIZED:
                raise UnauthorizedError("the API server does not know this token") from error
            raise
        status = answer.get("status")
        return status if isinstance(status, dict) else {}
