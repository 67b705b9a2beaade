"""The API server's word on a token: who its owner is, and what it may do. Remembered for a while.

Bound: 1,024 owners and 8,192 answers about rights; the one that was used longest ago goes first. Only
digests of tokens are kept.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import perf_counter
from typing import Final, Generic, TypeVar

from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import ApiServerError, BusyError, UnauthorizedError
from trainingjob_console.kube.client import Kube, Object

MAX_OWNERS: Final = 1024
MAX_ANSWERS: Final = 8192
FRESH_S: Final = 30.0
REFUSED_S: Final = 5.0
"""A refusal is asked for again soon: it may be mended by now, and a guess costs us a call."""

_AT_ONCE: Final = 16
_WHO: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_MAY: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_UNAUTHORIZED: Final = 401

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values that are good for a time, by key; one question at once for each key.

    Bound: `limit` values, the one used longest ago goes first.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = perf_counter) -> None:
        self.limit: Final = limit
        self._clock: Final = clock
        self._values: Final[OrderedDict[K, tuple[float, V]]] = OrderedDict()
        self._asked: Final[dict[K, asyncio.Future[V]]] = {}

    def __len__(self) -> int:
        return len(self._values)

    async def get(
        self, key: K, ask: Callable[[], Awaitable[V]], good_for_s: Callable[[V], float]
    ) -> V:
        """Return the value, which is asked for if it is not remembered.

        Args:
            key: of the value.
            ask: asks for it; what it raises reaches all who wait, and is not remembered.
            good_for_s: how long a value is good for.
        """
        while True:
            known = self._values.get(key)
            if known is not None and known[0] > self._clock():
                self._values.move_to_end(key)
                return known[1]
            if (pending := self._asked.get(key)) is None:
                return await self._ask(key, ask, good_for_s)
            await asyncio.wait([pending])
            if not pending.cancelled():
                return pending.result()
            # The request that asked was given up, by a tab that was closed: another one asks.

    async def _ask(
        self, key: K, ask: Callable[[], Awaitable[V]], good_for_s: Callable[[V], float]
    ) -> V:
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._asked[key] = future
        try:
            value = await ask()
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(error)
                future.exception()  # it may be that nobody else waits
            raise
        else:
            future.set_result(value)
            self._values[key] = (self._clock() + good_for_s(value), value)
            self._values.move_to_end(key)
            while len(self._values) > self.limit:
                self._values.popitem(last=False)
            return value
        finally:
            del self._asked[key]

    def forget(self, key: K) -> None:
        """Forget a value."""
        self._values.pop(key, None)


def digest(token: str) -> str:
    """Return the name of a token by which it is remembered, and which does not reveal it."""
    return hashlib.sha256(token.encode()).hexdigest()


class Reviews:
    """Asks the API server about tokens, with those tokens."""

    def __init__(self, kube: Kube, *, fresh_s: float = FRESH_S) -> None:
        """Ask nothing yet.

        Args:
            kube: the API server.
            fresh_s: seconds for which an owner, or a right, is remembered.
        """
        self._kube: Final = kube
        self._fresh_s: Final = fresh_s
        self._at_once: Final = asyncio.Semaphore(_AT_ONCE)
        self.owners: Final[Remembered[str, Caller | None]] = Remembered(MAX_OWNERS)
        self.answers: Final[Remembered[tuple[str, ...], bool]] = Remembered(MAX_ANSWERS)

    async def owner(self, token: str) -> Caller:
        """Return the user of a token.

        Raises:
            UnauthorizedError: it is nobody's, or not any more.
            ApiServerError: the API server does not answer.
        """
        key = digest(token)
        found = await self.owners.get(
            key,
            lambda: self._ask_owner(token, key),
            lambda caller: REFUSED_S if caller is None else self._fresh_s,
        )
        if found is None:
            raise UnauthorizedError("the API server does not know this token, or not any more")
        return found

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
        return await self.answers.get(
            (caller.key, *attributes.values()),
            lambda: self._ask_right(caller, attributes),
            lambda allowed: self._fresh_s if allowed else REFUSED_S,
        )

    async def _ask_owner(self, token: str, key: str) -> Caller | None:
        try:
            status = await self._review(
                "authentication.k8s.io/v1", "SelfSubjectReview", _WHO, token
            )
        except UnauthorizedError:
            return None
        user = status.get("userInfo")
        user = user if isinstance(user, dict) else {}
        groups = user.get("groups")
        return Caller(
            name=str(user.get("username") or ""),
            groups=tuple(str(group) for group in groups) if isinstance(groups, list) else (),
            token=token,
            key=key,
        )

    async def _ask_right(self, caller: Caller, attributes: dict[str, str]) -> bool:
        spec: Object = {"resourceAttributes": {k: v for k, v in attributes.items() if v}}
        status = await self._review(
            "authorization.k8s.io/v1", "SelfSubjectAccessReview", _MAY, caller.token or "", spec
        )
        return status.get("allowed") is True and status.get("denied") is not True

    async def _review(
        self, version: str, kind: str, path: str, token: str, spec: Object | None = None
    ) -> Object:
        body = {"apiVersion": version, "kind": kind} | ({"spec": spec} if spec else {})
        try:
            async with asyncio.timeout(10), self._at_once:
                answer = await self._kube.call("POST", path, token=token, body=body)
        except TimeoutError as error:
            raise BusyError("too many log-ins are being checked", retry_after_s=5) from error
        except ApiServerError as error:
            if error.status == _UNAUTHORIZED:
                raise UnauthorizedError("the API server does not know this token") from error
            raise
        status = answer.get("status")
        return status if isinstance(status, dict) else {}
