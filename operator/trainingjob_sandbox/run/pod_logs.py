"""Streams what pods write, over the API's own `pods/log`."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

import aiohttp

from trainingjob_sandbox.kubeconfig import Credentials

_CONNECT_S: Final = 10.0


class LogsError(Exception):
    """The stream broke, or there is nothing to stream (yet or any more)."""


class PodLogs:
    """A connection pool of its own: a followed log holds its connection for as long as it runs."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def __aenter__(self) -> Self:
        token = self._credentials.token
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            connector=aiohttp.TCPConnector(ssl=self._credentials.ssl_context() or True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def stream(self, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        """What a container has written and writes, from its start to its end.

        Raises:
            LogsError: before the end.
        """
        url = f"{self._credentials.server}/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"follow": "true", "container": container}
        try:
            async with self._session.get(url, params=query) as response:
                if not response.ok:
                    raise LogsError(f"{response.status}: {(await response.text())[:500]}")
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LogsError(str(error) or type(error).__name__) from error
