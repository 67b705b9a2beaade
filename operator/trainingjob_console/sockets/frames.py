"""The frames of `trainingjob.v1`: what a client may ask, and what it is sent.

A part that several sockets are sent (a row, a piece of a log) is encoded once, and its text is
shared by the queues. All text is ASCII, so that the length of a text is its bytes on the wire.
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
    """The client sent what the protocol has no meaning for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """A wish to be sent something.

    Attributes:
        id: the client's name for it.
        kind: one of `KINDS`.
        filter: of jobs.
        position: of the page from which the client goes on.
        uid: of a job.
        source: of a log.
        offset: in the log.
        file: that the offset is of, as a window of the log has named it; empty: it is not known.
        places: in the logs of ranks that are merged: the last ones that the client was sent.
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
    """A wish not to be sent it any longer."""

    id: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""


def parse(text: str) -> Subscribe | Unsubscribe | Pong:
    """Return what a client's frame asks for.

    Raises:
        BadFrameError: it is no frame of the protocol.
        BadRequestError: it has a filter that cannot be understood.
    """
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFrameError("a frame is no JSON") from error
    if not isinstance(frame, dict):
        raise BadFrameError("a frame is no object")
    match frame.get("type"):
        case "pong":
            return Pong()
        case "unsub":
            return Unsubscribe(_id(frame))
        case "sub":
            return _subscribe(frame)
        case _:
            raise BadFrameError("a frame has no type that is known")


def _subscribe(frame: Mapping[str, Any]) -> Subscribe:
    kind = frame.get("kind")
    if kind not in KINDS:
        raise BadFrameError("a subscription has no kind that is known")
    offset = frame.get("offset") or 0
    if type(offset) is not int or not 0 <= offset < 2**53:
        raise BadFrameError("an offset is no number of bytes")
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
        raise BadFrameError("a filter is no object")
    label = found.get("label") or []
    labels = label.split("&") if isinstance(label, str) else label
    if not isinstance(labels, list) or not all(isinstance(each, str) for each in labels):
        raise BadFrameError("a label is no text")
    names = ("namespace", "phase", "since", "until", "text")
    return read_filter(labels=labels, **{name: _text(found, name) for name in names})


def _places(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) > _MAX_PLACES:
        raise BadFrameError("the places in logs are no short list")
    if not all(isinstance(each, str) and len(each) <= _LONGEST_PLACE for each in found):
        raise BadFrameError("a place in a log is no short text")
    return tuple(found)


def _id(frame: Mapping[str, Any]) -> int:
    found = frame.get("id")
    if type(found) is not int or not 0 <= found < _MAX_ID:
        raise BadFrameError("a subscription has no id")
    return found


def _text(frame: Mapping[str, Any], name: str) -> str:
    found = frame.get(name)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > _MAX_TEXT:
        raise BadFrameError(f"{name} is no short text")
    return found


def encode(value: object) -> str:
    """Return a value as JSON in ASCII."""
    return json.dumps(value, separators=(",", ":"))


def frame(kind: str, number: int, **fields: object) -> str:
    """Return a frame about one subscription."""
    return encode({"type": kind, "id": number, **fields})


def delta(number: int, seq: str, rows: Iterable[str], gone: list[str], more: str) -> str:
    """Return the frame with the changes of jobs.

    Args:
        number: the subscription's id.
        seq: the position after them.
        rows: each encoded already.
        gone: uids of jobs that are gone, or that the filter does not have any more.
        more: further fields, encoded, each with a comma before it.
    """
    head = f'{{"type":"delta","id":{number},"seq":{encode(seq)},"rows":['
    return f'{head}{",".join(rows)}],"gone":{encode(gone)}{more}}}'


def log(number: int, seq: str, piece: LogChunk) -> str:
    """Return the frame with a piece of a log.

    Args:
        number: the subscription's id.
        seq: the position after it.
        piece: a part of the log.
    """
    head = f'{{"type":"log","id":{number},"seq":{encode(seq)},"offset":{piece.offset}'
    place = f',"place":{encode(piece.place)}' if piece.place else ""
    return f'{head},"next":{piece.following}{place},"text":{piece.text}}}'
