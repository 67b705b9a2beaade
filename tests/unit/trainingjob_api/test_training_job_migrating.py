"""docs/migrating.md agrees with the schema about our fields."""

import re
from collections.abc import Iterator
from typing import Any, Final

from tests.support.repository import ROOT
from trainingjob_api import crd
from trainingjob_api.constants import (
    JOB_CONDITIONS,
    LABEL_INDEX,
    MAIN_CONTAINER,
    RENDEZVOUS_PORT,
)

Object = dict[str, Any]

PAGE: Final = ROOT / "docs" / "migrating.md"
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text("utf-8").splitlines()
    if line.startswith("| ")
]


def schema() -> Object:
    version = crd.training_job_crd()["spec"]["versions"][0]
    found: Object = version["schema"]["openAPIV3Schema"]["properties"]
    return found


def names(node: Object) -> Iterator[str]:
    """The names of all fields below this part of the schema, and the values that they can have."""
    for name, child in node.get("properties", {}).items():
        yield name
        yield from names(child)
    yield from node.get("enum", ())
    if isinstance(node.get("items"), dict):
        yield from names(node["items"])


def known(word: str) -> bool:
    """True if such a field, value, condition, label or name of ours exists."""
    field, _, value = word.partition(": ")
    path = [part for part in field.split(".") if part != "metadata"]
    fields = {*names(schema()["spec"]), *names(schema()["status"]), "status", "uid"}
    others = {*JOB_CONDITIONS, LABEL_INDEX, MAIN_CONTAINER}
    return word in others or (
        all(part in fields for part in path) and (not value or value in fields or value.isdigit())
    )


def test_every_field_of_ours_that_it_names_exists() -> None:
    named = {word for row in ROWS for word in re.findall(r"`([^`]+)`", row[1])}

    assert len(named) > 30
    assert not {word for word in named if not known(word)}


def test_every_row_has_three_columns() -> None:
    assert {len(row) for row in ROWS} == {3}


def test_the_defaults_that_it_states_are_those_of_the_schema() -> None:
    spec = schema()["spec"]["properties"]
    stated = {
        field: value
        for row in ROWS
        for field, value in re.findall(r"`(\w+)` \(`?(\w+)`?\)", row[1])
    }

    assert stated.pop("rendezvousPort") == str(RENDEZVOUS_PORT)
    assert stated == {name: str(spec[name]["default"]) for name in stated} != {}


def test_every_field_of_the_spec_is_in_it() -> None:
    page = PAGE.read_text("utf-8")

    assert not {name for name in schema()["spec"]["properties"] if f"`{name}" not in page}
