"""The HTTP API of records: put one, get one, list them."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from trainingjob_records.auth import Gate
from trainingjob_records.batching import BatchWriter
from trainingjob_records.cursor import Cursor
from trainingjob_records.database import Database
from trainingjob_records.errors import ConflictError, InvalidRecordError, NotFoundError
from trainingjob_records.metrics import Metrics
from trainingjob_records.queries import Filter, read_body, read_page
from trainingjob_records.record import (
    MAX_LABEL_KEY,
    MAX_LABEL_VALUE,
    UID_PATTERN,
    Record,
    Time,
    parse_entry,
)
from trainingjob_records.request_body import read_json_body
from trainingjob_records.responses import Listed, Stored, Summary, error_responses
from trainingjob_records.writes import Result
from trainingjob_web.connections import ACCEPTED

PREFIX: Final = "/api/v1/jobs"
MAX_PAGE: Final = 200
MAX_TEXT: Final = 100
MAX_LABELS: Final = 8

_bearer: Final = HTTPBearer(auto_error=False, description="One of the tokens of the token file.")
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Record"}}},
    }
}
Uid = Annotated[str, Path(pattern=UID_PATTERN, description="`metadata.uid` of the job.")]


class ListQuery(BaseModel):
    """The query parameters of a list. Unknown ones are refused, because they would filter nothing."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    namespace: str | None = Field(default=None, min_length=1, max_length=253)
    phase: str | None = Field(default=None, min_length=1, max_length=64)
    label: list[str] = Field(default_factory=list, max_length=MAX_LABELS)
    """`KEY=VALUE`; if repeated, a record must have all of the labels."""

    since: Time = None
    """Only records completed at this time or later."""

    until: Time = None
    """Only records completed before this time."""

    text: str | None = Field(default=None, min_length=1, max_length=MAX_TEXT)
    """Substring of the name, namespace, cluster, reason or message, case-insensitive."""

    limit: int = Field(default=50, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(default=None, min_length=1, max_length=512)
    """The `next` of the previous page."""

    def filter(self) -> Filter:
        """Return these parameters as a filter.

        Raises:
            InvalidRecordError: a label is not KEY=VALUE.
        """
        return Filter(
            namespace=self.namespace,
            phase=self.phase,
            labels=tuple(_label(text) for text in self.label),
            since=self.since,
            until=self.until,
            text=self.text,
        )


class JobsApi:
    """Handles the requests for records; `router` has the routes."""

    def __init__(
        self,
        *,
        database: Database,
        writer: BatchWriter,
        gate: Gate,
        metrics: Metrics,
        max_body: int,
    ) -> None:
        self._database: Final = database
        self._writer: Final = writer
        self._gate: Final = gate
        self._metrics: Final = metrics
        self._max_body: Final = max_body
        self.router: Final = APIRouter(
            prefix=PREFIX,
            tags=["records"],
            dependencies=[Depends(self._check)],
            responses=error_responses(401, 403, 422, 503),
        )
        add = self.router.add_api_route
        add(
            "/{uid}",
            self.put,
            methods=["PUT"],
            operation_id="putRecord",
            summary="Store a record",
            response_model=Stored,
            responses=error_responses(400, 408, 409, 413, 415, 507),
            openapi_extra=_BODY,
        )
        add(
            "/{uid}",
            self.get,
            methods=["GET"],
            operation_id="getRecord",
            summary="Get a record as it was sent",
            response_model=None,
            responses={200: {"model": Record}, **error_responses(404)},
        )
        add(
            "",
            self.list,
            methods=["GET"],
            operation_id="listRecords",
            summary="List records, the newest first",
            response_model=Listed,
        )

    async def _check(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> None:
        headers = request.headers
        self._gate.check(
            authorization=headers.get("authorization"),
            host=headers.get("host"),
            reads=request.method == "GET",
        )
        setattr(request.state, ACCEPTED, True)

    async def put(
        self,
        uid: Uid,
        request: Request,
        idempotency_key: Annotated[
            str | None,
            Header(description="Checked if it has the form `<uid>:<revision>:<sha256 of body>`."),
        ] = None,
    ) -> Response:
        """Store a record; of each uid the highest revision is kept. Responds after the commit."""
        body = await read_json_body(request, max_bytes=self._max_body)
        entry = parse_entry(uid, body, idempotency_key)
        outcome = await self._writer.write(entry)
        self._metrics.count_result(outcome.result)
        if outcome.result is Result.CONFLICT:
            raise ConflictError(
                f"revision {outcome.revision} of {uid} is stored with other content; "
                "a change needs a higher revision"
            )
        stored = Stored(uid=uid, revision=outcome.revision, result=outcome.result)
        return Response(stored.model_dump_json(by_alias=True), media_type="application/json")

    async def get(self, uid: Uid) -> Response:
        """Return the record of this uid, with the stored bytes."""
        async with self._database.reading() as connection:
            body = await read_body(connection, uid)
        if body is None:
            raise NotFoundError(f"there is no record of {uid}")
        return Response(body, media_type="application/json")

    async def list(self, query: Annotated[ListQuery, Query()]) -> Response:
        """Return a page of summaries, ordered by the time of completion, then by uid, both descending."""
        wanted = query.filter()
        after = Cursor.decode(query.cursor) if query.cursor is not None else None
        async with self._database.reading() as connection:
            page = await read_page(connection, wanted, limit=query.limit, after=after)
        listed = Listed(
            items=[Summary.of(row) for row in page.rows],
            next=page.next.encode() if page.next is not None else None,
        )
        return Response(listed.model_dump_json(by_alias=True), media_type="application/json")


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals or len(key) > MAX_LABEL_KEY or len(value) > MAX_LABEL_VALUE:
        raise InvalidRecordError("label: must be KEY=VALUE, within Kubernetes' length limits")
    return key, value
