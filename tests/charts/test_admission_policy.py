"""The admission policy as the chart renders it; `tests/real/test_admission_policy.py` tries it."""

import pytest
import yaml

from hack.chart import CHART, NAMESPACE
from hack.tools.helm import Major
from tests.support.real.chart import LOADER, Object, RenderError, Values, one, render, run_helm
from trainingjob_api.pod_template import pod_template_schema

POLICY = "ValidatingAdmissionPolicy"
BINDING = "ValidatingAdmissionPolicyBinding"
NAME = f"trainingjob-operator.{NAMESPACE}"
PARTS = f"trainingjob-operator-parts.{NAMESPACE}"

# Every field of a Kubernetes pod must be listed here, with a decision on who may set it.
JUDGED_OF_PODS = {
    "automountServiceAccountToken",
    "containers",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "initContainers",
    "nodeName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "volumes",
}
LEFT_TO_THE_NAMESPACE = {
    "activeDeadlineSeconds",
    "affinity",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "evictionResponders",
    "hostAliases",
    "hostname",
    "hostnameOverride",
    "hostUsers",
    "imagePullSecrets",
    "nodeSelector",
    "os",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "resourceClaims",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "schedulerName",
    "schedulingGates",
    "schedulingGroup",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
}
JUDGED_OF_CONTAINERS = {
    "env",
    "envFrom",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "securityContext",
    "startupProbe",
    "volumeMounts",
}
OWN_AFFAIRS_OF_CONTAINERS = {
    "args",
    "command",
    "image",
    "imagePullPolicy",
    "name",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "workingDir",
}
JUDGED_OF_SECURITY = {
    "appArmorProfile",
    "capabilities",
    "privileged",
    "procMount",
    "seLinuxOptions",
    "seccompProfile",
    "sysctls",
    "windowsOptions",
}
HARMLESS_OF_SECURITY = {
    "allowPrivilegeEscalation",
    "fsGroup",
    "fsGroupChangePolicy",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxChangePolicy",
    "supplementalGroups",
    "supplementalGroupsPolicy",
}
SOURCES = {
    "clusterTrustBundle",
    "configMap",
    "downwardAPI",
    "podCertificate",
    "secret",
    "serviceAccountToken",
}
"""Of a projected volume. Of volumes, those that are not named are refused."""


def test_every_field_of_a_pod_is_classified() -> None:
    pod = pod_template_schema()["properties"]["spec"]["properties"]
    assert set(pod) == JUDGED_OF_PODS | LEFT_TO_THE_NAMESPACE
    security = set(pod["securityContext"]["properties"])
    for kind in ("containers", "initContainers"):
        container = pod[kind]["items"]["properties"]
        assert set(container) == JUDGED_OF_CONTAINERS | OWN_AFFAIRS_OF_CONTAINERS
        security |= set(container["securityContext"]["properties"])
    assert security == JUDGED_OF_SECURITY | HARMLESS_OF_SECURITY
    projected = pod["volumes"]["items"]["properties"]["projected"]["properties"]
    assert set(projected["sources"]["items"]["properties"]) == SOURCES


def test_the_policy_applies_to_templates_and_never_to_the_status() -> None:
    objects = render()
    policy, binding = one(objects, POLICY, NAME)["spec"], one(objects, BINDING, NAME)["spec"]
    [rule] = policy["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == (["trainingjob.dev"], ["trainingjobs"])
    assert policy["failurePolicy"] == "Fail"
    assert binding == {"policyName": NAME, "validationActions": ["Deny"]}


def test_the_policy_for_the_releases_namespace_is_enforced_like_the_other() -> None:
    tried: Values = {
        "watchNamespaces": ["team-a"],
        "admissionPolicy": {"validationActions": ["Warn", "Audit"]},
    }
    objects = render(tried)
    policy, binding = one(objects, POLICY, PARTS)["spec"], one(objects, BINDING, PARTS)["spec"]
    here = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
    assert policy["matchConstraints"]["namespaceSelector"] == here
    assert binding == {"policyName": PARTS, "validationActions": ["Warn", "Audit"]}


def test_the_policy_applies_to_the_watched_namespaces() -> None:
    binding = one(render({"watchNamespaces": ["team-a", "team-b"]}), BINDING, NAME)["spec"]
    [term] = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert term == {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": ["team-a", "team-b"],
    }


def expression_containing(policy: Object, words: str) -> str:
    """Return the only expression of a policy that contains this text."""
    [found] = [each["expression"] for each in policy["validations"] if words in each["expression"]]
    return str(found)


def claim(name: str) -> Object:
    return {"name": f"v-{name}", "persistentVolumeClaim": {"claimName": name}}


FURTHER: Values = {
    "logVolume": {"existingClaim": "shared"},
    "extraVolumes": [claim("data"), claim("shared"), {"name": "e", "emptyDir": {}}],
    "recordService": {
        "persistence": {"existingClaim": "ledger"},
        "extraVolumes": [claim("certificates")],
    },
    "console": {"extraVolumes": [claim("pages")]},
}


@pytest.mark.parametrize(
    ("given", "of_logs", "others"),
    [
        ({}, "'trainingjob-operator-logs', ", "'trainingjob-operator-records'"),
        (
            FURTHER,
            "'shared', 'trainingjob-operator-logs', ",
            "'trainingjob-operator-records', 'ledger', 'data', 'certificates', 'pages'",
        ),
    ],
)
def test_the_policy_lists_the_claims_of_the_release(
    major: Major, given: Values, of_logs: str, others: str
) -> None:
    objects = render(given, major=major)
    judged = expression_containing(one(objects, POLICY, NAME)["spec"], "claimName")
    assert f"in [{of_logs}{others}]" in judged
    assert judged.startswith(f"request.namespace != '{NAMESPACE}' ||")
    by_logs = expression_containing(one(objects, POLICY, PARTS)["spec"], "claimName")
    # Jobs may mount their own directory of the log volume.
    assert by_logs.endswith(f"in [{others}])")


def test_the_log_volume_is_no_protected_claim_even_if_named_like_the_records() -> None:
    objects = render({"logVolume": {"existingClaim": "trainingjob-operator-records"}})
    validations = one(objects, POLICY, PARTS)["spec"]["validations"]
    # An empty list would be rendered as the claim name '', which matches jobs that name no claim.
    assert "claimName" not in str(validations)
    assert expression_containing(one(objects, POLICY, PARTS)["spec"], "app.kubernetes.io/instance")


def test_the_policy_lists_the_labels_of_the_release_under_any_name(major: Major) -> None:
    long = "n" * 60
    values: Values = {"nameOverride": long, "fullnameOverride": "short"}
    objects = render(values, major=major)
    policy = one(objects, POLICY, f"short-parts.{NAMESPACE}")["spec"]
    judged = expression_containing(policy, "app.kubernetes.io/instance")
    services = [each for each in objects if each["kind"] == "Service"]
    assert {each["metadata"]["name"] for each in services} >= {"short-records", "short-console"}
    for service in services:
        name = service["spec"]["selector"]["app.kubernetes.io/name"]
        prefix = "n" * 50 + "-"
        assert name == long or name.startswith(prefix)
        assert f"startsWith('{prefix}')" in judged
        assert f"!= '{long}'" in judged


def test_the_policy_can_be_audit_only_or_disabled() -> None:
    tried: Values = {"admissionPolicy": {"validationActions": ["Warn", "Audit"]}}
    assert one(render(tried), BINDING, NAME)["spec"]["validationActions"] == ["Warn", "Audit"]
    kinds = {found["kind"] for found in render({"admissionPolicy": {"enabled": False}})}
    assert not kinds & {POLICY, BINDING}


@pytest.mark.parametrize("actions", [[], ["Refuse"], ["Deny", "Warn"], ["Audit", "Audit"]])
def test_invalid_validation_actions_are_rejected_by_the_chart(actions: list[str]) -> None:
    with pytest.raises(RenderError, match="validationActions"):
        render({"admissionPolicy": {"validationActions": actions}})


def test_the_policy_is_omitted_if_the_api_server_does_not_serve_its_kind(major: Major) -> None:
    def kinds(*served: str) -> set[str]:
        apis = [word for api in served for word in ("--api-versions", api)]
        text = run_helm(major, "template", "trainingjob-operator", CHART, *apis)
        documents: list[Object] = [each for each in yaml.load_all(text, LOADER) if each]
        return {document["kind"] for document in documents} & {POLICY, BINDING}

    ours = f"admissionregistration.k8s.io/v1/{POLICY}"
    assert kinds("v1/Pod") == set()
    assert kinds("v1/Pod", ours) == kinds() == {POLICY, BINDING}
