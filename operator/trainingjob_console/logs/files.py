"""The file of a log that its node has for readers: when it is full, the node begins a new one.

Places in a log count from the beginning of that file, so they are good for one file only. It is named by
the time of its first line, which is the container's and never changes.
"""

from typing import Final

from trainingjob_console.kube.client import Kube
from trainingjob_console.logs.pods import READ_S, PodLog
from trainingjob_console.logs.resume import LineResume

_ENOUGH: Final = 64
"""Bytes in which there is a time."""


async def file_of(kube: Kube, token: str | None, log: PodLog) -> str:
    """Return the name of the file that the node has now; empty: it has no line, or the line no time.

    Args:
        kube: the API server.
        token: the user's.
        log: whose file.

    Raises:
        ApiServerError: it cannot be read.
        BusyError: too many logs are being read.
    """
    query = {"container": log.container, "timestamps": "true", "limitBytes": str(_ENOUGH)}
    beginning, seen = LineResume(), 0
    async with kube.log(f"{log.path}/log", token=token, query=query, idle_s=READ_S) as response:
        async for part in response.content.iter_any():
            beginning.feed(part)
            seen += len(part)
            if seen >= _ENOUGH:
                break
    return beginning.file
