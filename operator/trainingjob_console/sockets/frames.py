"""Parses and encodes the frames of the WebSocket protocol `trainingjob.v1`.

Content for several sockets (a row, a chunk of a log) is encoded once, and its text is shared by their queues. All text is
ASCII, so the length of a text is its number of bytes on the wire.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_console.jobs.filters import Filter, read_filter
from trainingjob_console.sockets.log_ring import LogChunk

PING: Final = '{"type":"ping"}'
EVERY_JOB: Final = Filter()
KINDS: Final = frozenset({"jobs", "job", "logs", "housekeeping"})
_MAX_ID: Final = 2**31
_MAX_TEXT: Final = 512
_MAX_PLACES: Final = 64
_LONGEST_PLACE: Final = 40


class BadFrameError(ValueError):
    """The client sent a frame that the protocol does not define."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """A request to subscribe.

    Attributes:
        id: chosen by the client.
        kind: one of `KINDS`.
        filter: of jobs.
        position: in the changes of jobs, from which the client resumes.
        uid: of a job.
        source: id of a log.
        offset: in the log.
        file: log file that the offset counts in, as named by a window of the log; empty: unknown.
        places: for the merged log, the last position of each rank that the client was sent.
    """

    id: int
    kind: str
    filter: Filter = EVERY_JOB
    position: str | None = None
    uid: str = ""
    source: str = ""
    offset: int = 0
    file: str = ""
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A request to end a subscription."""

    id: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The reply to a ping."""


def parse(text: str) -> Subscribe | Unsubscribe | Pong:
    """Parse a frame of a client.

    Raises:
        BadFrameError: it is not a frame of the protocol.
        BadRequestError: its filter is invalid.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFrameError("the frame is not JSON") from error
    if not isinstance(frame, dict):
        raise BadFrameError("the frame is not an object")
    match frame.get("type"):
        case "pong":
            return Pong()
        case "unsub":
            return Unsubscribe(_id(frame))
        case "sub":
            return _subscribe(frame)
        case _:
            raise BadFrameError("the type of the frame is unknown")


def _subscribe(frame: Mapping[str, Any]) -> Subscribe:
    kind = frame.get("kind")
    if kind not in KINDS:
        raise BadFrameError("the kind of the subscription is unknown")
    offset = frame.get("offset") or 0
    if type(offset) is not int or not 0 <= offset < 2**53:
        raise BadFrameError("offset must be a number of bytes")
    return Subscribe(
        id=_id(frame),
        kind=kind,
        filter=_filter(frame.get("filter") or {}),
        position=_text(frame, "position") or None,
        uid=_text(frame, "uid"),
        source=_text(frame, "source"),
        offset=offset,
        file=_text(frame, "file"),
        places=_places(frame.get("places") or []),
    )


def _filter(found: object) -> Filter:
    if not isinstance(found, dict):
        raise BadFrameError("filter must be an object")
    label = found.get("label") or []
    labels = label.split("&") if isinstance(label, str) else label
    if not isinstance(labels, list) or not all(isinstance(each, str) for each in labels):
        raise BadFrameError("label must be a string or a list of strings")
    names = ("namespace", "phase", "since", "until", "text")
    return read_filter(labels=labels, **{name: _text(found, name) for name in names})


def _places(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) > _MAX_PLACES:
        raise BadFrameError(f"places must be a list of at most {_MAX_PLACES} positions")
    if not all(isinstance(each, str) and len(each) <= _LONGEST_PLACE for each in found):
        raise BadFrameError(
            f"each position in places must be a string of at most {_LONGEST_PLACE} characters"
        )
    return tuple(found)


def _id(frame: Mapping[str, Any]) -> int:
    found = frame.get("id")
    if type(found) is not int or not 0 <= found < _MAX_ID:
        raise BadFrameError("id must be an integer")
    return found


def _text(frame: Mapping[str, Any], name: str) -> str:
    found = frame.get(name)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > _MAX_TEXT:
        raise BadFrameError(f"{name} must be a string of at most {_MAX_TEXT} characters")
    return found


def encode(value: object) -> str:
    """Encode a value as ASCII JSON."""
    return json.dumps(value, separators=(",", ":"))


def frame(kind: str, number: int, **fields: object) -> str:
    """Return a frame about one subscription."""
    return encode({"type": kind, "id": number, **fields})


def delta(number: int, seq: str, rows: Iterable[str], gone: list[str], more: str) -> str:
    """Return the frame with changes of jobs.

    Args:
        number: id of the subscription.
        seq: position after these changes.
        rows: changed jobs, encoded.
        gone: uids of jobs that were deleted, or no longer match the filter.
        more: further fields, encoded, each with a leading comma.
    """
    head = f'{{"type":"delta","id":{number},"seq":{encode(seq)},"rows":['
    return f'{head}{",".join(rows)}],"gone":{encode(gone)}{more}}}'


def log(number: int, seq: str, chunk: LogChunk) -> str:
    """Return the frame with a chunk of a log.

    Args:
        number: id of the subscription.
        seq: position after the chunk.
        chunk: of the log.
    """
    head = f'{{"type":"log","id":{number},"seq":{encode(seq)},"offset":{chunk.offset}'
    place = f',"place":{encode(chunk.place)}' if chunk.place else ""
    return f'{head},"next":{chunk.next_offset}{place},"text":{chunk.text}}}'
