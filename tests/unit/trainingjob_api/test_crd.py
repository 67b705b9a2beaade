"""The CRDs: printer columns, bounds and descriptions of fields, and their size."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack import generate
from trainingjob_api import crd
from trainingjob_api.constants import MAX_CONDITIONS

DEFINITIONS = {
    definition["spec"]["names"]["kind"]: definition
    for definition in (crd.training_job_crd(), crd.retention_policy_crd())
}
MAX_APPLIED_BYTES = 262_144
"""Maximum size of the annotation in which `kubectl apply` keeps an object."""

BOUNDS = {
    "integer": ({"minimum", "maximum"},),
    "string": ({"maxLength"}, {"enum"}, {"format"}),
    "array": ({"maxItems"},),
    "object": ({"properties"}, {"additionalProperties", "maxProperties"}),
    "boolean": (set(),),
}


def version_of(kind: str) -> dict[str, Any]:
    version: dict[str, Any] = DEFINITIONS[kind]["spec"]["versions"][0]
    return version


def our_nodes() -> Iterator[Any]:
    """Every node of both schemas that is ours: not the pod template, not the object's envelope."""

    def walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        yield path, schema
        if path == "TrainingJob.spec.template":
            return
        for name, child in schema.get("properties", {}).items():
            yield from walk(child, f"{path}.{name}")
        for keyword in ("items", "additionalProperties"):
            if keyword in schema:
                yield from walk(schema[keyword], f"{path}[]")

    for kind in DEFINITIONS:
        root = version_of(kind)["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            yield from walk(root["properties"][part], f"{kind}.{part}")


NODES = [pytest.param(path, schema, id=path) for path, schema in our_nodes()]


@pytest.mark.parametrize(("path", "schema"), NODES)
def test_every_field_of_ours_has_a_description_and_bounds(
    path: str, schema: dict[str, Any]
) -> None:
    assert path.endswith("[]") or len(schema["description"]) > 10
    assert any(bounds <= set(schema) for bounds in BOUNDS[schema["type"]])


def test_the_rendered_yaml_contains_both_crds() -> None:
    assert list(yaml.safe_load_all(crd.render_yaml())) == list(DEFINITIONS.values())


def test_the_files_in_the_repository_are_up_to_date() -> None:
    assert generate.out_of_date(generate.generated()) == []


def test_check_names_outdated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    files = {"a/one.yaml": "1", "two.yaml": "2"}
    assert generate.out_of_date(files) == list(files)
    assert generate.update(files, check=True)
    assert not list(tmp_path.iterdir())

    assert generate.update(files, check=False)
    assert not generate.update(files, check=True)
    (tmp_path / "two.yaml").write_text("other", encoding="utf-8")

    assert generate.out_of_date(files) == ["two.yaml"]


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_the_crd_fits_into_the_last_applied_annotation(kind: str) -> None:
    stored = json.dumps(DEFINITIONS[kind], separators=(",", ":"))
    escaped_by_go = sum(stored.count(character) for character in "<>&") * 5

    assert len(stored) + escaped_by_go < MAX_APPLIED_BYTES


@pytest.mark.parametrize(
    ("kind", "shown", "wide"),
    [
        (
            "TrainingJob",
            ["Phase", "Nodes", "Ready", "Restarts", "Record", "Completed", "Age"],
            ["Framework", "Attempt", "Reason"],
        ),
        ("RetentionPolicy", ["TTL", "Last", "Jobs", "Files", "Freed", "Errors", "Next"], []),
    ],
)
def test_kubectl_get_shows_these_columns(kind: str, shown: list[str], wide: list[str]) -> None:
    columns = version_of(kind)["additionalPrinterColumns"]

    assert [c["name"] for c in columns if not c.get("priority")] == shown
    assert [c["name"] for c in columns if c.get("priority")] == wide


def test_names_are_those_that_users_type() -> None:
    names = {kind: d["spec"]["names"] for kind, d in DEFINITIONS.items()}

    assert names["TrainingJob"]["shortNames"] == ["tj"]
    assert names["RetentionPolicy"]["shortNames"] == ["rp"]
    assert {name["singular"] for name in names.values()} == {"trainingjob", "retentionpolicy"}
    assert all(name["categories"] == ["training"] for name in names.values())


def test_status_is_a_subresource_and_jobs_are_selectable_by_phase_and_record() -> None:
    assert all(version_of(kind)["subresources"] == {"status": {}} for kind in DEFINITIONS)
    assert version_of("TrainingJob")["selectableFields"] == [
        {"jsonPath": ".status.phase"},
        {"jsonPath": ".status.recordState"},
    ]


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_conditions_are_a_bounded_map_by_type(kind: str) -> None:
    status = version_of(kind)["schema"]["openAPIV3Schema"]["properties"]["status"]
    conditions = status["properties"]["conditions"]

    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["maxItems"] == MAX_CONDITIONS
    assert set(conditions["items"]["required"]) == {
        "type",
        "status",
        "reason",
        "message",
        "lastTransitionTime",
    }


def test_the_crds_are_new_copies_each_time() -> None:
    crd.training_job_crd()["spec"].clear()
    crd.retention_policy_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clear()

    assert crd.training_job_crd() == DEFINITIONS["TrainingJob"]
    assert crd.retention_policy_crd() == DEFINITIONS["RetentionPolicy"]
