"""The API server as used through kubectl."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.support.apiserver.api import ApiServerUnderTest
from tests.support.real import real_cluster
from tests.support.real.real_cluster import KUBECTL
from tests.support.repository import ROOT
from trainingjob_sandbox.apiserver import ApiServerThread

PATIENCE_S = 90

pytestmark = pytest.mark.skipif(not KUBECTL.exists(), reason="there is no kubectl here")


class Kubectl(real_cluster.Kubectl):
    """kubectl, with what only these tests need."""

    def __init__(self, kubeconfig: Path, folder: Path, namespace: str) -> None:
        # Not as a flag: with `--namespace`, kubectl warns about cluster-scoped objects.
        config = yaml.safe_load(kubeconfig.read_text())
        for context in config["contexts"]:
            context["context"]["namespace"] = namespace
        own = folder / "own.kubeconfig"
        own.write_text(yaml.safe_dump(config))
        super().__init__(own, folder / "kubectl-cache")
        self.namespace = namespace

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run kubectl in the background."""
        return subprocess.Popen(
            [*self._command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def apply(self, *objects: dict[str, Any]) -> str:
        return self(
            "apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": objects}
        )

    def until(self, *words: str) -> str:
        """Return its output once there is any: controllers need some time."""
        deadline = time.monotonic() + PATIENCE_S
        while not (printed := self(*words)):
            assert time.monotonic() < deadline, f"kubectl {' '.join(words)} prints nothing"
            time.sleep(0.05)
        return printed


@pytest.fixture
def kubectl(api_server: ApiServerUnderTest, tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    one = Kubectl(api_server.kubeconfig, tmp_path, f"kubectl-{uuid4().hex[:8]}")
    one("create", "namespace", one.namespace)
    if api_server.sandbox is None:  # before that a real server admits no pod
        one("wait", "--for=create", "serviceaccount/default", f"--timeout={PATIENCE_S}s")
    yield one
    one("delete", "namespace", one.namespace, "--wait=false")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl on a server that has nothing yet, not even our definitions."""
    with ApiServerThread() as api:
        yield Kubectl(api.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path, "default")


def job(name: str = "mnist", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "trainer", "image": "example/mnist:1"}]
    return {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "labels": {"team": "vision"}},
        "spec": {"template": {"spec": {"containers": containers}}, **spec},
    }


def pod(name: str = "p") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "c", "image": "x:1", "env": [{"name": "A", "value": "1"}]}]
        },
    }


@pytest.mark.sandbox_only
def test_the_crds_can_be_applied_without_flags_and_are_established(fresh: Kubectl) -> None:
    folder = str(ROOT / "manifests" / "crds")

    first, second = fresh("apply", "-f", folder), fresh("apply", "-f", folder)

    assert [line.rpartition(" ")[2] for line in first.splitlines()] == ["created"] * 2
    assert [line.rpartition(" ")[2] for line in second.splitlines()] == ["unchanged"] * 2
    fresh("wait", "--for=condition=Established", "crd/trainingjobs.trainingjob.dev")


def test_apply_creates_keeps_and_changes_objects(kubectl: Kubectl) -> None:
    name = "trainingjob.trainingjob.dev/mnist"

    assert kubectl.apply(job()) == f"{name} created"
    assert kubectl.apply(job()) == f"{name} unchanged"
    assert kubectl.apply(job(backoffLimit=5)) == f"{name} configured"
    assert kubectl("get", "tj", "mnist", "-o", "jsonpath={.spec.backoffLimit}") == "5"
    assert kubectl.apply(job()) == f"{name} configured"
    assert kubectl("get", "tj", "mnist", "-o", "jsonpath={.spec.backoffLimit}") == "3"


def test_apply_merges_the_lists_of_a_pod_by_their_keys(kubectl: Kubectl) -> None:
    kubectl.apply(pod())
    changed = pod()
    changed["metadata"]["labels"] = {"a": "b"}
    changed["spec"]["containers"][0]["image"] = "x:2"

    assert kubectl.apply(changed) == "pod/p configured"

    stored = yaml.safe_load(kubectl("get", "pod", "p", "-o", "yaml"))
    assert [c["image"] for c in stored["spec"]["containers"]] == ["x:2"]
    assert stored["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert stored["metadata"]["labels"] == {"a": "b"}


def test_a_list_is_applied_item_by_item(kubectl: Kubectl) -> None:
    name = "trainingjob.trainingjob.dev"

    assert kubectl.apply(job("a"), job("b")) == f"{name}/a created\n{name}/b created"
    assert kubectl.apply(job("a"), job("b", backoffLimit=2)) == (
        f"{name}/a unchanged\n{name}/b configured"
    )


def test_a_misspelt_field_is_refused(kubectl: Kubectl) -> None:
    done = kubectl.run("apply", "-f", "-", stdin=job(numNode=2))

    assert done.returncode == 1
    assert 'strict decoding error: unknown field "spec.numNode"' in done.stderr


def test_an_invalid_job_is_refused_with_the_field_and_the_bound(kubectl: Kubectl) -> None:
    done = kubectl.run("apply", "-f", "-", stdin=job(numNodes=0))

    assert done.returncode == 1
    assert "spec.numNodes: Invalid value: 0" in done.stderr
    assert "should be greater than or equal to 1" in done.stderr


def test_get_shows_the_columns_of_the_definition(kubectl: Kubectl) -> None:
    kubectl.apply(job("a"), job("b"))
    kubectl.run("label", "tj", "b", "team=text", "--overwrite")

    listed = kubectl("get", "tj").splitlines()
    heading = listed[0].split()

    assert heading[:3] == ["NAME", "PHASE", "NODES"]
    assert heading[-1] == "AGE"
    assert [line.split()[0] for line in listed[1:]] == ["a", "b"]
    assert "FRAMEWORK" in kubectl("get", "tj", "-o", "wide")
    assert kubectl("get", "tj", "-l", "team in (text)", "-o", "name").endswith("/b")
    assert kubectl("get", "training", "-o", "name").count("trainingjob.trainingjob.dev") == 2
    assert kubectl("get", "tj", "--sort-by=.metadata.name", "--no-headers").split()[0] == "a"


def test_get_selects_by_field(kubectl: Kubectl) -> None:
    kubectl.apply(job("a"), job("b"))
    patch = '{"status": {"phase": "Running"}}'
    kubectl("patch", "tj", "a", "--subresource=status", "--type=merge", "-p", patch)

    selected = kubectl("get", "tj", "--field-selector", "status.phase=Running", "-o", "name")

    assert selected == "trainingjob.trainingjob.dev/a"
    unknown = kubectl.run("get", "tj", "--field-selector", "spec.numNodes=1")
    assert "field label not supported: spec.numNodes" in unknown.stderr


def test_get_in_chunks_shows_everything(kubectl: Kubectl) -> None:
    kubectl.apply(*(pod(f"p{number}") for number in range(7)))

    assert len(kubectl("get", "pods", "--chunk-size=3", "--no-headers").splitlines()) == 7


def test_get_watch_shows_changes(kubectl: Kubectl) -> None:
    kubectl.apply(pod())
    watch = kubectl.start("get", "pods", "-w", "--no-headers", "--output-watch-events")
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline().split()[:3] == ["ADDED", "p", "0/1"]
        kubectl("label", "pod", "p", "a=b")
        assert watch.stdout.readline().split()[:2] == ["MODIFIED", "p"]
        kubectl("delete", "pod", "p", "--wait=false")
        assert watch.stdout.readline().split()[3] == "Terminating"
        assert watch.stdout.readline().split()[:2] == ["DELETED", "p"]
    finally:
        watch.kill()
        watch.communicate()


def test_describe_shows_the_object_and_its_events(kubectl: Kubectl) -> None:
    kubectl.apply(pod())
    uid = kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.uid}")
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "p.1"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": "p",
                "namespace": kubectl.namespace,
                "uid": uid,
            },
            "reason": "Scheduled",
            "message": "it found its place",
            "type": "Normal",
        }
    )

    described = kubectl("describe", "pod", "p")

    assert "Image:" in described
    assert "it found its place" in described
    assert "Scheduled" in kubectl("get", "events", "--field-selector", "involvedObject.name=p")
    assert "it found its place" in kubectl("events", "--for", "pod/p")


def test_explain_describes_a_field(kubectl: Kubectl) -> None:
    explained = kubectl("explain", "tj.spec.numNodes")

    assert "FIELD: numNodes <integer>" in explained
    assert "Number of nodes" in explained
    assert "numNodes" in kubectl("explain", "tj.spec")
    assert "image" in kubectl("explain", "tj.spec.template.spec.containers")
    assert "KIND:       Pod" in kubectl("explain", "pod")


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", '{"metadata": {"labels": {"x": "y"}}}'),
        ("json", '[{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]'),
        ("strategic", '{"metadata": {"labels": {"x": "y"}}}'),
    ],
)
def test_patch_supports_three_types(kubectl: Kubectl, kind: str, patch: str) -> None:
    kubectl.apply(pod())

    kubectl("patch", "pod", "p", "--type", kind, "-p", patch)

    assert kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.labels.x}") == "y"


def test_labels_and_annotations_can_be_added_and_removed(kubectl: Kubectl) -> None:
    kubectl.apply(job())

    kubectl("label", "tj", "mnist", "a=b")
    kubectl("annotate", "tj", "mnist", "trainingjob.dev/keep=true")
    labelled = yaml.safe_load(kubectl("get", "tj", "mnist", "-o", "yaml"))["metadata"]
    kubectl("label", "tj", "mnist", "a-")
    cleared = yaml.safe_load(kubectl("get", "tj", "mnist", "-o", "yaml"))["metadata"]

    assert labelled["labels"] == {"team": "vision", "a": "b"}
    assert labelled["annotations"]["trainingjob.dev/keep"] == "true"
    assert cleared["labels"] == {"team": "vision"}
    assert cleared["generation"] == 1


def test_wait_ends_when_the_condition_becomes_true(kubectl: Kubectl) -> None:
    kubectl.apply(job())
    wait = kubectl.start(
        "wait", "--for=condition=Finished", "tj/mnist", f"--timeout={PATIENCE_S}s"
    )
    condition = {
        "type": "Finished",
        "status": "True",
        "reason": "CompletionsReached",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    patch = yaml.safe_dump({"status": {"conditions": [condition]}})
    kubectl("patch", "tj", "mnist", "--subresource=status", "--type=merge", "-p", patch)
    out, error = wait.communicate(timeout=PATIENCE_S)

    assert (wait.returncode, error) == (0, "")
    assert out.strip() == "trainingjob.trainingjob.dev/mnist condition met"


def test_delete_waits_for_the_last_finalizer(kubectl: Kubectl) -> None:
    held = pod()
    held["metadata"]["finalizers"] = ["example.dev/held"]
    kubectl.apply(held)
    deletion = kubectl.start("delete", "pod", "p")
    try:
        kubectl("wait", "--for=jsonpath={.metadata.deletionTimestamp}", "pod/p")
        assert deletion.poll() is None
        kubectl("patch", "pod", "p", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        out, _ = deletion.communicate(timeout=PATIENCE_S)
    finally:
        deletion.kill()
        deletion.wait()

    assert deletion.returncode == 0
    assert out.startswith('pod "p" deleted')


def test_delete_also_deletes_dependents(kubectl: Kubectl) -> None:
    kubectl.apply(job())
    owner = yaml.safe_load(kubectl("get", "tj", "mnist", "-o", "yaml"))
    owned = pod()
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    owned["metadata"]["ownerReferences"] = [{**reference, "blockOwnerDeletion": True}]
    kubectl.apply(owned)

    kubectl("delete", "tj", "mnist", "--cascade=foreground")

    assert kubectl("get", "pods", "-o", "name") == ""


@pytest.mark.sandbox_only
def test_logs_reads_the_log_that_a_test_has_set(
    kubectl: Kubectl, api_server: ApiServerUnderTest
) -> None:
    kubectl.apply(pod())
    api_server.inside.call(
        lambda server: server.set_pod_log("p", "one\ntwo\n", namespace=kubectl.namespace)
    )

    assert kubectl("logs", "p") == "one\ntwo"
    assert kubectl("logs", "p", "--tail=1", "-c", "c") == "two"


def test_namespaces_are_created_and_deleted_with_their_objects(kubectl: Kubectl) -> None:
    other = f"{kubectl.namespace}-other"
    kubectl("create", "namespace", other)
    kubectl("-n", other, "create", "configmap", "cm", "--from-literal=a=b")
    kubectl("-n", other, "create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("-n", other, "create", "quota", "q", "--hard=pods=1")
    kubectl("-n", other, "create", "service", "clusterip", "svc", "--tcp=80:http")
    kubectl("-n", other, "create", "serviceaccount", "sa")

    assert kubectl("-n", other, "get", "cm", "cm", "-o", "jsonpath={.data.a}") == "b"
    assert kubectl("-n", other, "get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="
    kubectl.until("-n", other, "get", "quota", "q", "-o", "jsonpath={.status.used}")
    assert kubectl("-n", other, "describe", "quota", "q").split()[-3:] == ["pods", "0", "1"]
    assert "80/TCP" in kubectl("-n", other, "get", "svc")
    kubectl("delete", "namespace", other)
    assert other not in kubectl("get", "namespaces", "-o", "name")
    assert kubectl("-n", other, "get", "cm", "-o", "name") == ""


def test_a_quota_is_enforced_with_the_message_of_a_real_api_server(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "q", "--hard=pods=0")
    kubectl.until("get", "quota", "q", "-o", "jsonpath={.status.used}")

    done = kubectl.run("run", "p", "--image=x:1")

    assert done.stderr.strip() == (
        'Error from server (Forbidden): pods "p" is forbidden: exceeded quota: q, '
        "requested: pods=1, used: pods=0, limited: pods=0"
    )


def test_a_crd_is_deleted_with_its_objects(kubectl: Kubectl) -> None:
    group = f"{kubectl.namespace}.example.dev"
    kubectl.apply(definition(group))
    # kubectl does not wait for objects without conditions.
    kubectl.until("get", "crd", f"widgets.{group}", "-o", "jsonpath={.status.acceptedNames.kind}")
    kubectl("wait", "--for=condition=Established", f"crd/widgets.{group}")
    kubectl.apply({"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}})
    assert kubectl("get", f"widgets.{group}", "-o", "name") == f"widget.{group}/w"

    kubectl("delete", "crd", f"widgets.{group}")

    # A real server's discovery follows the deletion.
    _until(lambda: kubectl.run("get", f"widgets.{group}").returncode == 1)
    _until(lambda: group not in kubectl("api-resources", "--cached=false"))


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def definition(group: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object"}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


@pytest.mark.sandbox_only
def test_the_error_of_server_side_apply_names_an_alternative(kubectl: Kubectl) -> None:
    done = kubectl.run("apply", "--server-side", "-f", "-", stdin=job())

    assert done.returncode == 1
    assert "kubectl apply` without --server-side" in done.stderr


@pytest.mark.sandbox_only
def test_version_shows_the_server(kubectl: Kubectl) -> None:
    assert "v1.37.2+sandbox" in kubectl("version")
    assert kubectl("get", "--raw", "/readyz") == "ok"
