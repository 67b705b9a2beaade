"""Parses and validates the body of a PUT into an entry that can be stored.

The body is stored as it was sent, so fields of later versions are kept. Above `MAX_WITH_SPEC` bytes
the spec is dropped, and `specOmitted` is set. The values for lists and searches are copied from the
body into columns, with length limits; those columns are only an index.
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
"""The only major version of the record format that is accepted."""

MAX_WITH_SPEC: Final = 64 * 1024
"""Bytes of the largest body that is stored with its spec. A record without its spec has a few
kilobytes: without this limit, a thousand large jobs would use the space of a hundred thousand others."""

UID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
MAX_INDEXED_LABELS: Final = 64
"""Labels beyond this number, in alphabetical order, stay in the body but cannot be searched."""

MAX_LABEL_KEY: Final = 317
MAX_LABEL_VALUE: Final = 63
MAX_REASON: Final = 256
MAX_MESSAGE: Final = 1024
_MAX_FAULTS: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(1970, 9000)
_OUR_KEY: Final = re.compile(r"(?P<uid>.+):(?P<revision>\d+):(?P<digest>[0-9a-f]{64})")


def _time(value: object) -> object:
    """Parse an RFC 3339 time to UTC. Only years that every database can return are accepted."""
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
    """The record of a finished job. Fields that are not defined here are stored unchanged."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    schema_version: int | Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
    """The version of this format: `1`. Any minor version, as in `1.2`, is accepted."""

    revision: int = Field(ge=0, le=2**53 - 1)
    """Of each uid, the highest revision is kept."""

    uid: str = Field(pattern=UID_PATTERN)
    """`metadata.uid` of the job; also the last segment of the URL path."""

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
    """Time when the job finished. Lists are sorted by it."""

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
    """The job's spec; the sender replaces every environment value by `***`."""

    spec_omitted: bool | None = None
    """True: with its spec the record was too large, so the sender or this service dropped the spec."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record that can be stored.

    Attributes:
        record: the parsed record.
        body: the body as it was sent, without its spec if it is large.
        digest: SHA-256 of the content as it was sent, independent of the order of its keys.
        size: bytes of `body`.
    """

    record: Record
    body: str
    digest: str
    size: int

    @property
    def uid(self) -> str:
        """The record's uid, which is the primary key."""
        return self.record.uid

    @property
    def ordered_at(self) -> datetime:
        """The sort key in lists. It depends only on the record's own times, so it never changes."""
        return self.record.completed_at or self.record.created_at or _EPOCH

    @property
    def indexed_labels(self) -> dict[str, str]:
        """The labels that can be searched."""
        fitting = {
            storable(key): storable(value)
            for key, value in sorted((self.record.labels or {}).items())
            if len(key) <= MAX_LABEL_KEY and len(value) <= MAX_LABEL_VALUE
        }
        return dict(list(fitting.items())[:MAX_INDEXED_LABELS])


def parse_entry(uid: str, body: bytes, idempotency_key: str | None = None) -> Entry:
    """Parse the body of a PUT.

    Args:
        uid: the uid in the URL path.
        body: the body that was received.
        idempotency_key: the Idempotency-Key header. If it has the form
            `<uid>:<revision>:<sha256 of body>`, it is compared with the body, which detects a body
            that was changed in transit. Any other key is ignored.

    Raises:
        NotJsonError: the body is not JSON, or not the one that the key names.
        InvalidRecordError: the body is not a valid record, or that of another job.
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
    """Return text for a column. PostgreSQL cannot store NUL in text; the body has it escaped."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def searchable(text: str) -> str:
    """Return text in the normalized form that searches compare."""
    return storable(text).casefold()


def explain(error: ValidationError) -> str:
    """Return the names and the faults of the invalid fields, without their values."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [
        f"{'.'.join(str(part)[:64] for part in fault['loc'][:4])}: "
        f"{fault['msg'].removeprefix('Value error, ')}"
        for fault in faults[:_MAX_FAULTS]
    ]
    more = len(faults) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _check_version(content: dict[str, Any]) -> None:
    """Refuse another major version first: further error messages would only mislead."""
    version = content.get("schemaVersion")
    if isinstance(version, bool) or not isinstance(version, int | str):
        raise InvalidRecordError(f"schemaVersion: must be {SCHEMA_MAJOR}")
    if str(version).partition(".")[0] != str(SCHEMA_MAJOR):
        raise InvalidRecordError(
            f"schemaVersion: this service understands version {SCHEMA_MAJOR} of the record; "
            "upgrade the service, or send that version"
        )


def _check_key(key: str | None, record: Record, body: bytes) -> None:
    match = _OUR_KEY.fullmatch(key) if key else None
    if match is None:
        return
    if (match["uid"], int(match["revision"])) != (record.uid, record.revision):
        raise NotJsonError("Idempotency-Key names another uid or revision than the body")
    if match["digest"] != hashlib.sha256(body).hexdigest():
        raise NotJsonError("the body is not the one whose SHA-256 Idempotency-Key gives")
