"""The console as the chart deploys it: rights, settings, network access and ingress."""

from typing import Any

import pytest

from hack.chart import CHART, NAMESPACE
from hack.tools.helm import Major
from tests.support.real.chart import (
    Object,
    Values,
    component,
    container,
    environment,
    one,
    pod_spec,
    render,
    run_helm,
)
from trainingjob_console.settings import Settings

CONSOLE = "console"
NAME = "trainingjob-operator-console"
NAMED: Values = {"watchNamespaces": ["team-a", "team-b"]}
SHARED: Values = {"logVolume": {"existingClaim": "logs", "accessMode": "ReadWriteMany"}}
INGRESS_PODS = [{"namespaceSelector": {"matchLabels": {"team": "ingress"}}}]
LET_IN: Values = {"networkPolicy": {"from": INGRESS_PODS}}


def settings_of(values: Values) -> Settings:
    return Settings.from_environment(environment(render(values), part=CONSOLE))


def volumes(values: Values) -> dict[str, Object]:
    found = pod_spec(render(values), part=CONSOLE).get("volumes", [])
    return {volume["name"]: volume for volume in found}


def mounts(values: Values) -> dict[str, Object]:
    found = container(render(values), part=CONSOLE).get("volumeMounts", [])
    return {mount["name"]: mount for mount in found}


def test_the_console_can_be_disabled_completely() -> None:
    assert CONSOLE not in str(render({"console": {"enabled": False}}, hooks=None))


def test_the_consoles_account_may_only_list_and_watch_jobs() -> None:
    rule = {
        "apiGroups": ["trainingjob.dev"],
        "resources": ["trainingjobs"],
        "verbs": ["list", "watch"],
    }
    role = one(render(), "ClusterRole", "trainingjob-operator-console", part=CONSOLE)
    assert role["rules"] == [rule]
    named = [found for found in render(NAMED) if component(found) == CONSOLE]
    roles = [found for found in named if found["kind"] == "Role"]
    assert [found["metadata"]["namespace"] for found in roles] == ["team-a", "team-b"]
    assert [found["rules"] for found in roles] == [[rule], [rule]]
    assert "ClusterRoleBinding" not in {found["kind"] for found in named}
    assert settings_of(NAMED).namespaces == ("team-a", "team-b")


def test_there_are_two_unbound_roles_for_users_of_the_console() -> None:
    def granted(name: str) -> dict[str, list[str]]:
        role = one(render(), "ClusterRole", f"trainingjob-operator-console-{name}", part=CONSOLE)
        assert "aggregate" not in str(role)
        return {r: rule["verbs"] for rule in role["rules"] for r in rule["resources"]}

    assert granted("view") == {
        "trainingjobs": ["get", "list"],
        "pods": ["get", "list"],
        "pods/log": ["get"],
        "events": ["list"],
    }
    assert granted("edit") == {"trainingjobs": ["create", "patch", "delete"]}
    bindings = [found for found in render() if found["kind"].endswith("RoleBinding")]
    assert not [
        found for found in bindings if found["roleRef"]["name"].endswith(("-view", "-edit"))
    ]
    none = render({"rbac": {"aggregateClusterRoles": False}})
    assert "console-view" not in str(none)


def test_only_its_own_pod_gets_a_token() -> None:
    objects = render()
    assert one(objects, "ServiceAccount", part=CONSOLE)["automountServiceAccountToken"] is False
    assert pod_spec(objects, part=CONSOLE)["automountServiceAccountToken"] is True


def test_the_default_values_are_the_consoles_own_defaults() -> None:
    chart, own = settings_of({}), Settings.from_environment({})
    ours = (
        *("address", "metrics_address", "log_format", "records_url", "records_token_file"),
        "operator_metrics",
    )
    assert chart.model_copy(update={name: getattr(own, name) for name in ours}) == own
    assert (chart.address, chart.metrics_address, chart.log_format) == (":8070", ":8071", "json")
    assert chart.auth == "token"


@pytest.mark.parametrize(
    "values", [{"clusterName": "west"}, {"config": {"TRAININGJOB_CLUSTER_NAME": "west"}}]
)
def test_the_console_shows_records_of_the_operators_cluster_name(values: Values) -> None:
    assert environment(render(values))["TRAININGJOB_CLUSTER_NAME"] == "west"
    assert settings_of(values).cluster_name == "west"


# --- history and logs ---------------------------------------------------------------------------


def test_the_console_reads_history_with_a_read_only_token() -> None:
    records = environment(render(), part="record-service")
    secret = one(render(), "Secret", part="record-service")["metadata"]["name"]
    settings = settings_of({})
    assert settings.records_url == f"http://{secret}.{NAMESPACE}.svc:8090/api/v1/jobs"
    # Only this key of the Secret is mounted; until the Secret exists, the page works without history.
    assert volumes({})["record-token"]["secret"] == {
        "secretName": secret,
        "items": [{"key": "read-token", "path": "token"}],
        "optional": True,
    }
    folder = mounts({})["record-token"]["mountPath"]
    assert str(settings.records_token_file) == f"{folder}/token"
    assert records["TRAININGJOB_RECORDS_READ_TOKEN_FILE"].endswith("/read-token")


@pytest.mark.parametrize(("read_key", "shown"), [("", "t"), ("readers", "readers")])
def test_with_an_existing_secret_the_console_gets_the_readers_key_if_there_is_one(
    read_key: str, shown: str
) -> None:
    token = {"name": "bearer", "key": "t", "readKey": read_key}
    values: Values = {"recordService": {"tokenSecret": token}}
    assert volumes(values)["record-token"]["secret"]["items"] == [{"key": shown, "path": "token"}]
    told = environment(render(values), part="record-service")
    readers = told.get("TRAININGJOB_RECORDS_READ_TOKEN_FILE")
    assert readers == (f"/var/run/trainingjob/token/{read_key}" if read_key else None)


def test_the_console_can_read_history_from_another_url_or_not_at_all() -> None:
    url = "https://records.example:8443/api/v1/jobs"
    elsewhere: Values = {"console": {"records": {"url": url}}}
    assert settings_of(elsewhere).records_url == url
    assert "record-token" not in volumes(elsewhere)
    elsewhere["console"]["records"]["tokenSecret"] = {"name": "theirs", "key": "k"}
    secret = volumes(elsewhere)["record-token"]["secret"]
    assert (secret["secretName"], secret["items"][0]["key"]) == ("theirs", "k")
    elsewhere["networkPolicy"] = {"egress": {"enabled": True}}
    assert one(render(elsewhere), "NetworkPolicy", part=CONSOLE)["spec"]["egress"][-1] == {
        "ports": [{"port": 8443}]
    }
    # A user's own endpoint stores records, but need not serve lists of them.
    for none in ({"persist": {"url": url}}, {"recordService": {"enabled": False}}):
        assert settings_of(none).records_url is None
        assert volumes(none) == {}


def test_the_console_mounts_archived_logs_read_only() -> None:
    settings = settings_of(SHARED)
    assert volumes(SHARED)["log-volume"]["persistentVolumeClaim"] == {"claimName": "logs"}
    assert mounts(SHARED)["log-volume"] == {
        "name": "log-volume",
        "mountPath": str(settings.log_volume),
        "readOnly": True,
    }
    group = pod_spec(render(SHARED), part=CONSOLE)["securityContext"]["fsGroup"]
    assert group == pod_spec(render(SHARED))["securityContext"]["fsGroup"]
    off = SHARED | {"console": {"archivedLogs": False}}
    assert ("log-volume" in volumes(off), settings_of(off).log_volume) == (False, None)


def test_a_volume_for_one_node_is_the_operators_unless_the_values_put_both_there() -> None:
    alone: Values = {"logVolume": {"create": True}}
    assert "log-volume" not in volumes(alone)
    both = alone | {"console": {"archivedLogs": True}}
    assert "log-volume" in volumes(both)
    [term] = pod_spec(render(both), part=CONSOLE)["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    operators = one(render(both), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= operators.items()
    # While the old pod exists, the operator cannot attach the volume on another node.
    both["console"] |= {"replicas": 2}
    objects = render(both)
    spec = one(objects, "Deployment", part=CONSOLE)["spec"]
    assert (spec["strategy"], spec["replicas"]) == ({"type": "Recreate"}, 1)
    budgets = [each for each in objects if each["kind"] == "PodDisruptionBudget"]
    assert CONSOLE not in [component(each) for each in budgets]
    # Without a log volume, the console mounts none.
    assert "log-volume" not in volumes({"console": {"archivedLogs": True}})


def test_the_console_finds_all_operators_by_dns_without_a_right_to_pods() -> None:
    objects = render({"web": {"port": 9000}})
    service = one(objects, "Service", "trainingjob-operator-metrics", part=CONSOLE)
    spec = service["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    operators = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"].items() <= operators.items()
    [port] = spec["ports"]
    named = {each["name"]: each["containerPort"] for each in container(objects)["ports"]}
    assert named[port["targetPort"]] == port["port"] == 9000
    [url] = settings_of({"web": {"port": 9000}}).operator_metrics
    assert url == f"http://{service['metadata']['name']}.{NAMESPACE}.svc:9000/metrics"


@pytest.mark.parametrize("named", [{}, NAMED], ids=["all", "named"])
def test_for_secure_metrics_the_console_has_the_right_and_verifies_the_certificate(
    named: Values,
) -> None:
    secure = {"enabled": True, "certificateSecret": "metrics-tls", "port": 9443}
    egress = {"networkPolicy": {"egress": {"enabled": True}}}
    values: Values = named | egress | {"metrics": {"secure": secure}}
    objects, settings = render(values), settings_of(values)
    service = one(objects, "Service", "trainingjob-operator-metrics", part=CONSOLE)
    [port] = service["spec"]["ports"]
    ports = {each["name"]: each["containerPort"] for each in container(objects)["ports"]}
    assert ports[port["targetPort"]] == port["port"] == 9443
    [url] = settings.operator_metrics
    assert url == f"https://{service['metadata']['name']}.{NAMESPACE}.svc:9443/metrics"
    # Only the certificate of the Secret is mounted: the key is for operators only.
    assert volumes(values)["metrics-certificate"]["secret"] == {
        "secretName": "metrics-tls",
        "items": [{"key": "tls.crt", "path": "tls.crt"}],
        "optional": True,
    }
    folder = mounts(values)["metrics-certificate"]["mountPath"]
    assert str(settings.operator_metrics_certificate) == f"{folder}/tls.crt"
    binding = one(objects, "ClusterRoleBinding", f"{NAME}-metrics", part=CONSOLE)
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    ]
    role = one(objects, "ClusterRole", binding["roleRef"]["name"])
    assert role["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    # Both directions: ingress of the operator, and egress of the console.
    into = one(objects, "NetworkPolicy", "trainingjob-operator")["spec"]["ingress"]
    out = one(objects, "NetworkPolicy", part=CONSOLE)["spec"]["egress"]
    [let_in] = [rule for rule in into if CONSOLE in str(rule)]
    assert let_in["ports"] == [{"port": "https-metrics"}]
    assert {"port": "https-metrics"} in [port for rule in out for port in rule["ports"]]


# --- pods -----------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_rolling_update_has_no_gap_and_the_disruption_budget_permits_one_pod(
    replicas: int,
) -> None:
    objects = render({"console": {"replicas": replicas}})
    spec = one(objects, "Deployment", part=CONSOLE)["spec"]
    assert spec["replicas"] == replicas
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budgets = [
        found
        for found in objects
        if found["kind"] == "PodDisruptionBudget" and component(found) == CONSOLE
    ]
    assert [budget["spec"]["selector"] for budget in budgets] == [spec["selector"]] * (
        replicas - 1
    )
    [term] = spec["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"] == spec["selector"]


def test_the_consoles_probes_use_the_internal_port(major: Major) -> None:
    objects = render({"console": {"port": 9000, "metricsPort": 9001}}, major=major)
    found = container(objects, part=CONSOLE)
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    assert ports == {"http": 9000, "metrics": 9001}
    settings = Settings.from_environment(environment(objects, part=CONSOLE))
    assert (settings.address, settings.metrics_address) == (":9000", ":9001")
    probes = {
        kind: found[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert {probe["port"] for probe in probes.values()} == {"metrics"}
    assert probes["readiness"]["path"] == "/readyz"
    [port] = one(objects, "Service", NAME, part=CONSOLE)["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (9000, "http")


def test_the_consoles_values_reach_its_pods() -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    objects = render(
        {
            "priorityClassName": "important",
            "logging": {"level": "debug"},
            "console": {
                "maxJobs": 1000000 // 10,
                "origins": ["https://jobs.example.com"],
                "config": {"TRAININGJOB_CONSOLE_MAX_CONNECTIONS": 64},
                "extraEnv": [{"name": "TZ", "value": "UTC"}],
                "affinity": {"nodeAffinity": {}},
                "topologySpreadConstraints": [spread],
                "podLabels": {"example.com/c": "d", "app.kubernetes.io/name": "not-taken"},
                "podAnnotations": {"example.com/a": "b"},
                "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
                "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            },
        }
    )
    variables = environment(objects, part=CONSOLE)
    assert variables.pop("TZ") == "UTC"
    settings = Settings.from_environment(variables)
    assert (settings.max_jobs, settings.max_connections) == (100_000, 64)
    assert (settings.origins, settings.log_level) == (("https://jobs.example.com",), "debug")
    deployment = one(objects, "Deployment", part=CONSOLE)["spec"]
    spec, metadata = deployment["template"]["spec"], deployment["template"]["metadata"]
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert spec["topologySpreadConstraints"] == [
        spread | {"labelSelector": deployment["selector"]}
    ]
    assert spec["priorityClassName"] == "important"
    assert spec["volumes"][-1]["name"] == "scratch"
    assert metadata["labels"]["example.com/c"] == "d"
    assert deployment["selector"]["matchLabels"].items() <= metadata["labels"].items()
    assert metadata["annotations"]["example.com/a"] == "b"


# --- network access -----------------------------------------------------------------------------


def ingress_rules(values: Values) -> list[Object]:
    policy = one(render(values), "NetworkPolicy", part=CONSOLE)
    return list(policy["spec"]["ingress"])


def test_the_network_policy_admits_only_the_named_clients_to_the_page() -> None:
    [metrics] = ingress_rules({})
    assert metrics["ports"] == [{"port": "metrics"}]
    page, _ = ingress_rules({"console": LET_IN})
    assert page == {"from": INGRESS_PODS, "ports": [{"port": "http"}]}
    assert ingress_rules({"console": {"networkPolicy": {"metricsFrom": []}}}) == []


def test_the_service_has_session_affinity() -> None:
    # The list's position in the change stream is valid only on the console that served the list.
    spec = one(render({"console": {"replicas": 2}}), "Service", NAME, part=CONSOLE)["spec"]
    assert spec["sessionAffinity"] == "ClientIP"


def test_an_ingress_uses_tls_and_its_origin_is_allowed_by_the_console(major: Major) -> None:
    ingress: Any = {"enabled": True, "host": "jobs.example.com", "className": "nginx"}
    values: Values = {"console": LET_IN | {"ingress": ingress}}
    spec = one(render(values, major=major), "Ingress", part=CONSOLE)["spec"]
    assert (spec["ingressClassName"], spec["tls"]) == ("nginx", [{"hosts": ["jobs.example.com"]}])
    [rule] = spec["rules"]
    assert rule["host"] == "jobs.example.com"
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "trainingjob-operator-console", "port": {"name": "http"}}
    # Sockets and log-ins then also work behind a proxy that changes `Host`, or does not report
    # that the browser uses TLS.
    assert settings_of(values).origins == ("https://jobs.example.com",)
    ingress |= {"tlsSecret": "jobs-tls", "annotations": {"a": "b"}}
    made = one(render(values), "Ingress", part=CONSOLE)
    assert made["spec"]["tls"][0]["secretName"] == "jobs-tls"
    assert made["metadata"]["annotations"] == {"a": "b"}


def test_a_route_of_the_gateway_api_leads_to_the_service() -> None:
    parents = [{"name": "public", "namespace": "gateways", "sectionName": "https"}]
    route = {"enabled": True, "parentRefs": parents, "hostnames": ["jobs.example.com"]}
    values: Values = {"console": LET_IN | {"httpRoute": route}}
    spec = one(render(values), "HTTPRoute", part=CONSOLE)["spec"]
    assert spec == {
        "parentRefs": parents,
        "hostnames": ["jobs.example.com"],
        "rules": [{"backendRefs": [{"name": "trainingjob-operator-console", "port": 8070}]}],
    }
    assert settings_of(values).origins == ("https://jobs.example.com",)


def test_the_consoles_certificate_is_mounted_such_that_it_can_be_rotated() -> None:
    values: Values = {"console": {"tls": {"secret": "console-tls"}}}
    settings = settings_of(values)
    folder = mounts(values)["certificate"]["mountPath"]
    assert [str(settings.tls_cert), str(settings.tls_key)] == [
        f"{folder}/tls.crt",
        f"{folder}/tls.key",
    ]
    assert volumes(values)["certificate"]["secret"] == {"secretName": "console-tls"}
    [port] = one(render(values), "Service", NAME, part=CONSOLE)["spec"]["ports"]
    assert port["appProtocol"] == "https"
    # The probes use a port without TLS.
    assert (
        container(render(values), part=CONSOLE)["readinessProbe"]["httpGet"]["port"] == "metrics"
    )
    assert "echo https://localhost:8070" in notes(values)
    [plain] = one(render(), "Service", NAME, part=CONSOLE)["spec"]["ports"]
    assert "appProtocol" not in plain


def notes(values: Values) -> str:
    """Return the notes of an installation with these values."""
    said = run_helm(
        *(4, "install", "trainingjob-operator", CHART),
        *("--dry-run=client", "--namespace", NAMESPACE),
        values=values,
    )
    return said.partition("NOTES:")[2]


def test_the_notes_explain_how_to_open_the_console() -> None:
    said = notes({})
    forward = f"kubectl -n {NAMESPACE} port-forward service/trainingjob-operator-console 8070 &"
    assert forward in said
    assert "--clusterrole=trainingjob-operator-console-view" in said
    assert "kubectl -n default create token" in said
    assert "kubectl -n team-a create token" in notes(NAMED)
    without = notes({"rbac": {"aggregateClusterRoles": False}})
    assert "--clusterrole=view" in without
    ingress = {"ingress": {"enabled": True, "host": "jobs.example.com"}}
    assert "https://jobs.example.com" in notes({"console": LET_IN | ingress})
    assert "console.archivedLogs" in notes({"logVolume": {"create": True}})
    assert "readKey" in notes({"recordService": {"tokenSecret": {"name": "bearer"}}})
    assert "console" not in notes({"console": {"enabled": False}})
