"""The rendered chart, with Helm 3 and 4."""

import functools
import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hack.chart import CHART, NAMESPACE
from hack.cluster.assets import kubernetes_version
from hack.generate import INSTALL, ROOT, UNINSTALL
from hack.tools.helm import MAJORS, Major
from tests.support import kubernetes_versions
from tests.support.kubernetes_versions import NEWEST, OLDEST, SERVED
from tests.support.markers import quick
from tests.support.real.chart import (
    LOADER,
    Object,
    RenderError,
    Values,
    component,
    container,
    environment,
    hook,
    one,
    pod_spec,
    render,
    run_helm,
)
from trainingjob_api import crd
from trainingjob_api.constants import API_VERSION, KIND_TRAINING_JOB
from trainingjob_api.validation import parse_spec
from trainingjob_operator import __version__
from trainingjob_operator.settings import Settings

NAMED: Values = {"watchNamespaces": ["team-a", "team-b"]}
FULL: Values = {
    "image": {"registry": "registry.example:5000/ml", "tag": "2.0", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "nameOverride": "tj",
    "commonLabels": {"team": "ml", "app.kubernetes.io/name": "not-taken"},
    "crds": {"keep": False},
    "watchNamespaces": ["team-a"],
    "kubernetes": {"timeout": 7.5},
    "reconciler": {"workers": 3, "accelerators": ["example.com/npu", "example.com/tpu"]},
    "index": {"maxJobs": 1000000, "maxPods": 2000000},
    "web": {"port": 9000},
    "logging": {"format": "console", "level": "debug"},
    "config": {"TRAININGJOB_RESTART__BACKOFF": 2, "TRAININGJOB_RECONCILER__WORKERS": 4},
    "serviceAccount": {"name": "robot", "annotations": {"example.com/identity": "robot"}},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"example.com/a": "b"},
    "podLabels": {"example.com/c": "d"},
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ],
    "revisionHistoryLimit": 1,
    "networkPolicy": {
        "egress": {
            "enabled": True,
            "apiServerTo": [{"ipBlock": {"cidr": "10.0.0.10/32"}}],
            "extra": [{"ports": [{"port": 5432}]}],
        }
    },
    "terminationGracePeriodSeconds": 30,
    "extraEnv": [
        {"name": "ZONE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},
        {"name": "TRAININGJOB_LOGGING__LEVEL", "value": "warning"},
        {"name": "ZONE", "value": "$(HTTPS_PROXY)"},
    ],
    "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
}
IN_CI = [
    pytest.param(yaml.safe_load(path.read_text()), id=path.stem)
    for path in sorted((CHART / "ci").glob("*-values.yaml"))
]
"""Typical sets of values."""

CASES = [
    *IN_CI,
    pytest.param(NAMED, id="named-namespaces"),
    pytest.param(FULL, id="everything-set"),
    pytest.param({"networkPolicy": {"from": []}}, id="nobody-scrapes"),
    pytest.param(
        {
            "recordService": {
                "databaseUrlSecret": {"name": "postgres"},
                "tokenSecret": {"name": "bearer", "key": "t"},
                "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}]},
                "config": {"TRAININGJOB_RECORDS_POOL_SIZE": 9},
                "affinity": {"podAffinity": {}},
                "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
                "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
            }
        },
        id="records-in-postgres",
    ),
    pytest.param(
        {
            "logVolume": {"create": True},
            "console": {
                "tls": {"secret": "console-tls"},
                "archivedLogs": True,
                "records": {
                    "url": "https://records.example/api/v1/jobs",
                    "tokenSecret": {"name": "readers"},
                },
                "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
                "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
                "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"}],
                "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
                "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
            },
        },
        id="console-with-tls",
    ),
]
PARTS = ["operator", "record-service", "console", "uninstall", "smoke"]


def documents(manifest: str) -> list[Object]:
    """Return the objects of a manifest in this repository."""
    found = list(yaml.load_all((ROOT / manifest).read_text(), LOADER))
    assert found
    return found


@functools.cache
def validate(found: str, version: str) -> None:
    """Validate an object as JSON, cached: validation is slow, and most objects do not depend on the values."""
    kubernetes_versions.validate(json.loads(found), version)


def sort_key(found: Object) -> tuple[str, str, str]:
    metadata = found["metadata"]
    return found["kind"], metadata.get("namespace", ""), metadata["name"]


@pytest.mark.parametrize("values", CASES)
def test_helm_lint_passes_in_both_versions(major: Major, values: Values) -> None:
    said = run_helm(major, "lint", "--strict", CHART, values=values)
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize("values", CASES)
def test_both_helm_versions_render_the_same_objects(values: Values) -> None:
    by_helm = [sorted(render(values, major=major, hooks=None), key=sort_key) for major in MAJORS]
    assert by_helm[0] == by_helm[1]


# --- objects ------------------------------------------------------------------------------------


def test_the_defaults_render_exactly_these_objects() -> None:
    assert sorted(f"{found['kind']} {found['metadata']['name']}" for found in render()) == [
        "ClusterRole trainingjob-operator",
        "ClusterRole trainingjob-operator-admin",
        "ClusterRole trainingjob-operator-console",
        "ClusterRole trainingjob-operator-console-edit",
        "ClusterRole trainingjob-operator-console-view",
        "ClusterRole trainingjob-operator-edit",
        "ClusterRole trainingjob-operator-view",
        "ClusterRoleBinding trainingjob-operator",
        "ClusterRoleBinding trainingjob-operator-console",
        "CustomResourceDefinition retentionpolicies.trainingjob.dev",
        "CustomResourceDefinition trainingjobs.trainingjob.dev",
        "Deployment trainingjob-operator",
        "Deployment trainingjob-operator-console",
        "Deployment trainingjob-operator-records",
        "NetworkPolicy trainingjob-operator",
        "NetworkPolicy trainingjob-operator-console",
        "NetworkPolicy trainingjob-operator-records",
        "PersistentVolumeClaim trainingjob-operator-records",
        "PodDisruptionBudget trainingjob-operator",
        "Role trainingjob-operator-policy",
        "Role trainingjob-operator-records",
        "RoleBinding trainingjob-operator-policy",
        "RoleBinding trainingjob-operator-records",
        "Secret trainingjob-operator-records",
        "Service trainingjob-operator-console",
        "Service trainingjob-operator-metrics",
        "Service trainingjob-operator-records",
        "ServiceAccount trainingjob-operator",
        "ServiceAccount trainingjob-operator-console",
        "ServiceAccount trainingjob-operator-records",
        "ValidatingAdmissionPolicy trainingjob-operator-parts.trainingjob-system",
        "ValidatingAdmissionPolicy trainingjob-operator.trainingjob-system",
        "ValidatingAdmissionPolicyBinding trainingjob-operator-parts.trainingjob-system",
        "ValidatingAdmissionPolicyBinding trainingjob-operator.trainingjob-system",
    ]


def test_the_crds_equal_those_generated_from_the_models(major: Major) -> None:
    rendered = {
        found["metadata"]["name"]: found
        for found in render(major=major)
        if found["kind"] == "CustomResourceDefinition"
    }
    for made in (crd.training_job_crd(), crd.retention_policy_crd()):
        assert rendered[made["metadata"]["name"]]["spec"] == made["spec"]


def test_the_crds_are_kept_unless_the_values_say_otherwise() -> None:
    def annotations(values: Values) -> list[Any]:
        return [
            found["metadata"].get("annotations")
            for found in render(values)
            if found["kind"] == "CustomResourceDefinition"
        ]

    assert annotations({}) == [{"helm.sh/resource-policy": "keep"}] * 2
    assert annotations({"crds": {"keep": False}}) == [None] * 2
    assert annotations({"crds": {"enabled": False}}) == []


@pytest.mark.parametrize("values", CASES)
def test_every_object_has_the_recommended_labels(values: Values) -> None:
    for found in render(values, hooks=None):
        labels = found["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "trainingjob-operator"
        assert labels["app.kubernetes.io/part-of"] == "trainingjob-operator"
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["helm.sh/chart"] == f"trainingjob-operator-{__version__}"


def test_custom_labels_are_on_every_object_but_not_in_selectors() -> None:
    objects = render(FULL, hooks=None)
    assert {found["metadata"]["labels"]["team"] for found in objects} == {"ml"}
    deployment = one(objects, "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    pod_labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selector == {
        "app.kubernetes.io/name": "tj",
        "app.kubernetes.io/instance": "trainingjob-operator",
    }
    assert selector.items() <= pod_labels.items()
    assert pod_labels["team"] == "ml"


def test_long_names_leave_room_for_suffixes() -> None:
    objects = render({"fullnameOverride": "x" * 200}, hooks=None)
    # Names of Services and Jobs must be valid labels; those of RBAC objects may be longer.
    limited = [found for found in objects if found["kind"] in {"Deployment", "Service", "Job"}]
    assert len(limited) == 7
    assert max(len(found["metadata"]["name"]) for found in limited) <= 63


GROUP = {"fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch"}

# --- the pod ------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", CASES)
def test_the_pods_have_a_minimal_security_context(values: Values) -> None:
    objects = render(values, hooks=None)
    kinds = {"Deployment", "Job", "Pod"}
    parts = {component(found) for found in objects if found["kind"] in kinds}
    assert "operator" in parts
    assert parts <= set(PARTS)
    for part in parts:
        spec = pod_spec(objects, part=part)
        volume = values.get("logVolume", {})
        has_volume = bool(volume.get("existingClaim") or volume.get("create"))
        is_shared = volume.get("accessMode") == "ReadWriteMany" or "archivedLogs" in values.get(
            "console", {}
        )
        needs_group = part == "record-service" or (
            has_volume and (part == "operator" or (part == "console" and is_shared))
        )
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
            **(GROUP if needs_group else {}),
        }
        for each in [*spec.get("initContainers", []), *spec["containers"]]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["resources"]["limits"]["memory"]
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


def test_a_log_volume_is_mounted_and_its_settings_are_set() -> None:
    objects = render({"logVolume": {"existingClaim": "logs", "maxAge": "3d"}}, hooks=None)
    found = {"name": "log-volume", "persistentVolumeClaim": {"claimName": "logs"}}
    assert pod_spec(objects)["volumes"][-1] == found
    mount = {"name": "log-volume", "mountPath": "/var/lib/trainingjob/volume"}
    assert container(objects)["volumeMounts"][-1] == mount
    # The claim may be attachable only to the node of the old operator, which still runs.
    assert found not in pod_spec(objects, part="uninstall")["volumes"]
    settings = Settings.from_environment(environment(objects)).volume
    assert settings.root == "/var/lib/trainingjob/volume"
    assert settings.max_age == 3 * 86_400
    assert container(objects)["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_new_log_volume_gets_the_operators_group() -> None:
    claim = {"existingClaim": "logs"}
    assert GROUP.items() <= pod_spec(render({"logVolume": claim}))["securityContext"].items()
    own = render({"logVolume": claim, "podSecurityContext": {"fsGroup": 2000}})
    assert pod_spec(own)["securityContext"]["fsGroup"] == 2000
    for none in ({}, {**claim, "asRoot": True}, {**claim, "fsGroup": 0}):
        assert "fsGroup" not in pod_spec(render({"logVolume": none}))["securityContext"]


def test_root_with_a_log_volume_has_only_capabilities_to_read_and_remove_files() -> None:
    objects = render({"logVolume": {"existingClaim": "logs", "asRoot": True}})
    assert container(objects)["securityContext"] == {
        "runAsNonRoot": False,
        "runAsUser": 0,
        "runAsGroup": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE", "FOWNER"]},
    }


def test_without_a_log_volume_no_container_runs_as_root() -> None:
    objects = render({"logVolume": {"asRoot": True}})
    assert "runAsUser" not in container(objects)["securityContext"]
    assert "TRAININGJOB_VOLUME__ROOT" not in environment(objects)


def test_only_the_operators_own_pod_gets_a_token() -> None:
    objects = render()
    assert one(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert pod_spec(objects)["automountServiceAccountToken"] is True


@pytest.mark.parametrize(
    ("values", "replicas", "strategy"),
    [
        ({}, 2, "RollingUpdate"),
        ({"replicas": 1}, 1, "RollingUpdate"),
        ({"replicas": 0}, 0, "RollingUpdate"),
        ({"leaderElection": {"enabled": False}}, 1, "Recreate"),
        ({"logVolume": {"existingClaim": "logs"}}, 1, "Recreate"),
        (
            {"logVolume": {"existingClaim": "logs", "accessMode": "ReadWriteMany"}},
            2,
            "RollingUpdate",
        ),
    ],
)
def test_replicas_strategy_and_disruption_budget_follow_the_values(
    values: Values, replicas: int, strategy: str
) -> None:
    objects = render(values)
    spec = one(objects, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (replicas, strategy)
    budgets = [found for found in objects if found["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == int(replicas > 1)
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["selector"] == spec["selector"]


def test_operators_prefer_different_nodes_unless_an_affinity_is_given() -> None:
    [term] = pod_spec(render())["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert (
        term["podAffinityTerm"]["labelSelector"] == one(render(), "Deployment")["spec"]["selector"]
    )
    theirs: Values = {"nodeAffinity": {}}
    assert pod_spec(render({"affinity": theirs}))["affinity"] == theirs


def test_without_leader_election_there_is_no_right_to_leases() -> None:
    rules = [
        rule
        for found in render({"leaderElection": {"enabled": False}})
        for rule in found.get("rules") or ()
    ]
    assert rules
    assert not [rule for rule in rules if "leases" in rule["resources"]]


def test_the_probes_use_the_operators_port(major: Major) -> None:
    for values, port in (({}, 8080), ({"web": {"port": 9000}}, 9000)):
        objects = render(values, major=major)
        found = container(objects)
        assert found["ports"] == [{"name": "http", "containerPort": port}]
        assert environment(objects)["TRAININGJOB_WEB__ADDRESS"] == f":{port}"
        probes = {
            kind: found[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
        }
        assert probes == {
            "startup": {"path": "/healthz", "port": "http"},
            "liveness": {"path": "/healthz", "port": "http"},
            "readiness": {"path": "/readyz", "port": "http"},
        }


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({}, f"trainingjob-operator:{__version__}"),
        ({"tag": "1.2"}, "trainingjob-operator:1.2"),
        ({"registry": "localhost"}, f"localhost/trainingjob-operator:{__version__}"),
        (
            {"registry": "r.example:5000", "repository": "a/b", "digest": "sha256:" + "0" * 64},
            f"r.example:5000/a/b:{__version__}@sha256:" + "0" * 64,
        ),
    ],
)
def test_the_image_is_named_as_the_values_say(image: Values, name: str) -> None:
    assert container(render({"image": image}))["image"] == name


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", CASES)
def test_no_environment_variable_is_set_twice(major: Major, values: Values) -> None:
    names = [entry["name"] for entry in container(render(values, major=major))["env"]]
    assert sorted(set(names)) == sorted(names)


def test_the_default_values_are_the_operators_own_defaults() -> None:
    # The chart's log format is for no terminal, and its port is fixed for the probes.
    chart = Settings.from_environment(environment(render()))
    own = Settings.from_environment({})
    names = ("logging", "web", "persist", "operator_namespace", "leader_election")
    assert chart.model_copy(update={name: getattr(own, name) for name in names}) == own
    assert chart.operator_namespace == NAMESPACE
    theirs = {"url": own.persist.url, "token_file": own.persist.token_file}
    assert chart.persist.model_copy(update=theirs) == own.persist
    assert chart.leader_election.enabled
    assert chart.leader_election.model_copy(update={"enabled": False}) == own.leader_election
    assert chart.logging.format == "json"
    assert chart.web.address == ":8080"


def test_values_reach_the_operator(major: Major) -> None:
    variables = {
        entry["name"]: entry["value"]
        for entry in container(render(FULL, major=major))["env"]
        if "value" in entry
    }
    settings = Settings.from_environment(variables)
    assert settings.namespaces == ("team-a",)
    assert settings.kubernetes.timeout == 7.5
    assert settings.reconciler.accelerators == ("example.com/npu", "example.com/tpu")
    assert settings.index.max_jobs == 1_000_000
    assert settings.index.max_pods == 2_000_000
    assert settings.web.address == ":9000"
    assert settings.logging.format == "console"


def test_config_wins_over_values_and_extra_env_over_both() -> None:
    settings = Settings.from_environment(environment(render(FULL)))
    assert settings.restart.backoff == 2
    assert settings.reconciler.workers == 4
    assert settings.logging.level == "warning"


def test_custom_variables_keep_their_order() -> None:
    entries = container(render(FULL))["env"]
    assert entries[-2:] == [
        {"name": "ZONE", "value": "$(HTTPS_PROXY)"},
        {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},
    ]


# --- miscellaneous -----------------------------------------------------------------------------------


def test_the_charts_version_is_the_packages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == __version__
    assert chart["appVersion"] == __version__


def without_helm(objects: list[Object]) -> list[Object]:
    for found in objects:
        metadata = found["metadata"]
        del metadata["labels"]["helm.sh/chart"]
        del metadata["labels"]["app.kubernetes.io/managed-by"]
        if annotations := metadata.pop("annotations", None):
            assert all(name.startswith("helm.sh/") for name in annotations)
    return sorted(objects, key=sort_key)


def test_the_install_manifest_is_the_chart_without_crds_and_without_helm() -> None:
    installed = documents(INSTALL)
    assert [found["metadata"]["name"] for found in installed if found["kind"] == "Namespace"] == [
        NAMESPACE
    ]
    assert installed[0]["kind"] == "Namespace"
    rest = [found for found in installed if found["kind"] != "Namespace"]
    assert sorted(rest, key=sort_key) == without_helm(render({"crds": {"enabled": False}}))


def test_the_uninstall_manifest_is_the_charts_hook_and_its_job_comes_last() -> None:
    objects = documents(UNINSTALL)
    assert objects[-1]["kind"] == "Job"
    assert sorted(objects, key=sort_key) == without_helm(render(hooks=True))


def test_an_older_kubernetes_version_is_rejected(major: Major) -> None:
    command = ("template", "x", CHART, "--kube-version")
    with pytest.raises(RenderError, match="incompatible with Kubernetes"):
        run_helm(major, *command, "1.31.9")
    assert run_helm(major, *command, "1.32.0-eks-1234")


@pytest.mark.parametrize("version", quick([OLDEST, NEWEST], in_quick=[OLDEST]))
@pytest.mark.parametrize("values", CASES)
def test_all_fields_exist_in_every_supported_kubernetes_version(
    values: Values, version: str
) -> None:
    objects = render(values, hooks=None)
    assert objects
    for found in objects:
        validate(json.dumps(found), version)


@pytest.mark.parametrize("version", quick(SERVED, in_quick=[OLDEST, NEWEST]))
def test_all_fields_of_the_manifests_exist_in_every_supported_kubernetes_version(
    version: str,
) -> None:
    for found in [*documents(INSTALL), *documents(UNINSTALL), *render()]:
        validate(json.dumps(found), version)


def test_an_unknown_field_is_detected() -> None:
    deployment = one(render(), "Deployment")
    deployment["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)


def test_the_minimum_kubernetes_version_is_that_of_the_chart() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"
    assert kubernetes_version().startswith(f"{NEWEST}.")


def test_the_artifact_hub_annotations_match_the_crds() -> None:
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    made = {d["metadata"]["name"]: d for d in (crd.training_job_crd(), crd.retention_policy_crd())}
    listed = yaml.safe_load(annotations["artifacthub.io/crds"])
    assert {(each["name"], each["kind"], each["version"]) for each in listed} == {
        (name, d["spec"]["names"]["kind"], d["spec"]["versions"][0]["name"])
        for name, d in made.items()
    }
    [example] = yaml.safe_load(annotations["artifacthub.io/crdsExamples"])
    assert (example["apiVersion"], example["kind"]) == (API_VERSION, KIND_TRAINING_JOB)
    assert parse_spec(example["spec"]).num_nodes == 2


# --- metrics ------------------------------------------------------------------------------------


def test_a_pod_monitor_is_rendered_on_request_and_selects_the_pod() -> None:
    assert not [found for found in render() if found["kind"] == "PodMonitor"]
    values = {"podMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "mine"}}}
    objects = render(values)
    monitor = one(objects, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "mine"
    wanted = monitor["spec"]["selector"]["matchLabels"]
    pod = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert wanted.items() <= pod.items()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "1m"}
    assert endpoint["port"] in [port["name"] for port in container(objects)["ports"]]


# --- optional objects --------------------------------------------------------------------


def test_a_log_claim_is_rendered_on_request_and_kept_on_uninstall() -> None:
    made: Values = {"create": True, "size": "5Gi", "storageClass": "fast"}
    objects = render({"logVolume": made})
    claim = one(objects, "PersistentVolumeClaim", part="logs")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "5Gi"}},
    }
    # Mount, settings, rights and replicas are the same as with an existing claim.
    theirs = render({"logVolume": {"existingClaim": claim["metadata"]["name"]}})
    assert [found for found in objects if found != claim] == theirs
    shared = render({"logVolume": made | {"accessMode": "ReadWriteMany", "keep": False}})
    claim = one(shared, "PersistentVolumeClaim", part="logs")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "annotations" not in claim["metadata"]
    assert one(shared, "Deployment")["spec"]["replicas"] == 2


def test_topology_spread_and_revision_history_limit_are_set() -> None:
    theirs = {"matchLabels": {"a": "b"}}
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    objects = render({"topologySpreadConstraints": [rule, rule | {"labelSelector": theirs}]})
    ours, other = pod_spec(objects)["topologySpreadConstraints"]
    assert ours["labelSelector"] == one(objects, "Deployment")["spec"]["selector"]
    assert other == rule | {"labelSelector": theirs}
    assert "topologySpreadConstraints" not in pod_spec(render())
    for part in ("operator", "record-service", "console"):
        assert one(render(), "Deployment", part=part)["spec"]["revisionHistoryLimit"] == 3


def egress(objects: list[Object], *, part: str) -> list[Object]:
    policy = one(objects, "NetworkPolicy", part=part)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    return list(policy["egress"])


def test_egress_of_the_pods_is_restricted_on_request() -> None:
    for part in ("operator", "record-service", "console"):
        assert one(render(), "NetworkPolicy", part=part)["spec"]["policyTypes"] == ["Ingress"]
    peers = [{"ipBlock": {"cidr": "10.0.0.10/32"}}]
    database: Object = {"ports": [{"port": 5432}]}
    restricted: Values = {"enabled": True, "apiServerTo": peers, "extra": [database]}
    names = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    api = {"ports": [{"port": 443}, {"port": 6443}], "to": peers}
    objects = render({"networkPolicy": {"egress": restricted}})
    assert egress(objects, part="record-service") == [names, api, database]
    records = one(objects, "NetworkPolicy", part="record-service")["spec"]["podSelector"]
    to_records = {"to": [{"podSelector": records}], "ports": [{"port": "http"}]}
    assert egress(objects, part="operator") == [names, api, database, to_records]
    operators = one(objects, "NetworkPolicy")["spec"]["podSelector"]
    to_operators = {"to": [{"podSelector": operators}], "ports": [{"port": "http"}]}
    assert egress(objects, part="console") == [names, api, database, to_operators, to_records]
    for url, port in (
        ("https://records.example/jobs", 443),
        ("http://records.example/jobs", 80),
        ("https://records.example:8443/jobs", 8443),
        ("https://[::1]:8443/jobs", 8443),
        ("https://[::1]/jobs", 443),
    ):
        elsewhere = render(
            {"networkPolicy": {"egress": {"enabled": True}}, "persist": {"url": url}}
        )
        assert egress(elsewhere, part="operator")[-1] == {"ports": [{"port": port}]}


def test_extra_objects_can_be_maps_or_text() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n"
    as_map: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "{{ .Release.Name }}-map"},
    }
    found = [each for each in render({"extraObjects": [text, as_map]}) if each not in render()]
    assert [each["metadata"]["name"] for each in found] == [
        "trainingjob-operator-text",
        "trainingjob-operator-map",
    ]


def test_the_records_are_scraped_on_request_through_their_service() -> None:
    monitors = [found for found in render() if found["kind"] == "ServiceMonitor"]
    assert not monitors
    wanted = {"enabled": True, "interval": "1m", "labels": {"release": "mine"}}
    objects = render({"recordService": {"serviceMonitor": wanted}})
    monitor = one(objects, "ServiceMonitor", part="record-service")
    assert monitor["metadata"]["labels"]["release"] == "mine"
    service = one(objects, "Service", part="record-service")
    labels = service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert monitor["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "1m"}]
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]


def test_helm_test_submits_a_job_where_the_operator_serves_and_reads_its_record() -> None:
    def arguments(values: Values) -> list[str]:
        return list(container(render(values, hooks=None), part="smoke")["args"])

    image = f"--image=trainingjob-operator:{__version__}"
    placed = '--pod-spec={"nodeSelector":{"kubernetes.io/os":"linux"}}'
    told = ["smoke", f"--namespace={NAMESPACE}", image, "--timeout=2m", placed]
    assert arguments({}) == [*told, "--read-record"]
    assert arguments({"persist": {"url": "https://a/jobs"}}) == told
    assert arguments(NAMED)[1] == "--namespace=team-a"
    assert arguments({"watchNamespaces": ["team-a", NAMESPACE]})[1] == f"--namespace={NAMESPACE}"
    objects = render(NAMED, hooks=None)
    assert one(objects, "Role", part="smoke")["metadata"]["namespace"] == "team-a"
    assert {hook(each) for each in objects if component(each) == "smoke"} == {"test"}
    bare = render({"rbac": {"create": False}}, hooks=None)
    assert not [each for each in bare if component(each) == "smoke"]
