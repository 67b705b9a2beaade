"""Shared parts of both kinds: the base class of wire models, bounded scalars and conditions.

The models are the only source of the CRDs: a field's docstring is printed by `kubectl explain`, and
its type and bounds are enforced by the API server.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from trainingjob_api.constants import MAX_CONDITIONS
from trainingjob_api.rules import ROOM_FOR_OUR_CONDITIONS, Rule, extension

MAX_INT32 = 2**31 - 1
MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON parser keeps exactly, including the API server's bounds."""


def schema_extra(*rules: Rule, **keywords: Any) -> dict[str, Any]:
    """Return `json_schema_extra` for a model or a field: OpenAPI keywords and CEL rules.

    Args:
        *rules: CEL rules, which the API server checks beyond types and bounds.
        **keywords: `list_type="map"` becomes `x-kubernetes-list-type: map`; `format` stays.
    """
    plain = {"format", "maxProperties"}
    extra = {
        key if key in plain else f"x-kubernetes-{key.replace('_', '-')}": value
        for key, value in keywords.items()
    }
    return extra | extension(rules)


class WireModel(BaseModel):
    """Base class for parts of an object in the API's JSON form.

    Unknown fields (of a newer CRD) are ignored; known fields are strict: no string or float is
    accepted as an integer. Null means absent, as for the API server. Lists become tuples; parsing
    stops at the first invalid item, because a list may have a million items.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


Count = Annotated[int, Field(ge=0, le=MAX_INT32, json_schema_extra={"format": "int32"})]
"""A count."""

BigCount = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER, json_schema_extra={"format": "int64"})]
"""A number of bytes, or a total that is never reset."""

Seconds = Annotated[int, Field(ge=0, le=MAX_INT32, json_schema_extra={"format": "int32"})]
"""A duration in whole seconds; at most 68 years, so that adding it to a time cannot overflow."""

Deadline = Annotated[int, Field(ge=1, le=MAX_INT32, json_schema_extra={"format": "int32"})]
"""A duration in whole seconds, at least 1."""

Time = Annotated[AwareDatetime, Field(strict=False)]
"""A time in RFC 3339, such as `2026-01-31T12:00:00Z`."""

Reason = Annotated[
    str,
    Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
]
"""A machine-readable reason in CamelCase."""

Message = Annotated[str, Field(max_length=32768)]
"""A human-readable message."""


class Condition(WireModel):
    """One observation of the object's state, in the form of metav1.Condition."""

    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=316,
            pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        ),
    ]
    """Type of the condition, in CamelCase."""

    status: Literal["True", "False", "Unknown"]
    """Status of the condition: True, False or Unknown."""

    reason: Reason
    """Machine-readable reason for the status, in CamelCase."""

    message: Message
    """Human-readable explanation of the status; may be empty."""

    last_transition_time: Time
    """Time at which `status` last changed from one value to another."""

    observed_generation: BigCount | None = None
    """The `metadata.generation` that the condition was derived from."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        strict=False,
        fail_fast=True,
        max_length=MAX_CONDITIONS,
        json_schema_extra=schema_extra(
            ROOM_FOR_OUR_CONDITIONS, list_type="map", list_map_keys=["type"]
        ),
    ),
]
"""At most one condition of each type."""
