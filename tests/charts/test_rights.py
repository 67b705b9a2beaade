"""RBAC of the chart: exactly these verbs, for each component and for users."""

import json
import re

from hack.chart import CHART, NAMESPACE
from tests.support.real.chart import (
    Object,
    Values,
    component,
    one,
    pod_spec,
    render,
    service_account_objects,
)

NAMED: Values = {"watchNamespaces": ["team-a", "team-b"]}
IN_NAMESPACES = {
    "trainingjob.dev/trainingjobs": {"get", "list", "patch", "watch", "delete"},
    "trainingjob.dev/trainingjobs/status": {"patch"},
    "trainingjob.dev/trainingjobs/finalizers": {"update"},
    "trainingjob.dev/retentionpolicies": {"get", "list", "watch"},
    "trainingjob.dev/retentionpolicies/status": {"patch"},
    "/pods": {"get", "list", "watch", "create", "delete"},
    "/podtemplates": {"create"},
    "/services": {"get", "create"},
    "/events": {"create"},
}
LEASE = {"coordination.k8s.io/leases": {"create"}}
"""The verb `create` cannot be restricted by resource name."""

FOR_THE_POLICY = {"trainingjob.dev/retentionpolicies": {"create"}} | LEASE
"""In the operator's own namespace."""

FOR_KOPF = {
    **LEASE,
    "trainingjob.dev/retentionpolicies": {"create", "get", "list", "watch"},
    "trainingjob.dev/retentionpolicies/status": {"patch"},
    "/events": {"create"},
}
"""The same for an operator with `watchNamespaces` that do not include its own namespace."""

UNINSTALL = {
    f"trainingjob.dev/{plural}": {"list", "patch"}
    for plural in ("trainingjobs", "retentionpolicies")
}
READ = {"get", "list", "watch"}
WRITE = {"create", "update", "patch", "delete", "deletecollection"}


def granted(role: Object, *, of: str | None = None) -> dict[str, set[str]]:
    """Return the verbs of a role by `group/resource`; with `of`, only those restricted to this resource name."""
    table: dict[str, set[str]] = {}
    for rule in role["rules"]:
        assert set(rule) - {"resourceNames"} == {"apiGroups", "resources", "verbs"}
        if rule.get("resourceNames") != ([of] if of else None):
            continue
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                table.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return table


def test_the_operator_of_all_namespaces_has_exactly_these_rights() -> None:
    objects = render()
    assert granted(one(objects, "ClusterRole", "trainingjob-operator")) == IN_NAMESPACES | {
        "apiextensions.k8s.io/customresourcedefinitions": {"list", "watch"}
    }
    roles = [found for found in objects if found["kind"] in {"Role", "RoleBinding"}]
    own = [found for found in roles if component(found) == "operator"]
    assert {found["kind"] for found in own} == {"Role", "RoleBinding"}
    assert {found["metadata"]["namespace"] for found in own} == {NAMESPACE}
    assert granted(one(own, "Role")) == FOR_THE_POLICY
    lease = granted(one(own, "Role"), of="trainingjob-operator")
    assert lease == {"coordination.k8s.io/leases": {"get", "update"}}


def test_the_record_service_has_rights_to_its_own_secret_only() -> None:
    [role] = [
        found
        for found in render()
        if found["kind"] == "Role" and component(found) == "record-service"
    ]
    assert granted(role) == {}
    assert granted(role, of="trainingjob-operator-records") == {"/secrets": {"get", "patch"}}
    # With an existing Secret it needs no service account at all.
    theirs = render({"recordService": {"tokenSecret": {"name": "bearer"}}})
    assert {component(found) for found in theirs if found["kind"] == "ServiceAccount"} == {
        "operator",
        "console",
    }


def test_the_uninstall_job_may_scale_the_operator_and_release_finalizers() -> None:
    objects = render(hooks=True)
    cluster_wide = granted(one(objects, "ClusterRole", part="uninstall"))
    assert cluster_wide == UNINSTALL
    here = one(objects, "Role", part="uninstall")
    assert granted(here) == {"/pods": {"list"}} | LEASE
    assert granted(here, of="trainingjob-operator") == {
        "apps/deployments": {"get"},
        "apps/deployments/scale": {"patch"},
        "coordination.k8s.io/leases": {"get", "update"},
    }
    alone = render({"leaderElection": {"enabled": False}}, hooks=True)
    assert "leases" not in json.dumps(alone)
    named = render(NAMED, hooks=True)
    roles = {found["metadata"]["namespace"]: found for found in named if found["kind"] == "Role"}
    assert set(roles) == {NAMESPACE, "team-a", "team-b"}
    # The default policy is in the operator's own namespace, even if the jobs are elsewhere.
    policies = {key: verbs for key, verbs in UNINSTALL.items() if "policies" in key}
    assert granted(roles[NAMESPACE]) == {"/pods": {"list"}} | policies | LEASE
    assert granted(roles["team-a"]) == granted(roles["team-b"]) == UNINSTALL
    assert not [found for found in named if found["kind"].startswith("Cluster")]


def test_helm_test_may_submit_and_delete_a_job_and_nothing_else() -> None:
    for values in ({}, NAMED):
        roles = [
            found
            for found in render(values, hooks=None)
            if component(found) == "smoke" and "rules" in found
        ]
        assert [(found["kind"], granted(found)) for found in roles] == [
            ("Role", {"trainingjob.dev/trainingjobs": {"create", "get", "delete"}})
        ]


OF_CALLERS = {
    "authentication.k8s.io/tokenreviews": {"create"},
    "authorization.k8s.io/subjectaccessreviews": {"create"},
}
"""To review the tokens of metrics clients; only if metrics are served over TLS."""


def test_rights_to_review_tokens_exist_only_with_secure_metrics() -> None:
    secure = {"metrics": {"secure": {"enabled": True, "certificateSecret": "tls"}}}
    for values in ({}, NAMED):
        role = one(render(values | secure), "ClusterRole", "trainingjob-operator-metrics")
        assert granted(role) == OF_CALLERS
        binding = one(
            render(values | secure), "ClusterRoleBinding", "trainingjob-operator-metrics"
        )
        assert [each["kind"] for each in binding["subjects"]] == ["ServiceAccount"]
        assert "reviews" not in json.dumps(render(values))


def test_logs_are_read_only_where_there_is_a_volume_for_them() -> None:
    with_volume = render({"logVolume": {"existingClaim": "logs"}})
    rights = granted(one(with_volume, "ClusterRole", "trainingjob-operator"))
    assert rights["/pods/log"] == {"get"}
    assert "/pods/log" not in IN_NAMESPACES


def test_the_right_to_read_the_operators_namespace_exists_only_with_a_volume() -> None:
    for values in ({}, NAMED):
        with_volume = render(values | {"logVolume": {"existingClaim": "logs"}})
        role = one(with_volume, "Role", "trainingjob-operator-policy")
        assert granted(role, of=NAMESPACE) == {"/namespaces": {"get"}}
        assert (
            granted(one(render(values), "Role", "trainingjob-operator-policy"), of=NAMESPACE) == {}
        )


def test_an_operator_with_watch_namespaces_has_no_rights_elsewhere() -> None:
    objects = service_account_objects(NAMED | {"rbac": {"aggregateClusterRoles": False}})
    roles = [found for found in objects if found["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == [NAMESPACE, "team-a", "team-b"]
    assert [granted(role) for role in roles] == [FOR_KOPF, IN_NAMESPACES, IN_NAMESPACES]
    assert {found["kind"] for found in objects} == {"ServiceAccount", "Role", "RoleBinding"}


def test_every_binding_names_the_account_that_the_pod_runs_as() -> None:
    for values in ({}, NAMED, {"serviceAccount": {"create": False, "name": "other"}}):
        objects = render(values, hooks=None)
        bindings = [found for found in objects if found["kind"].endswith("RoleBinding")]
        assert {component(found) for found in bindings} == {
            "console",
            "operator",
            "record-service",
            "smoke",
            "uninstall",
        }
        for binding in bindings:
            account = pod_spec(objects, part=component(binding))["serviceAccountName"]
            assert binding["subjects"] == [
                {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
            ]


def test_the_aggregated_user_roles_get_exactly_these_rights() -> None:
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


def test_rbac_objects_can_be_omitted() -> None:
    kinds = {found["kind"] for found in render({"rbac": {"create": False}}, hooks=None)}
    assert kinds == {
        "CustomResourceDefinition",
        "Deployment",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Secret",
        "Service",
        "ServiceAccount",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }


def test_the_charts_readme_lists_the_same_rights() -> None:
    rows = re.findall(
        r"^\| `([a-z/]+)` \| ([a-z, ]+) \| .+ \|$", (CHART / "README.md").read_text(), re.MULTILINE
    )
    granted_to = granted(one(render(), "ClusterRole", "trainingjob-operator"))
    assert {what: set(verbs.split(", ")) for what, verbs in rows} == {
        what.partition("/")[2]: verbs for what, verbs in granted_to.items()
    }
