"""The rights: exactly these verbs, for the operator and for people."""

import re

from hack.chart import CHART, NAMESPACE
from tests.support.chart import Object, Values, one, render, service_account_objects

NAMED: Values = {"watchNamespaces": ["team-a", "team-b"]}
IN_NAMESPACES = {
    "trainingjob.dev/trainingjobs": {"get", "list", "patch", "watch", "delete"},
    "trainingjob.dev/trainingjobs/status": {"patch"},
    "trainingjob.dev/trainingjobs/finalizers": {"update"},
    "trainingjob.dev/retentionpolicies": {"get", "list", "patch", "watch"},
    "trainingjob.dev/retentionpolicies/status": {"patch"},
    "/pods": {"get", "list", "watch", "create", "delete"},
    "/services": {"get", "create"},
    "/events": {"create"},
}
FOR_THE_POLICY = {"trainingjob.dev/retentionpolicies": {"create"}}
"""In the operator's own namespace."""

FOR_KOPF = {
    "trainingjob.dev/retentionpolicies": {"create", "get", "list", "patch", "watch"},
    "trainingjob.dev/retentionpolicies/status": {"patch"},
    "trainingjob.dev/trainingjobs": {"list", "watch"},
    "/pods": {"list", "watch"},
}
"""The same, of an operator of named namespaces that its own is not one of."""

READ = {"get", "list", "watch"}
WRITE = {"create", "update", "patch", "delete", "deletecollection"}


def granted(role: Object) -> dict[str, set[str]]:
    """The verbs of a role by `group/resource`."""
    table: dict[str, set[str]] = {}
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                table.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return table


def test_the_operator_of_all_namespaces_may_do_exactly_this() -> None:
    objects = render()
    assert granted(one(objects, "ClusterRole", "trainingjob-operator")) == IN_NAMESPACES | {
        "apiextensions.k8s.io/customresourcedefinitions": {"list", "watch"}
    }
    assert granted(one(objects, "Role")) == FOR_THE_POLICY
    for kind in ("Role", "RoleBinding"):
        assert one(objects, kind)["metadata"]["namespace"] == NAMESPACE


def test_the_operator_of_named_namespaces_has_rights_nowhere_else() -> None:
    objects = service_account_objects(NAMED | {"rbac": {"aggregateClusterRoles": False}})
    roles = [found for found in objects if found["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == [NAMESPACE, "team-a", "team-b"]
    assert [granted(role) for role in roles] == [FOR_KOPF, IN_NAMESPACES, IN_NAMESPACES]
    assert {found["kind"] for found in objects} == {"ServiceAccount", "Role", "RoleBinding"}


def test_every_binding_names_the_account_that_the_pod_runs_as() -> None:
    for values in ({}, NAMED, {"serviceAccount": {"create": False, "name": "other"}}):
        objects = render(values)
        account = one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
        bindings = [found for found in objects if found["kind"].endswith("RoleBinding")]
        assert bindings
        assert all(
            binding["subjects"]
            == [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
            for binding in bindings
        )


def test_the_roles_of_people_grow_by_exactly_this() -> None:
    objects = render()
    gained: dict[str, dict[str, set[str]]] = {"view": {}, "edit": {}, "admin": {}}
    for name in gained:
        role = one(objects, "ClusterRole", f"trainingjob-operator-{name}")
        for built_in, table in gained.items():
            label = f"rbac.authorization.k8s.io/aggregate-to-{built_in}"
            if role["metadata"]["labels"].get(label) == "true":
                for what, verbs in granted(role).items():
                    table[what] = table.get(what, set()) | verbs
    jobs, policies = "trainingjob.dev/trainingjobs", "trainingjob.dev/retentionpolicies"
    view = {each: READ for what in (jobs, policies) for each in (what, f"{what}/status")}
    assert gained["view"] == view
    assert gained["edit"] == view | {jobs: READ | WRITE}
    assert gained["admin"] == view | {jobs: READ | WRITE, policies: READ | WRITE}


def test_rights_can_be_left_to_somebody_else() -> None:
    kinds = {found["kind"] for found in render({"rbac": {"create": False}})}
    assert kinds == {"CustomResourceDefinition", "Deployment", "ServiceAccount"}


def test_the_readme_says_the_same() -> None:
    rows = re.findall(
        r"^\| `([a-z/]+)` \| ([a-z, ]+) \| .+ \|$", (CHART / "README.md").read_text(), re.MULTILINE
    )
    granted_to = granted(one(render(), "ClusterRole", "trainingjob-operator"))
    assert {what: set(verbs.split(", ")) for what, verbs in rows} == {
        what.partition("/")[2]: verbs for what, verbs in granted_to.items()
    }
