"""The log of a container, read in parts, whatever its length.

The API can cut a log at its end by bytes, and at its beginning by lines only; so all of it is read
that the node has kept, which is one file of the container runtime (10 MiB, unless the kubelet's
`containerLogMaxSize` says otherwise).
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import aiohttp
from kubernetes.aio.client import ApiClient

from trainingjob_operator.errors import GoneError, UnavailableError
from trainingjob_operator.kube.errors import ERRORS, NOT_FOUND, error_from
from trainingjob_operator.kube.requests import RequestCounts

_PART: Final = 65_536
_MAX_ERROR: Final = 4096


async def read_log(
    client: ApiClient, requests: RequestCounts, path: str, *, container: str, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """What a container has written so far, in parts of 64 KiB at most.

    Args:
        client: the connection.
        requests: where the request is counted.
        path: of the pod's log.
        container: which of the pod's containers.
        timeout_s: deadline of the answer and of each part, in seconds.

    Raises:
        GoneError: there is no such pod any more.
        KubernetesError: the log cannot be read.
    """
    status: int | None = None
    response: aiohttp.ClientResponse | None = None
    try:
        async with asyncio.timeout(timeout_s):
            response = await _open(client, path, container)
            status = response.status
            refusal = await response.content.read(_MAX_ERROR) if status >= ERRORS else b""
        if status == NOT_FOUND:
            raise GoneError("the pod is gone", status=status, reason="NotFound")
        if status >= ERRORS:
            raise error_from(status, response.headers, refusal)
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
        raise UnavailableError(
            f"{type(error).__name__} on GET {path}: {error}", reason="ConnectionFailed"
        ) from error
    finally:
        requests.note("GET", (), status)
        if response is not None:
            response.close()


async def _open(client: ApiClient, path: str, container: str) -> aiohttp.ClientResponse:
    request = await client.param_serialize(
        "GET",
        path,
        query_params=[("container", container)],
        header_params={"Accept": "*/*"},
        auth_settings=["BearerToken"],
    )
    response: aiohttp.ClientResponse = (await client.call_api(*request)).response
    return response
