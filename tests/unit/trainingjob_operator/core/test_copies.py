"""A copy is made of what differs, and of nothing else."""

from dataclasses import dataclass

import pytest

from trainingjob_operator.core.copies import having


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    count: int = 0
    names: tuple[str, ...] = ()


def test_what_has_these_fields_already_is_not_copied() -> None:
    thing = Thing(count=2, names=("a",))
    assert having(thing, count=2, names=(*thing.names,)) is thing
    assert having(thing) is thing


def test_what_differs_in_any_of_them_is_a_copy_with_all_of_them() -> None:
    thing = Thing(count=2, names=("a",))
    assert having(thing, count=2, names=()) == Thing(count=2)
    assert thing == Thing(count=2, names=("a",))


def test_a_field_that_there_is_not_is_a_mistake() -> None:
    with pytest.raises(AttributeError):
        having(Thing(), colour="red")
