from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.trainingjob_sandbox.apiserver.widgets import (
    Cluster,
    Object,
    config_map,
    pod,
    widget,
)
from trainingjob_sandbox.apiserver.clock import age, duration
from trainingjob_sandbox.apiserver.jsonpath import JsonPathError, compile_path
from trainingjob_sandbox.apiserver.printers import pod_status
from trainingjob_sandbox.apiserver.tables import cell, table

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def row(cluster: Cluster, resource: str, obj: Object) -> dict[str, Any]:
    """Return the cells of an object's row, by column."""
    made = table(cluster.registry.by_name(resource), [obj], metadata={}, now=NOW)
    headings = [column["name"] for column in made["columnDefinitions"]]
    return dict(zip(headings, made["rows"][0]["cells"], strict=True))


# --- ages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "want"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (349, "5m49s"),
        (600, "10m"),
        (6060, "101m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_an_age_has_the_short_form_of_kubectl(seconds: int, want: str) -> None:
    assert duration(seconds) == want


def test_an_unknown_age_is_shown_as_unknown() -> None:
    assert age(None, NOW) == "<unknown>"
    assert age("yesterday", NOW) == "<invalid>"
    assert age("2026-01-02T11:59:00Z", NOW) == "60s"


# --- paths -----------------------------------------------------------------------------------

OBJECT = {
    "metadata": {"labels": {"a.b/c": "label"}},
    "status": {
        "phase": "Running",
        "count": 3,
        "conditions": [
            {"type": "X", "reason": "no", "n": 1},
            {"type": "Finished", "reason": "Because", "n": 2},
        ],
    },
}


@pytest.mark.parametrize(
    ("path", "want"),
    [
        (".status.phase", ["Running"]),
        ("{.status.phase}", ["Running"]),
        (".status.missing.deep", []),
        (".status.phase.deep", []),
        (".metadata.labels.a\\.b/c", ["label"]),
        (".metadata.labels['a.b/c']", ["label"]),
        (".status.conditions[0].reason", ["no"]),
        (".status.conditions[-1].reason", ["Because"]),
        (".status.conditions[9].reason", []),
        (".status.conditions[*].n", [1, 2]),
        ('.status.conditions[?(@.type=="Finished")].reason', ["Because"]),
        (".status.conditions[?(@.type == 'Nope')].reason", []),
        (".status.conditions[?(@.n>1)].type", ["Finished"]),
        (".status.conditions[?(@.reason)].type", ["X", "Finished"]),
        ('.status.conditions[?(@.type!="X")].type', ["Finished"]),
        (".status.conditions[?(@.type>1)].type", []),
    ],
)
def test_a_path_finds_the_values_that_it_selects(path: str, want: list[Any]) -> None:
    assert compile_path(path)(OBJECT) == want


def test_a_path_that_cannot_be_read_says_where() -> None:
    with pytest.raises(JsonPathError, match=r"from '\[!\]' on"):
        compile_path(".a[!]")


# --- custom columns --------------------------------------------------------------------------


def test_the_columns_of_a_definition_are_shown(cluster: Cluster) -> None:
    obj = widget("w", numNodes=2, mode="A")
    obj["status"] = {
        "phase": "Done",
        "doneTime": "2026-01-02T10:00:00Z",
        "conditions": [{"type": "Finished", "reason": "Because"}],
    }

    assert row(cluster, "widgets", obj) == {
        "Name": "w",
        "Phase": "Done",
        "Why": "Because",
        "Nodes": 2,
        "Done": "120m",
        "Mode": "A",
    }
    assert row(cluster, "widgets", widget("w"))["Why"] is None


@pytest.mark.parametrize(
    ("type_", "value", "want"),
    [
        ("string", "a", "a"),
        ("string", 5, "5"),
        ("string", [1, "a"], '[1,"a"]'),
        ("string", True, "true"),
        ("integer", 5, 5),
        ("integer", 5.7, 5),
        ("integer", "5", None),
        ("integer", True, None),
        ("number", 1.5, 1.5),
        ("boolean", True, True),
        ("boolean", 1, None),
        ("date", "2026-01-02T11:59:00Z", "60s"),
        ("date", 5, None),
    ],
)
def test_a_cell_is_of_its_columns_type(type_: str, value: Any, want: Any) -> None:
    assert cell(type_, value, NOW) == want


def test_a_row_includes_the_requested_part_of_the_object(cluster: Cluster) -> None:
    resource, obj = cluster.registry.by_name("configmaps"), config_map("a")

    def included(include: str) -> Any:
        made = table(resource, [obj], metadata={}, now=NOW, include=include)
        return made["rows"][0]["object"]

    assert included("None") is None
    assert included("Metadata")["metadata"] == obj["metadata"]
    assert "data" not in included("Metadata")
    assert included("Object") == obj


# --- built-in columns ------------------------------------------------------------------------


def with_status(**status: Any) -> Object:
    obj = pod("p", nodeName="n")
    obj["metadata"]["creationTimestamp"] = "2026-01-02T11:59:00Z"
    return {**obj, "status": status}


def container(ready: bool = False, restarts: int = 0, **state: Any) -> Object:  # noqa: FBT002 - a table of states
    return {"name": "c", "ready": ready, "restartCount": restarts, "state": state}


@pytest.mark.parametrize(
    ("status", "want"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        (
            {
                "phase": "Pending",
                "containerStatuses": [container(waiting={"reason": "ErrImagePull"})],
            },
            "ErrImagePull",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [container(terminated={"exitCode": 1, "reason": "Error"})],
            },
            "Error",
        ),
        (
            {"phase": "Failed", "containerStatuses": [container(terminated={"exitCode": 3})]},
            "ExitCode:3",
        ),
        (
            {"phase": "Failed", "containerStatuses": [container(terminated={"signal": 9})]},
            "Signal:9",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    container(terminated={"reason": "Completed"}),
                    container(True, running={}),
                ],
            },
            "Running",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    container(terminated={"exitCode": 0}),
                    container(running={}),
                ],
            },
            "Init:1/2",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container(terminated={"exitCode": 1})]},
            "Init:ExitCode:1",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [container(waiting={"reason": "ErrImagePull"})],
            },
            "Init:ErrImagePull",
        ),
    ],
)
def test_a_pods_status_is_the_word_that_kubectl_shows(status: Object, want: str) -> None:
    obj = with_status(**status)
    obj["spec"]["initContainers"] = [{}, {}]

    assert pod_status(obj) == want


def test_a_pod_being_deleted_is_terminating() -> None:
    obj = with_status(phase="Running")
    obj["metadata"]["deletionTimestamp"] = "2026-01-02T12:00:00Z"

    assert pod_status(obj) == "Terminating"


def test_a_pods_row_has_readiness_restarts_and_node(cluster: Cluster) -> None:
    running = container(True, 2, running={})
    running["lastState"] = {"terminated": {"finishedAt": "2026-01-02T11:59:30Z"}}

    shown = row(
        cluster,
        "pods",
        with_status(phase="Running", podIP="10.1.1.1", containerStatuses=[running]),
    )

    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == (
        "1/1",
        "Running",
        "2 (30s ago)",
    )
    assert (shown["Age"], shown["IP"], shown["Node"]) == ("60s", "10.1.1.1", "n")


def test_the_other_kinds_have_the_columns_of_kubectl(cluster: Cluster) -> None:
    moment = (NOW - timedelta(seconds=60)).isoformat()
    metadata = {"name": "x", "creationTimestamp": moment}
    node = {
        "metadata": {**metadata, "labels": {"node-role.kubernetes.io/worker": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        },
    }
    event = {
        "metadata": metadata,
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "Killing",
        "message": "so it goes\n",
        "type": "Normal",
        "source": {"component": "kubelet", "host": "n"},
        "count": 2,
    }
    service = {
        "metadata": metadata,
        "spec": {"clusterIP": "None", "ports": [{"port": 80}], "selector": {"b": "c", "a": "b"}},
    }

    assert row(cluster, "nodes", node)["Status"] == "Ready,SchedulingDisabled"
    assert row(cluster, "nodes", node)["Roles"] == "worker"
    assert row(cluster, "events", event)["Object"] == "pod/p"
    assert row(cluster, "events", event)["Source"] == "kubelet, n"
    assert row(cluster, "events", event)["Message"] == "so it goes"
    assert row(cluster, "services", service)["Port(s)"] == "80/TCP"
    assert row(cluster, "services", service)["Selector"] == "a=b,b=c"
    assert row(cluster, "configmaps", {**config_map("x"), "metadata": metadata}) == {
        "Name": "x",
        "Data": 1,
        "Age": "60s",
    }
    assert row(cluster, "serviceaccounts", {"metadata": metadata}) == {"Name": "x", "Age": "60s"}
    lease = {"metadata": metadata, "spec": {"holderIdentity": "me"}}
    assert row(cluster, "leases", lease)["Holder"] == "me"
    definition = cluster.store.get("customresourcedefinitions", "widgets.example.dev")
    assert row(cluster, "customresourcedefinitions", definition)["Versions"] == "v1(storage)"
