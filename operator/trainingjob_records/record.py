"""Parses a record: bytes to something that can be stored, or a sentence that says why not.

The body is kept as it was sent, so a later version of the sender loses nothing here; of one above
`MAX_WITH_SPEC` bytes the spec is left out, and the record says so. What is listed and searched is
copied out of it, within bounds: those columns are an index, not the record.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from trainingjob_records.errors import InvalidRecordError, NotJsonError

SCHEMA_MAJOR: Final = 1
"""The only major version of the record that is understood."""

MAX_WITH_SPEC: Final = 64 * 1024
"""Bytes of the largest body that is kept with its spec. A job's summary has a few kilobytes: without
a limit a thousand large jobs take the room of a hundred thousand others."""

UID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
MAX_INDEXED_LABELS: Final = 64
"""Labels beyond these, in alphabetical order, stay in the body but cannot be searched for."""

MAX_LABEL_KEY: Final = 317
MAX_LABEL_VALUE: Final = 63
MAX_REASON: Final = 256
MAX_MESSAGE: Final = 1024
_MAX_FAULTS: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(1970, 9000)
_OUR_KEY: Final = re.compile(r"(?P<uid>.+):(?P<revision>\d+):(?P<digest>[0-9a-f]{64})")


def _time(value: object) -> object:
    """An RFC 3339 time in UTC. The years are those that every database can give back."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None or time.year not in _YEARS:
        raise ValueError("must be a time like 2026-01-31T12:00:00Z")
    return time.astimezone(UTC)


Time = Annotated[datetime | None, BeforeValidator(_time)]
Count = Annotated[int | None, Field(ge=0, le=2**31 - 1)]


class Record(BaseModel):
    """The record of a finished job. Fields that are not listed here are kept as they are."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    schema_version: int | Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
    """The version of this format: `1`. A minor part, as in `1.2`, is accepted whatever it is."""

    revision: int = Field(ge=0, le=2**53 - 1)
    """The highest revision of a uid is the one that is kept."""

    uid: str = Field(pattern=UID_PATTERN)
    """`metadata.uid` of the job; also the last part of the path."""

    namespace: str = Field(min_length=1, max_length=253)
    name: str = Field(min_length=1, max_length=253)
    cluster: str | None = Field(default=None, max_length=253)
    labels: dict[str, str] | None = None
    attempt: Count = None
    phase: str | None = Field(default=None, max_length=64)
    reason: str | None = None
    message: str | None = None
    created_at: Time = None
    started_at: Time = None
    completed_at: Time = None
    """When the job finished. Lists are ordered by it."""

    duration_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    num_nodes: Count = None
    framework: str | None = Field(default=None, max_length=64)
    images: list[str] | None = None
    resources: dict[str, JsonValue] | None = None
    restarts: Count = None
    disruptions: Count = None
    exit_code: int | None = Field(default=None, ge=-(2**31), le=2**31 - 1)
    logs: JsonValue = None
    spec: dict[str, JsonValue] | None = None
    """The job's own spec; the sender replaces every environment value by `***`."""

    spec_omitted: bool | None = None
    """True: the record was too large with its spec, and the sender or this service left it out."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that can be stored.

    Attributes:
        record: what was understood.
        body: the body as it was sent, without its spec if it is large.
        digest: SHA-256 of the content as it was sent, whatever the order of its keys.
        size: bytes of the body.
    """

    record: Record
    body: str
    digest: str
    size: int

    @property
    def uid(self) -> str:
        """The key."""
        return self.record.uid

    @property
    def ordered_at(self) -> datetime:
        """The place in lists: of the record's own times alone, so that it never moves."""
        return self.record.completed_at or self.record.created_at or _EPOCH

    @property
    def indexed_labels(self) -> dict[str, str]:
        """The labels that can be searched for."""
        fitting = {
            storable(key): storable(value)
            for key, value in sorted((self.record.labels or {}).items())
            if len(key) <= MAX_LABEL_KEY and len(value) <= MAX_LABEL_VALUE
        }
        return dict(list(fitting.items())[:MAX_INDEXED_LABELS])


def parse_entry(uid: str, body: bytes, idempotency_key: str | None = None) -> Entry:
    """Parse the body of a PUT.

    Args:
        uid: of the path.
        body: as it came.
        idempotency_key: the header. One of the form `<uid>:<revision>:<sha256 of body>` is held
            against what came, which finds a body that was changed on its way; any other is the
            sender's own affair.

    Raises:
        NotJsonError: it is not JSON, or not the body that was sent.
        InvalidRecordError: it is not a record, or that of another job.
    """
    try:
        content = from_json(body, allow_inf_nan=False)
        text = body.decode()
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise NotJsonError("the body is not JSON") from error
    if not isinstance(content, dict):
        raise InvalidRecordError("the body is JSON, but not an object")
    _check_version(content)
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        raise InvalidRecordError(explain(error)) from error
    if record.uid != uid:
        raise InvalidRecordError(f"the path names uid {uid} and the body another one")
    _check_key(idempotency_key, record, body)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    if len(body) > MAX_WITH_SPEC and record.spec is not None:
        content |= {"spec": None, "specOmitted": True}
        record = record.model_copy(update={"spec": None, "spec_omitted": True})
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Entry(record, text, digest, len(text.encode()))


def storable(text: str) -> str:
    """Return text for a column. PostgreSQL has no NUL in its texts; the body keeps it, escaped."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def searchable(text: str) -> str:
    """Return text as it is compared in searches."""
    return storable(text).casefold()


def explain(error: ValidationError) -> str:
    """Return which fields are wrong, and why, without their values."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [
        f"{'.'.join(str(part)[:64] for part in fault['loc'][:4])}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:_MAX_FAULTS]
    ]
    more = len(faults) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _check_version(content: dict[str, Any]) -> None:
    """Refuse another major version first: its other faults would only mislead."""
    version = content.get("schemaVersion")
    if isinstance(version, bool) or not isinstance(version, int | str):
        raise InvalidRecordError(f"schemaVersion: must be {SCHEMA_MAJOR}")
    if str(version).partition(".")[0] != str(SCHEMA_MAJOR):
        raise InvalidRecordError(
            f"schemaVersion: this service understands version {SCHEMA_MAJOR} of the record; "
            "upgrade it, or send that version"
        )


def _check_key(key: str | None, record: Record, body: bytes) -> None:
    match = _OUR_KEY.fullmatch(key) if key else None
    if match is None:
        return
    if (match["uid"], int(match["revision"])) != (record.uid, record.revision):
        raise NotJsonError("Idempotency-Key names another uid or revision than the body")
    if match["digest"] != hashlib.sha256(body).hexdigest():
        raise NotJsonError("the body is not the one whose SHA-256 Idempotency-Key gives")
