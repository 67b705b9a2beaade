"""What both kinds share: the base of every wire model, bounded scalars and conditions.

The models are the one source of the CRDs: what a field's docstring, type and bounds say here is
what `kubectl explain` prints and what the API server enforces.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from trainingjob_api.constants import MAX_CONDITIONS
from trainingjob_api.rules import ROOM_FOR_OUR_CONDITIONS, Rule, extension

MAX_INT32 = 2**31 - 1
MAX_SAFE_INTEGER = 2**53 - 1
"""The largest whole number that every JSON reader, the API server's bounds included, keeps."""


def schema_extra(*rules: Rule, **keywords: Any) -> dict[str, Any]:
    """`json_schema_extra` for a model or a field: OpenAPI keywords and CEL rules.

    Args:
        *rules: what the API server checks beyond types and bounds.
        **keywords: `list_type="map"` becomes `x-kubernetes-list-type: map`; `format` stays.
    """
    plain = {"format", "maxProperties"}
    extra = {
        key if key in plain else f"x-kubernetes-{key.replace('_', '-')}": value
        for key, value in keywords.items()
    }
    return extra | extension(rules)


class WireModel(BaseModel):
    """A part of an object as the API server sends it.

    Tolerant of what it does not know (a newer CRD), strict about what it does: no text or float
    passes for a whole number. Null means absent, as for the API server. Lists become tuples, and
    are given up at the first bad item, because there may be a million of them.
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
"""A number of things."""

BigCount = Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER, json_schema_extra={"format": "int64"})]
"""A number of bytes, or a total that never starts again."""

Seconds = Annotated[int, Field(ge=0, le=MAX_INT32, json_schema_extra={"format": "int32"})]
"""A duration in whole seconds; the largest is 68 years, so that adding it to a time is safe."""

Deadline = Annotated[int, Field(ge=1, le=MAX_INT32, json_schema_extra={"format": "int32"})]
"""A duration in whole seconds, at least one."""

Time = Annotated[AwareDatetime, Field(strict=False)]
"""A moment in RFC 3339, as in `2026-01-31T12:00:00Z`."""

Reason = Annotated[
    str,
    Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
]
"""A CamelCase word for programs."""

Message = Annotated[str, Field(max_length=32768)]
"""A sentence for people."""


class Condition(WireModel):
    """One observation of the object's state, in the shape that all of Kubernetes shares."""

    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=316,
            pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        ),
    ]
    """What is observed, in CamelCase."""

    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""

    reason: Reason
    """Why, in one CamelCase word for programs."""

    message: Message
    """Why, in a sentence for people; may be empty."""

    last_transition_time: Time
    """When `status` last changed from one value to another."""

    observed_generation: BigCount | None = None
    """The `metadata.generation` that was looked at."""


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
