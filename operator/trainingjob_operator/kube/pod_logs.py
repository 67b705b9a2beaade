"""The log of a container, read in parts, whatever its length.

The API can cut a log at its end by bytes, and at its beginning by lines only; so all of it is read
that the node has kept, which is one file of the container runtime (10 MiB, unless the kubelet's
`containerLogMaxSize` says otherwise).
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
    """Yield what a container has written so far, in parts of 64 KiB at most.

    Args:
        transport: the connection.
        requests: where the request is counted.
        path: of the pod's log.
        container: which of the pod's containers.
        timeout_s: deadline of the answer and of each part, in seconds.

    Raises:
        GoneError: there is no such pod any more.
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
    """Return the error that a refusal means.

    The API server answers 404 when it has no such pod; the node does, through it, when it has no
    such log, or has not heard of the pod yet.
    """
    error = error_from(status, headers, body)
    if status == NOT_FOUND and is_about(body, "pods"):
        return GoneError("the pod is gone", status=status, reason="NotFound")
    if status == NOT_FOUND:
        return UnavailableError(
            f"the node has no such log: {error.message}", status=status, reason="NotFound"
        )
    return error


async def _open(transport: Transport, path: str, container: str) -> aiohttp.ClientResponse:
    return await transport.send(
        "GET", path, query={"container": container}, accept="*/*", limits=_TIMEOUT
    )
