"""The logs of one job that a user may read: those that pods write, and those that are archived."""

import re
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import NotFoundError
from trainingjob_console.logs.archive import Body
from trainingjob_console.logs.pods import MAIN, PodLog

MERGED: Final = "merged"
_ONE: Final = re.compile(r"(live|archive):(\d{1,9}):(\d{1,5}):([0-9a-z-]{1,63})", re.ASCII)


@dataclass(frozen=True, slots=True)
class LogAccess:
    """The job whose logs are read, and who reads.

    Attributes:
        uid: of the job.
        namespace: of the job.
    """

    caller: Caller
    uid: str
    namespace: str


@dataclass(frozen=True, slots=True)
class SourceId:
    """The name of one log: `merged`, `live:ATTEMPT:RANK:CONTAINER`, or the same with `archive`.

    Attributes:
        kind: `merged`, `live` or `archive`.
        container: "main" is the one whose log is the rank's.
    """

    kind: str
    rank: int = 0
    container: str = ""
    attempt: int = 0


def parse_source(text: str) -> SourceId:
    """Read the name of a source.

    Raises:
        NotFoundError: it is none.
    """
    if text == MERGED:
        return SourceId(MERGED)
    if (match := _ONE.fullmatch(text)) is not None:
        return SourceId(match[1], int(match[3]), match[4], int(match[2]))
    raise NotFoundError("there is no such log: load the page again")


def of_pod(log: PodLog) -> dict[str, Any]:
    """Return what a page shows of a live log."""
    return {
        "id": f"live:{log.attempt}:{log.rank}:{log.called}",
        "rank": log.rank,
        "attempt": log.attempt,
        "container": log.called,
        "state": "live",
        "bytes": None,
        "cut": 0,
        "firstError": None,
    }


def of_body(body: Body, *, first_error: int | None) -> dict[str, Any]:
    """Return what a page shows of an archived log."""
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
