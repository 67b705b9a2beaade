"""Copies of what never changes: only of what differs, and without its constructor.

A pass over a job derives its status anew, and most of it is what it was. `dataclasses.replace` copies
all the same, and hands every field to a constructor that sets one after the other: it was a seventh of
what a pass cost.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Frozen = TypeVar("Frozen", bound="DataclassInstance")


def replace_fields(thing: Frozen, **changes: Any) -> Frozen:
    """Return a frozen dataclass with these fields: itself if it has them already."""
    for name, value in changes.items():
        current = getattr(thing, name)
        if current is not value and current != value:
            return copy_with(thing, **changes)
    return thing


def copy_with(thing: Frozen, **changes: Any) -> Frozen:
    """Return a copy of a dataclass with slots, with these fields."""
    shape = _shape_of(type(thing))
    copy = object.__new__(type(thing))
    for put, value in zip(shape.puts, shape.values(thing), strict=True):
        put(copy, value)
    for name, value in changes.items():
        shape.put[name](copy, value)
    return copy


def differing_fields(old: Frozen, new: Frozen) -> frozenset[str]:
    """Return the names of the fields in which two of a kind differ."""
    shape = _shape_of(type(new))
    pairs = zip(shape.put, shape.values(old), shape.values(new), strict=True)
    return frozenset(name for name, was, is_now in pairs if was is not is_now and was != is_now)


class _Shape(NamedTuple):
    """The fields of a dataclass.

    Attributes:
        values: returns those of an instance, in order.
        puts: sets each of them, in the same order.
        put: the same by name.
    """

    values: Callable[[Any], tuple[Any, ...]]
    puts: tuple[Callable[[Any, Any], None], ...]
    put: Mapping[str, Callable[[Any, Any], None]]


@cache  # one for each dataclass that there is
def _shape_of(kind: type[Any]) -> _Shape:
    """Return the fields of a dataclass.

    Raises:
        TypeError: it has no slots, fewer than two fields, or makes something of them when it is
            constructed.
    """
    names = tuple(field.name for field in fields(kind))
    if len(names) < 2 or "__slots__" not in vars(kind) or hasattr(kind, "__post_init__"):  # noqa: PLR2004
        raise TypeError(f"{kind.__name__} cannot be copied field by field")
    put = {name: getattr(kind, name).__set__ for name in names}
    return _Shape(attrgetter(*names), tuple(put.values()), put)
