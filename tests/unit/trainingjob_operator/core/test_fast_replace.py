"""`replace_fields` copies a dataclass only if a field differs."""

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from trainingjob_operator.core.fast_replace import copy_with, differing_fields, replace_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    count: int = 0
    names: tuple[str, ...] = ()


def test_equal_fields_return_the_same_object() -> None:
    thing = Thing(count=2, names=("a",))
    assert replace_fields(thing, count=2, names=(*thing.names,)) is thing
    assert replace_fields(thing) is thing


def test_a_differing_field_returns_a_copy_with_all_changes() -> None:
    thing = Thing(count=2, names=("a",))
    assert replace_fields(thing, count=2, names=()) == Thing(count=2)
    assert thing == Thing(count=2, names=("a",))


def test_an_unknown_field_raises_an_error() -> None:
    with pytest.raises(AttributeError):
        replace_fields(Thing(), colour="red")


def test_a_copy_equals_what_the_constructor_makes() -> None:
    thing = Thing(count=2, names=("a",))
    copy = copy_with(thing, names=("b",))
    assert copy == replace(thing, names=("b",))
    assert copy is not copy_with(copy)
    assert hash(copy) == hash(Thing(count=2, names=("b",)))
    with pytest.raises(FrozenInstanceError):
        copy.count = 3  # type: ignore[misc]


def test_a_copy_with_an_unknown_field_raises_an_error() -> None:
    with pytest.raises(KeyError):
        copy_with(Thing(), colour="red")


def test_differing_fields_are_named() -> None:
    thing = Thing(count=2, names=("a",))
    assert differing_fields(thing, Thing(count=2, names=("a",))) == frozenset()
    assert differing_fields(thing, Thing(count=3, names=())) == {"count", "names"}


@dataclass(frozen=True)
class Open:
    count: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judging:
    count: int = 0
    double: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "double", 2 * self.count)


@pytest.mark.parametrize("thing", [Open(), Judging()])
def test_a_class_that_cannot_be_copied_by_slots_is_rejected(thing: Open | Judging) -> None:
    with pytest.raises(TypeError, match="cannot be copied"):
        copy_with(thing, count=1)
