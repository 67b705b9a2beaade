"""The errors of invalid custom objects have the messages observed on a real 1.37.2 server."""

import time
from typing import Any

import pytest

from tests.support.apiserver.server_internals import put_raw
from tests.unit.trainingjob_sandbox.apiserver.widgets import Cluster, Object, widget
from trainingjob_api.crd import training_job_crd
from trainingjob_sandbox.apiserver import ApiError
from trainingjob_sandbox.apiserver.errors import NOT_CHECKED
from trainingjob_sandbox.apiserver.store import WriteOptions

MORE = f", <nil>: Invalid value: null: {NOT_CHECKED}]"


def refusal(cluster: Cluster, obj: Object, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        cluster.store.create("widgets", obj, options=WriteOptions(**options))
    return caught.value


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        (
            {"numNodes": 0},
            (
                "spec.numNodes: Invalid value: 0: spec.numNodes in body should be greater than or "
                "equal to 1"
            ),
        ),
        (
            {"numNodes": 2000},
            (
                "[spec.numNodes: Invalid value: 2000: spec.numNodes in body should be less than or "
                "equal to 1000, spec: Invalid value: too many]"
            ),
        ),
        (
            {"numNodes": "x"},
            (
                '[spec.numNodes: Invalid value: "string": spec.numNodes in body must be of type '
                f'integer: "string"{MORE}'
            ),
        ),
        (
            {"mode": "Z"},
            f'[spec.mode: Unsupported value: "Z": supported values: "A", "B", "bad"{MORE}',
        ),
        (
            {"name": "a"},
            'spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long',
        ),
        ({"name": "aaaaaa"}, f"[spec.name: Too long: may not be more than 5 bytes{MORE}"),
        (
            {"name": "A1"},
            "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
        ),
        (
            {"args": [1]},
            (
                '[spec.args[0]: Invalid value: "integer": spec.args[0] in body must be of type '
                f'string: "integer"{MORE}'
            ),
        ),
        (
            {"args": []},
            "spec.args: Invalid value: 0: spec.args in body should have at least 1 items",
        ),
        ({"args": ["a"] * 4}, f"[spec.args: Too many: 4: must have at most 3 items{MORE}"),
        (
            {"labels": {"a": "", "b": "", "c": ""}},
            f"[spec.labels: Too many: 3: must have at most 2 items{MORE}",
        ),
        (
            {"labels": {"a": 1}},
            (
                '[spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type '
                f'string: "integer"{MORE}'
            ),
        ),
        (
            {"port": 1.5},
            (
                '[spec.port: Invalid value: "number": spec.port in body must be of type '
                f'integer,string: "number"{MORE}'
            ),
        ),
        (
            {"when": "yesterday"},
            (
                '[spec.when: Invalid value: "yesterday": spec.when in body must be of type '
                f'date-time: "yesterday"{MORE}'
            ),
        ),
        (
            {"ratio": 0},
            "spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0",
        ),
        (
            {"ratio": 0.7},
            "spec.ratio: Invalid value: 0.7: spec.ratio in body should be a multiple of 0.5",
        ),
        ({"set": ["a", "b", "a"]}, 'spec.set[2]: Duplicate value: "a"'),
        (
            {"ports": [{"name": "a"}, {"name": "a", "value": 1}]},
            'spec.ports[1]: Duplicate value: {"name":"a"}',
        ),
        ({"ports": [{}]}, f"[spec.ports[0].name: Required value{MORE}"),
        (
            {"template": "x"},
            f'[spec.template: Invalid value: "string": spec.template in body must be of type object: "string"{MORE}',
        ),
        (
            {"small": 3_000_000_000},
            (
                '<nil>: Invalid value: "": Checked value must be of type integer with format int32 '
                "in spec.small"
            ),
        ),
        (
            {"small": 7},
            '<nil>: Invalid value: "": "spec.small" must not validate the schema (not)',
        ),
        (
            {"either": {"a": 1, "b": 2}},
            (
                '<nil>: Invalid value: "": "spec.either" must validate one and only one schema '
                "(oneOf)"
            ),
        ),
        (
            {"either": {"b": 1}},
            '<nil>: Invalid value: "": "spec.either" must validate at least one schema (anyOf)',
        ),
        ({"mode": "bad"}, "spec.mode: Forbidden: mode is bad"),
        ({"numNodes": 950}, "spec: Invalid value: too many"),
    ],
)
def test_an_invalid_object_is_rejected_with_the_real_servers_message(
    cluster: Cluster, spec: Object, want: str
) -> None:
    error = refusal(cluster, widget("w", **spec))

    assert error.code == 422
    assert str(error) == f'Widget.example.dev "w" is invalid: {want}'


def test_the_causes_name_field_reason_and_message(cluster: Cluster) -> None:
    error = refusal(cluster, widget("w", numNodes=0))

    assert error.status["details"] == {
        "name": "w",
        "group": "example.dev",
        "kind": "Widget",
        "causes": [
            {
                "reason": "FieldValueInvalid",
                "message": "Invalid value: 0: spec.numNodes in body should be greater than or "
                "equal to 1",
                "field": "spec.numNodes",
            }
        ],
    }


def test_a_missing_required_object_is_named_by_its_path(cluster: Cluster) -> None:
    without = {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": "w"}}

    assert "spec: Required value" in str(refusal(cluster, without))
    assert "spec.template: Required value" in str(refusal(cluster, {**without, "spec": {}}))


def test_a_rule_on_the_whole_object_sees_the_name(cluster: Cluster) -> None:
    error = refusal(cluster, widget("w" * 21))

    assert str(error).endswith("is invalid: <nil>: Invalid value: name too long")


def test_unknown_fields_are_dropped_and_reported(cluster: Cluster) -> None:
    options = WriteOptions()
    obj = widget("w", x=1, template={"image": "i", "y": 2}, free={"any": {"thing": [1]}})

    stored = cluster.store.create("widgets", obj, options=options)

    assert stored["spec"] == {
        "template": {"image": "i"},
        "free": {"any": {"thing": [1]}},
        "numNodes": 1,
    }
    assert options.unknown == ["spec.template.y", "spec.x"]


def test_strict_validation_refuses_unknown_and_repeated_fields(cluster: Cluster) -> None:
    error = refusal(
        cluster, widget("w", x=1, template={"y": 2}), strict=True, repeated=["spec.flag"]
    )

    assert error.code == 400
    assert str(error) == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: '
        'unknown field "spec.template.y", unknown field "spec.x", duplicate field "spec.flag"'
    )


def test_null_is_a_value_only_where_the_schema_says_so(cluster: Cluster) -> None:
    stored = cluster.store.create("widgets", widget("w", maybe=None, mode=None, numNodes=None))

    assert stored["spec"] == {"template": {}, "maybe": None, "numNodes": 1}


def test_defaults_reach_into_lists(cluster: Cluster) -> None:
    stored = cluster.store.create("widgets", widget("w", ports=[{"name": "a"}]))

    assert stored["spec"]["ports"] == [{"name": "a", "value": 7}]


# --- updates ---------------------------------------------------------------------------------


def change(cluster: Cluster, spec: Object) -> None:
    cluster.store.update("widgets", "w", lambda old: {**old, "spec": {**old["spec"], **spec}})


def test_a_transition_rule_is_checked_on_updates(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("w"))

    with pytest.raises(ApiError, match="spec: Invalid value: numNodes is immutable"):
        change(cluster, {"numNodes": 2})


def test_elements_of_a_keyed_list_are_compared_with_their_old_selves(cluster: Cluster) -> None:
    ports = [{"name": "a", "value": 1}, {"name": "b", "value": 5}]
    cluster.store.create("widgets", widget("w", ports=ports))

    change(cluster, {"ports": [{"name": "b", "value": 6}, {"name": "new", "value": 0}]})
    with pytest.raises(ApiError, match=r"spec.ports\[0\].value: Invalid value: value may only"):
        change(cluster, {"ports": [{"name": "b", "value": 5}]})


def test_an_invalid_field_that_does_not_change_is_not_validated_again(cluster: Cluster) -> None:
    put_raw(cluster.store, widget("w", numNodes=0, mode="bad", name="a"))

    cluster.store.update(
        "widgets", "w", lambda old: {**old, "status": {"phase": "X"}}, subresource="status"
    )
    change(cluster, {"flag": True, "mode": "A"})

    with pytest.raises(ApiError, match="should be at least 2 chars"):
        change(cluster, {"name": "b"})


def test_a_status_is_validated_too(cluster: Cluster) -> None:
    cluster.store.create("widgets", widget("w"))

    with pytest.raises(ApiError, match=r"status\.phase in body must be of type string"):
        cluster.store.update(
            "widgets", "w", lambda old: {**old, "status": {"phase": 1}}, subresource="status"
        )


# --- definitions -----------------------------------------------------------------------------


def definition(schema: Object, **spec: Any) -> Object:
    return {
        "metadata": {"name": "things.example.dev"},
        "spec": {
            "group": "example.dev",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
            **spec,
        },
    }


@pytest.mark.parametrize(
    ("crd", "want"),
    [
        (
            definition({"type": "object", "x-kubernetes-validations": [{"rule": "self.x ="}]}),
            'x-kubernetes-validations: Invalid value: "self.x =": compilation failed',
        ),
        (definition({}), "openAPIV3Schema.type: Required value: must be object at the root"),
        (definition({"type": "object"}, group=""), "spec.group: Required value"),
        (definition({"type": "object"}, versions=[]), "exactly one version marked as storage"),
        (
            {**definition({"type": "object"}), "metadata": {"name": "x"}},
            'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group',
        ),
    ],
)
def test_an_invalid_crd_is_rejected(cluster: Cluster, crd: Object, want: str) -> None:
    with pytest.raises(ApiError) as caught:
        cluster.store.create("customresourcedefinitions", crd)

    assert caught.value.code == 422
    assert want in str(caught.value)


def test_a_rule_that_cannot_be_evaluated_says_so(cluster: Cluster) -> None:
    rule = {"rule": "self.spec.x == 1"}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"x": {"type": "integer"}}}},
        "x-kubernetes-validations": [rule],
    }
    cluster.store.create("customresourcedefinitions", definition(schema))

    with pytest.raises(ApiError, match=r"no such key: x evaluating rule: self\.spec\.x == 1"):
        cluster.store.create(
            "things",
            {
                "apiVersion": "example.dev/v1",
                "kind": "Thing",
                "metadata": {"name": "t"},
                "spec": {},
            },
        )


def test_date_times_are_times_to_rules(cluster: Cluster) -> None:
    when = {"type": "string", "format": "date-time"}
    schema = {
        "type": "object",
        "properties": {"a": when, "b": when},
        "x-kubernetes-validations": [{"rule": "self.a < self.b", "message": "a before b"}],
    }
    cluster.store.create("customresourcedefinitions", definition(schema))
    # Later as times, earlier as texts.
    times = {"a": "2026-01-01T10:00:00+02:00", "b": "2026-01-01T09:00:00Z"}
    thing = {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "t"}}

    cluster.store.create("things", {**thing, **times})
    with pytest.raises(ApiError, match="a before b"):
        cluster.store.create("things", {**thing, "a": times["b"], "b": times["a"]})


def test_a_one_pod_job_is_validated_within_20_ms(cluster: Cluster) -> None:
    cluster.store.create("customresourcedefinitions", training_job_crd())
    job = {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"generateName": "job-"},
        "spec": {"template": {"spec": {"containers": [{"name": "trainer", "image": "x:1"}]}}},
    }

    def create() -> float:
        start = time.thread_time()
        cluster.store.create("trainingjobs", job)
        return time.thread_time() - start

    # The best of many: the machine may be busy with something else.
    assert min(create() for _ in range(20)) < 0.020
