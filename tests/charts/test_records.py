"""The record service as the chart deploys it, and the operator's settings for it."""

from pathlib import PurePath
from typing import Any

import pytest

from hack.chart import NAMESPACE
from tests.support.real.chart import (
    RELEASE,
    Object,
    Values,
    component,
    container,
    environment,
    one,
    pod_spec,
    render,
)
from trainingjob_operator.settings import Settings
from trainingjob_records.settings import Settings as RecordServiceSettings

RECORDS = "record-service"
ENDPOINT: Values = {"persist": {"url": "https://records.example/jobs"}}
POSTGRES: Values = {"recordService": {"databaseUrlSecret": {"name": "postgres", "key": "dsn"}}}
BEARER: Values = {"recordService": {"tokenSecret": {"name": "bearer", "key": "t"}}}


def volume(objects: list[Object], name: str, *, part: str = RECORDS) -> Object:
    (found,) = (each for each in pod_spec(objects, part=part)["volumes"] if each["name"] == name)
    return dict(found)


def mount_of(found: Object, path: PurePath | str) -> Object:
    """Return the volume mount that contains this path."""
    (mount,) = (
        each for each in found["volumeMounts"] if PurePath(path).is_relative_to(each["mountPath"])
    )
    return dict(mount)


def parts(values: Values) -> set[str]:
    return {component(found) for found in render(values)}


def test_the_operator_sends_records_to_the_charts_service() -> None:
    objects = render()
    service = one(objects, "Service", part=RECORDS)
    settings = Settings.from_environment(environment(objects))
    name = service["metadata"]["name"]
    assert settings.persist.url == f"http://{name}.{NAMESPACE}.svc:8090/api/v1/jobs"

    [port] = service["spec"]["ports"]
    record_settings = RecordServiceSettings.from_environment(environment(objects, part=RECORDS))
    assert (record_settings.host, record_settings.port) == ("", port["port"])
    assert container(objects, part=RECORDS)["ports"] == [
        {"name": port["targetPort"], "containerPort": port["port"]}
    ]
    labels = one(objects, "Deployment", part=RECORDS)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_operator_and_record_service_use_the_token_of_the_same_secret() -> None:
    objects = render()
    secret = one(objects, "Secret", part=RECORDS)["metadata"]["name"]

    sent = Settings.from_environment(environment(objects)).persist.token_file
    assert sent is not None
    mounted = mount_of(container(objects), sent)["name"]
    assert volume(objects, mounted, part="operator")["secret"] == {"secretName": secret}

    [maker] = pod_spec(objects, part=RECORDS)["initContainers"]
    expected = environment(objects, part=RECORDS)["TRAININGJOB_RECORDS_TOKEN_FILE"]
    readers = environment(objects, part=RECORDS)["TRAININGJOB_RECORDS_READ_TOKEN_FILE"]
    assert maker["args"] == [
        "record-token",
        f"--secret={secret}",
        "--key=token",
        f"--output={expected}",
        "--key=read-token",
        f"--output={readers}",
    ]
    assert sent.name == "token"
    shared = mount_of(maker, expected)["name"]
    assert mount_of(container(objects, part=RECORDS), expected)["name"] == shared
    assert volume(objects, shared)["emptyDir"]["medium"] == "Memory"


def test_the_record_services_values_reach_its_pod() -> None:
    url = {"name": "TRAININGJOB_RECORDS_DATABASE", "value": "postgresql://db/a?sslmode=disable"}
    objects = render(
        {
            "recordService": {
                "databaseUrlSecret": {"name": "postgres"},
                "config": {"TRAININGJOB_RECORDS_POOL_SIZE": 2},
                "extraEnv": [{"name": "PGAPPNAME", "value": "records"}, url],
                "podLabels": {"example.com/c": "d", "app.kubernetes.io/name": "not-taken"},
                "podAnnotations": {"example.com/a": "b"},
            }
        }
    )
    variables = environment(objects, part=RECORDS)
    assert variables.pop("PGAPPNAME") == "records"
    settings = RecordServiceSettings.from_environment(variables)
    assert (settings.pool_size, settings.database) == (2, url["value"])
    deployment = one(objects, "Deployment", part=RECORDS)["spec"]
    metadata = deployment["template"]["metadata"]
    assert metadata["labels"]["example.com/c"] == "d"
    assert deployment["selector"]["matchLabels"].items() <= metadata["labels"].items()
    assert metadata["annotations"] == {
        "example.com/a": "b",
        "kubectl.kubernetes.io/default-container": "records",
    }


def test_no_manifest_contains_a_secret_value() -> None:
    # No value is random either: a GitOps tool that renders again finds no difference.
    for values in ({}, POSTGRES):
        secret = one(render(values), "Secret", part=RECORDS)
        assert {"data", "stringData"} & set(secret) == set()


def test_only_the_token_init_container_has_api_access() -> None:
    objects = render()
    spec = pod_spec(objects, part=RECORDS)
    assert spec["automountServiceAccountToken"] is False
    api = "/var/run/secrets/kubernetes.io/serviceaccount"
    [maker] = spec["initContainers"]
    assert mount_of(maker, api)["name"] == "api-access"
    mounted = [each["mountPath"] for each in container(objects, part=RECORDS)["volumeMounts"]]
    assert api not in mounted


def test_the_records_are_on_a_claim_that_is_kept_on_uninstall() -> None:
    objects = render()
    claim = one(objects, "PersistentVolumeClaim", part="records")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    database = RecordServiceSettings.from_environment(
        environment(objects, part=RECORDS)
    ).url.database
    assert database is not None
    name = mount_of(container(objects, part=RECORDS), database)["name"]
    assert volume(objects, name)["persistentVolumeClaim"] == {
        "claimName": claim["metadata"]["name"]
    }


@pytest.mark.parametrize(
    ("persistence", "source"),
    [
        pytest.param({"enabled": False}, {"emptyDir": {}}, id="in-the-pod"),
        pytest.param(
            {"existingClaim": "mine"},
            {"persistentVolumeClaim": {"claimName": "mine"}},
            id="on-a-claim-that-is-there",
        ),
    ],
)
def test_no_claim_is_rendered_for_an_existing_claim_or_without_persistence(
    persistence: Any, source: Object
) -> None:
    objects = render({"recordService": {"persistence": persistence}})
    assert "PersistentVolumeClaim" not in {found["kind"] for found in objects}
    assert volume(objects, "records") == {"name": "records", **source}


def test_a_claim_takes_its_size_and_class_from_the_values() -> None:
    persistence = {"size": "20Gi", "storageClass": "fast", "keep": False}
    claim = one(
        render({"recordService": {"persistence": persistence}}),
        "PersistentVolumeClaim",
        part="records",
    )
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert "annotations" not in claim["metadata"]


def test_with_postgresql_there_is_no_claim_and_its_password_is_in_no_manifest() -> None:
    objects = render(POSTGRES)
    assert "PersistentVolumeClaim" not in {found["kind"] for found in objects}
    entries = {entry["name"]: entry for entry in container(objects, part=RECORDS)["env"]}
    assert entries["TRAININGJOB_RECORDS_DATABASE"]["valueFrom"] == {
        "secretKeyRef": {"name": "postgres", "key": "dsn"}
    }


def test_an_existing_secret_is_mounted_such_that_it_can_be_rotated() -> None:
    objects = render(BEARER)
    spec = pod_spec(objects, part=RECORDS)
    assert not {"initContainers", "serviceAccountName"} & set(spec)
    assert volume(objects, "token")["secret"] == {"secretName": "bearer"}
    assert "Secret" not in {found["kind"] for found in objects}
    expected = "/var/run/trainingjob/token/t"
    assert environment(objects, part=RECORDS)["TRAININGJOB_RECORDS_TOKEN_FILE"] == expected
    assert environment(objects)["TRAININGJOB_PERSIST__TOKEN_FILE"] == expected
    assert volume(objects, "record-token", part="operator")["secret"]["secretName"] == "bearer"


def test_another_endpoint_replaces_the_record_service() -> None:
    assert parts(ENDPOINT) == {"operator", "console"}
    settings = Settings.from_environment(environment(render(ENDPOINT)))
    assert settings.persist.url == ENDPOINT["persist"]["url"]
    assert settings.persist.token_file is None


def test_the_record_service_can_be_disabled() -> None:
    values = {"recordService": {"enabled": False}}
    assert parts(values) == {"operator", "console"}
    assert Settings.from_environment(environment(render(values))).persist.url == ""


def test_the_record_services_settings_reach_it() -> None:
    service = {
        "config": {"TRAININGJOB_RECORDS_MAX_BODY_BYTES": 1048576},
        "port": 9100,
        "retention": {"age": "90d", "size": 1000000},
    }
    objects = render({"recordService": service, "logging": {"level": "debug"}})
    settings = RecordServiceSettings.from_environment(environment(objects, part=RECORDS))
    assert settings.max_body_bytes == 1048576
    assert settings.port == 9100
    assert (settings.age_limit.days, settings.size_limit.size) == (90, 1000000)
    assert settings.log_level == "debug"
    assert ":9100/" in environment(objects)["TRAININGJOB_PERSIST__URL"]


MONITORING = [
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
]
PAGE = {
    "podSelector": {
        "matchLabels": {
            "app.kubernetes.io/name": f"{RELEASE}-console",
            "app.kubernetes.io/instance": RELEASE,
        }
    }
}
HTTP = [{"port": "http"}]
FRIENDS = [{"namespaceSelector": {"matchLabels": {"team": "ml"}}}]


@pytest.mark.parametrize(
    ("values", "others"),
    [
        pytest.param({}, MONITORING, id="defaults"),
        pytest.param(
            {"recordService": {"networkPolicy": {"from": FRIENDS}}}, FRIENDS, id="friends"
        ),
        pytest.param({"recordService": {"networkPolicy": {"from": []}}}, [], id="nobody-else"),
    ],
)
def test_the_network_policy_admits_operator_hooks_and_named_clients_to_the_record_service(
    values: Values, others: list[Object]
) -> None:
    objects = render(values, hooks=None)
    [rule] = one(objects, "NetworkPolicy", part=RECORDS)["spec"]["ingress"]
    assert rule["from"][4:] == others
    pods = [
        one(objects, "Deployment")["spec"]["template"],
        one(objects, "Job", part="uninstall")["spec"]["template"],
        one(objects, "Pod", part="smoke"),
        one(objects, "Deployment", part="console")["spec"]["template"],
    ]
    for peer, pod in zip(rule["from"][:4], pods, strict=True):
        labels = pod["metadata"]["labels"]
        assert peer["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("values", "ingress"),
    [
        pytest.param({}, [{"from": [*MONITORING, PAGE], "ports": HTTP}], id="defaults"),
        pytest.param(
            {"networkPolicy": {"from": FRIENDS}},
            [{"from": [*FRIENDS, PAGE], "ports": HTTP}],
            id="friends",
        ),
        pytest.param(
            {"networkPolicy": {"from": []}}, [{"from": [PAGE], "ports": HTTP}], id="the-console"
        ),
        # A rule with an empty `from` would admit every client.
        pytest.param(
            {"networkPolicy": {"from": []}, "console": {"enabled": False}}, [], id="nobody"
        ),
        pytest.param(
            {"metrics": {"secure": {"enabled": True, "certificateSecret": "tls"}}},
            [{"from": [*MONITORING, PAGE], "ports": [{"port": "https-metrics"}]}],
            id="who-has-the-right",
        ),
    ],
)
def test_the_network_policy_admits_only_named_clients_to_the_operator(
    values: Values, ingress: list[Object]
) -> None:
    objects = render(values)
    spec = one(objects, "NetworkPolicy", part="operator")["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == ingress
    labels = one(objects, "Deployment", part="operator")["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"] for port in container(objects)["ports"]}
    assert {port["port"] for rule in ingress for port in rule["ports"]} <= ports


def test_a_network_policy_selects_only_the_pods_of_its_component() -> None:
    objects = render()
    labels = {
        component(found): found["spec"]["template"]["metadata"]["labels"].items()
        for found in objects
        if found["kind"] == "Deployment"
    }
    for part in ("operator", RECORDS, "console"):
        selector = one(objects, "NetworkPolicy", part=part)["spec"]["podSelector"]["matchLabels"]
        assert {other for other in labels if selector.items() <= labels[other]} == {part}


def test_network_policies_can_be_left_out() -> None:
    off: Values = {
        "networkPolicy": {"enabled": False},
        "recordService": {"networkPolicy": {"enabled": False}},
        "console": {"networkPolicy": {"enabled": False}},
    }
    assert "NetworkPolicy" not in {found["kind"] for found in render(off)}


def test_no_selector_matches_pods_of_another_component() -> None:
    objects = render(hooks=None)
    labels = {
        component(found): found["spec"]["template"]["metadata"]["labels"]
        for found in objects
        if found["kind"] in {"Deployment", "Job"}
    }
    assert set(labels) == {"operator", RECORDS, "console", "uninstall"}
    for part in ("operator", RECORDS, "console"):
        selector = one(objects, "Deployment", part=part)["spec"]["selector"]["matchLabels"]
        matched = {other for other, found in labels.items() if selector.items() <= found.items()}
        assert matched == {part}


# --- uninstall ------------------------------------------------------------------------------


def test_the_uninstall_job_uses_the_operators_endpoint_and_is_kept_for_a_day() -> None:
    objects = render(hooks=None)
    job = one(objects, "Job", part="uninstall")
    found = container(objects, part="uninstall")
    assert found["args"] == ["release-finalizers", "--stop=trainingjob-operator"]
    assert found["env"] == container(objects)["env"]
    assert found["volumeMounts"] == container(objects)["volumeMounts"]
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "pre-delete",
        "helm.sh/hook-weight": "0",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400


@pytest.mark.parametrize(
    ("values", "added"),
    [
        ({"uninstall": {"discardRecords": True}}, ["--discard"]),
        ({"crds": {"keep": False}}, ["--jobs-go-too"]),
        ({"crds": {"keep": False, "enabled": False}}, []),
    ],
)
def test_the_uninstall_discards_records_only_on_request_and_knows_if_crds_are_deleted(
    values: Values, added: list[str]
) -> None:
    arguments = container(render(values, hooks=True), part="uninstall")["args"]
    assert arguments == ["release-finalizers", *added, "--stop=trainingjob-operator"]


def test_the_rights_of_the_uninstall_job_are_deleted_for_every_outcome() -> None:
    rights = [found for found in render(hooks=True) if found["kind"] != "Job"]
    assert {found["kind"] for found in rights} == {
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
    }
    for found in rights:
        annotations = found["metadata"]["annotations"]
        assert int(annotations["helm.sh/hook-weight"]) < 0
        assert annotations["helm.sh/hook-delete-policy"].split(",") == [
            "before-hook-creation",
            "hook-succeeded",
            "hook-failed",
        ]


@pytest.mark.parametrize(
    "values", [{"uninstall": {"releaseFinalizers": False}}, {"rbac": {"create": False}}]
)
def test_without_its_value_or_its_rights_nothing_is_done_at_an_uninstall(values: Values) -> None:
    assert render(values, hooks=True) == []
