"""Install, upgrade and uninstall on a real control plane as in docs/install.md, with Helm 3 and 4.

Without a node, the pods are admitted and stay Pending. Tests of running pods are in `test_release`;
an uninstall, too, needs a node, for its pre-delete Job.
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hack.chart import CHART, NAMESPACE
from hack.generate import INSTALL, ROOT, UNINSTALL
from hack.tools.helm import MAJORS
from tests.support.real.chart import RELEASE, Object, RenderError
from tests.support.real.real_cluster import KUBECTL, install_crds
from tests.support.real.release import Cluster
from tests.support.volume.volume import wait_until

pytestmark = pytest.mark.real_only

CRD_NAMES = {"retentionpolicies.trainingjob.dev", "trainingjobs.trainingjob.dev"}


def changed_chart(folder: Path) -> Path:
    """Return a chart like another version: with an additional column in the jobs' CRD."""
    copy = folder / "chart"
    shutil.copytree(CHART, copy)
    template = copy / "templates" / "crds" / "trainingjobs.yaml"
    text = template.read_text()
    mark = "    additionalPrinterColumns:\n"
    column = "    - name: Novel\n      type: string\n      jsonPath: .status.phase\n"
    assert text.count(mark) == 1
    template.write_text(text.replace(mark, mark + column))
    return copy


def test_a_namespace_that_enforces_restricted_admits_the_pod(cluster: Cluster) -> None:
    said = cluster.install()

    pods = {
        pod["spec"]["serviceAccountName"]: pod for pod in cluster.pods(cluster.namespace, count=4)
    }
    assert set(pods) == {
        "trainingjob-operator",
        "trainingjob-operator-console",
        "trainingjob-operator-records",
    }
    volumes = {
        account: [volume["name"].rpartition("-")[0] or volume["name"] for volume in found]
        for account, found in ((name, pod["spec"]["volumes"]) for name, pod in pods.items())
    }
    assert volumes == {
        "trainingjob-operator": ["record", "kube-api-access"],
        "trainingjob-operator-console": ["record", "kube-api-access"],
        "trainingjob-operator-records": ["tmp", "records", "token", "api"],
    }
    notes = said.partition("NOTES:")[2]
    assert f"kubectl -n {cluster.namespace} rollout status deployment/trainingjob-oper" in notes
    assert "for the jobs of all namespaces." in notes
    assert not [bad for bad in ("WARNING", "nil", "%!") if bad in notes]


def test_the_account_has_only_the_rights_it_needs(cluster: Cluster) -> None:
    cluster.install({"watchNamespaces": [cluster.team]})
    account = f"system:serviceaccount:{cluster.namespace}:trainingjob-operator"

    def can(verb: str, what: str, namespace: str) -> bool:
        question = ("create", "-o", "json", "-f", "-")
        resource, _, subresource = what.partition("/")
        group = "trainingjob.dev" if resource == "trainingjobs" else ""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": account,
                "resourceAttributes": {
                    "verb": verb,
                    "group": group,
                    "resource": resource,
                    "subresource": subresource,
                    "namespace": namespace,
                },
            },
        }
        answer = json.loads(cluster.kubectl(*question, stdin=json.dumps(review)))
        return bool(answer["status"]["allowed"])

    # The API server applies a new right only after a moment.
    wait_until(lambda: can("create", "pods", cluster.team), within_s=60)
    assert can("patch", "trainingjobs/status", cluster.team)
    assert not can("create", "pods", cluster.namespace)
    assert not can("list", "trainingjobs", "")
    assert can("patch", "trainingjobs", cluster.team)  # to set the finalizer for records
    assert can("delete", "trainingjobs", cluster.team)  # after their TTL
    assert not can("update", "trainingjobs", cluster.team)
    assert not can("get", "secrets", cluster.team)
    assert not can("create", "pods/exec", cluster.team)


def test_an_upgrade_brings_the_new_crds_and_keeps_the_jobs(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.install()
    cluster.apply_job()

    cluster.helm("upgrade", "trainingjob-operator", changed_chart(tmp_path))

    version = cluster.get("crd", "trainingjobs.trainingjob.dev")["spec"]["versions"][0]
    assert "Novel" in [column["name"] for column in version["additionalPrinterColumns"]]
    assert cluster.has_job()


def test_an_uninstall_keeps_crds_and_jobs_and_the_next_install_adopts_them(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.install()
    cluster.apply_job()

    with cluster.node(tmp_path):
        cluster.helm("uninstall", "trainingjob-operator", "--timeout=90s")

    assert cluster.crds() == CRD_NAMES
    assert cluster.has_job()
    assert cluster.get("deployments", "-n", cluster.namespace)["items"] == []

    cluster.install()
    assert cluster.has_job()


def test_crds_and_jobs_are_kept_when_the_chart_stops_managing_crds(
    cluster: Cluster,
) -> None:
    cluster.install()
    cluster.apply_job()

    cluster.helm("upgrade", "trainingjob-operator", CHART, values={"crds": {"enabled": False}})

    assert cluster.crds() == CRD_NAMES
    assert cluster.has_job()


def test_an_uninstall_deletes_the_crds_on_request(cluster: Cluster, tmp_path: Path) -> None:
    said = cluster.install({"crds": {"keep": False}})
    assert "WARNING: crds.keep is false" in said
    cluster.apply_job()

    with cluster.node(tmp_path):
        cluster.helm("uninstall", "trainingjob-operator", "--wait", "--timeout=90s")

    assert cluster.crds() == set()


def test_crds_that_kubectl_applied_can_be_taken_over(cluster: Cluster) -> None:
    install_crds(cluster.kubeconfig)
    cluster.apply_job()
    with pytest.raises(RenderError, match="invalid ownership metadata"):
        cluster.install()

    # Helm 4 uses server-side apply, where kubectl owns the fields that it set until Helm forces conflicts.
    force = ("--force-conflicts",) if cluster.major == 4 else ()
    cluster.helm("upgrade", "--install", "trainingjob-operator", CHART, "--take-ownership", *force)

    assert cluster.has_job()


def test_an_upgrade_keeps_zero_replicas(cluster: Cluster, tmp_path: Path) -> None:
    cluster.install()
    name = "deployment/trainingjob-operator"
    cluster.kubectl("-n", cluster.namespace, "scale", name, "--replicas=0")

    cluster.helm("upgrade", "trainingjob-operator", changed_chart(tmp_path))

    assert cluster.get(name, "-n", cluster.namespace)["spec"]["replicas"] == 0

    cluster.kubectl("-n", cluster.namespace, "scale", name, "--replicas=1")
    cluster.helm("upgrade", "trainingjob-operator", CHART)
    assert cluster.get(name, "-n", cluster.namespace)["spec"]["replicas"] == 1


def test_an_upgrade_to_leader_election_stops_the_old_operator_before_it_starts_two(
    cluster: Cluster,
) -> None:
    cluster.install({"leaderElection": {"enabled": False}})
    name = "deployment/trainingjob-operator"
    assert cluster.get(name, "-n", cluster.namespace)["spec"]["replicas"] == 1

    cluster.helm("upgrade", "trainingjob-operator", CHART, "--reset-values")
    spec = cluster.get(name, "-n", cluster.namespace)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (2, {"type": "Recreate"})

    cluster.helm("upgrade", "trainingjob-operator", CHART, "--reset-values")
    spec = cluster.get(name, "-n", cluster.namespace)["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (2, "RollingUpdate")


def test_a_second_release_serves_other_namespaces(cluster: Cluster) -> None:
    cluster.install({"watchNamespaces": [cluster.team]})
    values = {
        "watchNamespaces": [cluster.namespace],
        "crds": {"enabled": False},
        "rbac": {"aggregateClusterRoles": False},
        "extraEnv": [{"name": "TRAININGJOB_LOGGING__LEVEL", "value": "debug"}],
    }
    cluster.helm("install", "second", CHART, values=values)

    deployments = cluster.get("deployments", "-n", cluster.namespace)["items"]
    names = [found["metadata"]["name"] for found in deployments]
    assert sorted(names) == [
        "second-trainingjob-operator",
        "second-trainingjob-operator-console",
        "second-trainingjob-operator-records",
        "trainingjob-operator",
        "trainingjob-operator-console",
        "trainingjob-operator-records",
    ]


def documented_command(last: str) -> str:
    """Return the command of docs/install.md that ends with this line, and what it continues."""
    lines = (ROOT / "docs" / "install.md").read_text().splitlines()
    end = lines.index(f"        {last}")
    return "\n".join(lines[end - 1 : end + 1])


def shell(cluster: Cluster, command: str) -> None:
    """Run a shell command in a clone."""
    path = f"{KUBECTL.parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": path}
    script = ("bash", "-euo", "pipefail", "-c", command)
    subprocess.run(script, cwd=ROOT, env=environment, check=True, timeout=120)


def test_an_uninstall_by_kubectl_uses_the_given_image_and_replaces_an_earlier_job(
    cluster_for_kubectl: Cluster,
) -> None:
    cluster = cluster_for_kubectl
    cluster.namespace = NAMESPACE
    cluster.kubectl("create", "namespace", NAMESPACE)
    uninstall = documented_command("kubectl replace --force -f -")
    cluster.kubectl("apply", "-f", str(ROOT / UNINSTALL))
    with pytest.raises(subprocess.CalledProcessError):
        shell(cluster, uninstall.replace("replace --force", "apply"))

    for _ in range(2):
        before = cluster.get("job", f"{RELEASE}-uninstall", "-n", NAMESPACE)["metadata"]["uid"]
        shell(cluster, uninstall)
        job = cluster.get("job", f"{RELEASE}-uninstall", "-n", NAMESPACE)
        assert job["metadata"]["uid"] != before
        [container] = job["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "registry.example/ml/trainingjob-operator:0.1.0"
    cluster.kubectl("delete", "-f", str(ROOT / UNINSTALL))
    shell(cluster, uninstall)
    assert cluster.get("job", f"{RELEASE}-uninstall", "-n", NAMESPACE)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


def test_the_manifest_can_be_installed_and_deleted_while_there_are_jobs(
    cluster_for_kubectl: Cluster,
) -> None:
    cluster = cluster_for_kubectl
    manifest = str(ROOT / INSTALL)
    crds = str(ROOT / "manifests" / "crds")
    cluster.kubectl("apply", "--validate=strict", "-f", crds, "-f", manifest)
    cluster.apply_job()
    assert cluster.pods(NAMESPACE, count=4)

    cluster.kubectl("delete", "--timeout=60s", "-f", manifest)

    assert cluster.crds() == CRD_NAMES
    assert cluster.has_job()
    cluster.kubectl("-n", cluster.team, "delete", "tj", "precious", "--timeout=30s")


def is_going(found: Object) -> bool:
    return "deletionTimestamp" in found["metadata"]


def test_every_set_of_values_installs_upgrades_rolls_back_and_uninstalls(
    cluster_for_kubectl: Cluster,
) -> None:
    """Without a node, Helm does not wait for the pods, nor for the pre-delete Job.

    Every second set uses Helm 3: both versions render the same, which `test_render` shows.
    """
    cluster = cluster_for_kubectl
    found = sorted((CHART / "ci").glob("*-values.yaml"))
    assert len(found) > 6
    for path, major in zip(found, itertools.cycle(MAJORS)):
        cluster.major = major
        given = (RELEASE, CHART, "--values", path)
        cluster.helm("install", *given)
        cluster.helm("upgrade", *given, "--set", "logging.level=debug")
        cluster.helm("rollback", RELEASE, "1")
        assert len(json.loads(cluster.helm("history", RELEASE, "-o", "json"))) == 3
        cluster.helm("uninstall", RELEASE, "--no-hooks")
        assert cluster.get("deployments", "-n", cluster.namespace)["items"] == []
        claims = cluster.get("pvc", "-n", cluster.namespace)["items"]
        kept = {each["metadata"]["name"] for each in claims if not is_going(each)}
        assert (f"{RELEASE}-logs" in kept) is (path.stem == "logs-values"), kept
        # The retained claim is unchanged: its access mode is immutable.
        cluster.kubectl("-n", cluster.namespace, "delete", "pvc", "--all", "--timeout=60s")
