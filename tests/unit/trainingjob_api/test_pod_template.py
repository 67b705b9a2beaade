"""The translation of a live server's pod template into a CRD's dialect, and the result of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from hack.pod_template_schema import QUANTITY, Translator, first_sentence
from trainingjob_api.pod_template import IGNORED_METADATA, pod_template_schema


def test_a_reference_is_replaced_and_the_fields_own_description_wins() -> None:
    schemas = {"a.Port": {"type": "integer", "format": "int32", "description": "A port."}}
    field = {"description": "Where to.", "allOf": [{"$ref": "#/components/schemas/a.Port"}]}

    got = Translator(schemas).translate(field)

    assert got == {"description": "Where to.", "type": "integer", "format": "int32"}


def test_zero_defaults_are_removed_and_others_kept() -> None:
    schema = {
        "type": "object",
        "properties": {
            "port": {"type": "integer", "default": 0},
            "protocol": {"type": "string", "default": "TCP"},
        },
    }

    got = Translator({}).translate(schema)["properties"]

    assert got == {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}}


def test_a_key_of_a_list_map_gets_a_default_unless_it_is_required() -> None:
    schema = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name", "kind"],
        "items": {
            "type": "object",
            "required": ["kind"],
            "properties": {"name": {"type": "string"}, "kind": {"type": "string"}},
        },
    }

    got = Translator({}).translate(schema)["items"]["properties"]

    assert got == {"name": {"type": "string", "default": ""}, "kind": {"type": "string"}}


def test_a_quantity_takes_numbers_and_text() -> None:
    name = "io.k8s.apimachinery.pkg.api.resource.Quantity"

    got = Translator({}).translate({"$ref": f"#/components/schemas/{name}"})

    assert got == QUANTITY


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("One. Two.", "One."),
        ("One", "One."),
        ("One,\nmore", "One."),
        ("Set it, e.g. To this. Two", "Set it, e.g. To this."),
        ("Version 1.2 of it. Two", "Version 1.2 of it."),
        ("One.  `two` follows", "One."),
    ],
)
def test_only_the_first_sentence_of_a_description_is_kept(text: str, want: str) -> None:
    assert first_sentence(text) == want


def template_nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        yield path, schema
        for name, child in schema.get("properties", {}).items():
            yield from walk(child, f"{path}.{name}")
        for keyword in ("items", "additionalProperties"):
            if keyword in schema:
                yield from walk(schema[keyword], f"{path}[]")

    yield from walk(pod_template_schema(), "template")


def test_the_schema_has_a_type_everywhere_and_no_references() -> None:
    nodes = dict(template_nodes())

    assert len(nodes) > 1000
    assert [
        path
        for path, node in nodes.items()
        if ("type" in node) == ("x-kubernetes-int-or-string" in node)
    ] == []
    assert [path for path, node in nodes.items() if {"$ref", "allOf", "oneOf"} & set(node)] == []


def test_every_field_of_a_template_is_described() -> None:
    assert [
        path
        for path, node in template_nodes()
        if not path.endswith("[]") and not node.get("description")
    ] == []


def test_a_template_has_labels_and_annotations_and_what_is_ignored_and_needs_containers() -> None:
    nodes = dict(template_nodes())

    known = {"labels", "annotations", *IGNORED_METADATA}
    assert set(nodes["template.metadata"]["properties"]) == known
    assert nodes["template"]["required"] == ["spec"]
    assert nodes["template.spec"]["required"] == ["containers"]
    assert "template.spec.ephemeralContainers" not in nodes
