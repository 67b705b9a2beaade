"""Copies of what never changes: only of what differs.

A pass over a job derives its status anew, and most of it is what it was. `dataclasses.replace` copies
all the same, field by field.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Frozen = TypeVar("Frozen", bound="DataclassInstance")


def having(thing: Frozen, **fields: Any) -> Frozen:
    """Return a frozen dataclass with these fields: itself if it has them already."""
    for name, value in fields.items():
        current = getattr(thing, name)
        if current is not value and current != value:
            return replace(thing, **fields)
    return thing
