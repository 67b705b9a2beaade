"""Streams the log of a container in chunks, whatever its length.

The API can limit a log at its end by bytes (`limitBytes`), but at its beginning only by lines
(`tailLines`). So the whole log that the node has kept is read: one file of the container runtime,
10 MiB unless the kubelet's `containerLogMaxSize` sets another size.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import aiohttp

from trainingjob_api.errors import GoneError, KubernetesError, UnavailableError
from trainingjob_operator.kube.errors import ERRORS, MAX_ERROR, NOT_FOUND, error_from, is_about
from trainingjob_operator.kube.request_counts import RequestCounts
from trainingjob_operator.kube.transport import Transport, connection_failed

_PART: Final = 65_536
_TIMEOUT: Final = aiohttp.ClientTimeout(total=300.0)


async def read_log(
    transport: Transport, requests: RequestCounts, path: str, *, container: str, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """Yield the log of a container up to now, in chunks of at most 64 KiB.

    Args:
        transport: sends the request.
        requests: counts the request.
        path: URL path of the pod's log.
        container: name of the container.
        timeout_s: deadline of the response headers and of each chunk, in seconds.

    Raises:
        GoneError: the pod no longer exists.
        UnavailableError: the node does not answer, or does not have the log.
        KubernetesError: the log cannot be read.
    """
    status: int | None = None
    response: aiohttp.ClientResponse | None = None
    try:
        async with asyncio.timeout(timeout_s):
            response = await _open(transport, path, container)
            status = response.status
            refusal = await response.content.read(MAX_ERROR) if status >= ERRORS else b""
        if status >= ERRORS:
            raise _refusal(status, response.headers, refusal)
        while True:
            async with asyncio.timeout(timeout_s):
                part = await response.content.read(_PART)
            if not part:
                return
            yield part
    except TimeoutError as error:
        raise UnavailableError(
            f"no answer within {timeout_s:g} s to GET {path}", reason="Timeout"
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise connection_failed(error, "GET", path) from error
    finally:
        requests.note("GET", (), status)
        if response is not None:
            response.close()


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> KubernetesError:
    """Return the exception for an error response.

    The API server answers 404 if the pod does not exist. The node answers 404, through the API
    server, if it has no such log or does not know the pod yet.
    """
    error = error_from(status, headers, body)
    if status == NOT_FOUND and is_about(body, "pods"):
        return GoneError("the pod no longer exists", status=status, reason="NotFound")
    if status == NOT_FOUND:
        return UnavailableError(
            f"the node has no such log: {error.message}", status=status, reason="NotFound"
        )
    return error


async def _open(transport: Transport, path: str, container: str) -> aiohttp.ClientResponse:
    return await transport.send(
        "GET", path, query={"container": container}, accept="*/*", limits=_TIMEOUT
    )
