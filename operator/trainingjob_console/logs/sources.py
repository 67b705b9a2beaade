"""Names the logs of one job (live, archived or merged), and describes them for the page."""

import re
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import NotFoundError
from trainingjob_console.logs.archive import SectionBody
from trainingjob_console.logs.pods import MAIN, PodLog

MERGED: Final = "merged"
_ONE: Final = re.compile(r"(live|archive):(\d{1,9}):(\d{1,5}):([0-9a-z-]{1,63})", re.ASCII)


@dataclass(frozen=True, slots=True)
class LogAccess:
    """An authorized access to the logs of a job.

    Attributes:
        caller: the user who reads.
        uid: of the job.
        namespace: of the job.
    """

    caller: Caller
    uid: str
    namespace: str


@dataclass(frozen=True, slots=True)
class SourceId:
    """The id of one log: `merged`, `live:ATTEMPT:RANK:CONTAINER` or `archive:ATTEMPT:RANK:CONTAINER`.

    Attributes:
        kind: `merged`, `live` or `archive`.
        container: "main" for the main container, whose log is the log of the rank.
    """

    kind: str
    rank: int = 0
    container: str = ""
    attempt: int = 0


def parse_source(text: str) -> SourceId:
    """Parse the id of a source.

    Raises:
        NotFoundError: it is not a source id.
    """
    if text == MERGED:
        return SourceId(MERGED)
    if (match := _ONE.fullmatch(text)) is not None:
        return SourceId(match[1], int(match[3]), match[4], int(match[2]))
    raise NotFoundError("there is no such log: load the page again")


def describe_pod_log(log: PodLog) -> dict[str, Any]:
    """Return the description of a live log for the page."""
    return {
        "id": f"live:{log.attempt}:{log.rank}:{log.source_container}",
        "rank": log.rank,
        "attempt": log.attempt,
        "container": log.source_container,
        "state": "live",
        "bytes": None,
        "cut": 0,
        "firstError": None,
    }


def describe_archived_log(body: SectionBody, *, first_error: int | None) -> dict[str, Any]:
    """Return the description of an archived log for the page."""
    section = body.section
    container = section.container or MAIN
    return {
        "id": f"archive:{section.attempt}:{section.rank}:{container}",
        "rank": section.rank,
        "attempt": section.attempt,
        "container": container,
        "state": "archived",
        "bytes": body.end - body.start,
        "cut": body.cut,
        "firstError": first_error,
    }
