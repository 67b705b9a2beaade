"""Response models, which the OpenAPI document is generated from, and error responses."""

import json
from datetime import datetime
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from sqlalchemy import Row
from starlette.responses import JSONResponse

from trainingjob_records.errors import RequestError, UnauthorizedError
from trainingjob_records.writes import Result


class _Answer(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        use_enum_values=True,
    )


class Stored(_Answer):
    """The response to a PUT: the record is committed."""

    uid: str
    """The uid that was sent. It proves that a record service responded, and not a log-in page."""

    revision: int
    """The stored revision. It is higher than the one sent if a newer revision was stored before."""

    result: Result
    """`stored`, `unchanged` (the same content again), or `superseded` (a higher revision is stored)."""


class Summary(_Answer):
    """A record in a list: without its spec, at most 64 labels and 1,024 characters of the message."""

    uid: str
    revision: int
    schema_version: str
    cluster: str | None
    namespace: str
    name: str
    labels: dict[str, str]
    attempt: int | None
    phase: str | None
    reason: str | None
    message: str | None
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    num_nodes: int | None
    framework: str | None
    restarts: int | None
    disruptions: int | None
    exit_code: int | None
    stored_at: datetime

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Return the summary of a database row."""
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
        return cls.model_validate(values | {"labels": json.loads(values["labels"])})


class Listed(_Answer):
    """A page of the list, the newest first."""

    items: list[Summary]
    next: str | None
    """Send it as `cursor` to get the next page; null: this is the last one. A page of a text search
    can have few items, or none, and still be followed by another one."""


class Refusal(_Answer):
    """The body of every error response."""

    error: str
    """A sentence that describes the error."""


_REASONS: Final = {
    400: "The body is not JSON, or not the one that Idempotency-Key names.",
    401: "A bearer token is required, or the given token is not known.",
    403: "Without a token, only localhost is served.",
    404: "There is no such record.",
    408: "The body was not received in time.",
    409: "The same revision is stored with other content.",
    413: "The body is too large.",
    415: "The body is not plain JSON.",
    422: "A field or a parameter is invalid.",
    503: "The database is unavailable or the queue is full; `Retry-After` says when to retry.",
    507: "The database is full; `Retry-After` says when to retry.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of one operation, for the OpenAPI document."""
    return {
        status: {"model": Refusal, "description": _REASONS[status]} for status in sorted(statuses)
    }


def error_response(error: RequestError) -> JSONResponse:
    """Return the HTTP response for an exception of the record service."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = error.challenge
    return error_body(error.status, str(error), headers)


def error_body(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an error response with this text."""
    return JSONResponse({"error": text}, status_code=status, headers=headers)
