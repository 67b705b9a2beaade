"""The sandbox's API server seen through kubectl, the client that users judge it by."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainingjob_operator.api.crd import retention_policy_crd, training_job_crd
from trainingjob_sandbox.apiserver import ApiServer, ApiServerThread

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30


def _kubectl() -> str | None:
    beside = Path(sys.executable).with_name("kubectl")
    return str(beside) if beside.exists() else shutil.which("kubectl")


pytestmark = pytest.mark.skipif(_kubectl() is None, reason="there is no kubectl here")


class Kubectl:
    """Runs kubectl against one server."""

    def __init__(self, api: ApiServerThread, folder: Path) -> None:
        self.api = api
        self.folder = folder
        # A home of its own: kubectl keeps what it discovered, and servers share ports over time.
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(api.write_kubeconfig(folder / "kubeconfig")),
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run kubectl in the background."""
        return subprocess.Popen(
            [str(_kubectl()), *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl to its end."""
        return subprocess.run(
            [str(_kubectl()), *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl, which must succeed, and return what it printed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def apply(self, *objects: dict[str, Any]) -> str:
        return self("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with ApiServerThread() as api:
        yield Kubectl(api, tmp_path)


@pytest.fixture
def with_crds(kubectl: Kubectl) -> Kubectl:
    for crd in (training_job_crd(), retention_policy_crd()):
        kubectl.api.call(functools.partial(create_crd, crd=crd))
    return kubectl


def create_crd(server: ApiServer, crd: dict[str, Any]) -> None:
    server.store.create("customresourcedefinitions", crd)


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


def test_the_definitions_are_applied_without_a_flag_and_established(kubectl: Kubectl) -> None:
    folder = str(ROOT / "manifests" / "crds")

    first, second = kubectl("apply", "-f", folder), kubectl("apply", "-f", folder)

    assert [line.rpartition(" ")[2] for line in first.splitlines()] == ["created"] * 2
    assert [line.rpartition(" ")[2] for line in second.splitlines()] == ["unchanged"] * 2
    kubectl("wait", "--for=condition=Established", "crd/trainingjobs.trainingjob.dev")


def test_apply_creates_leaves_alone_and_changes(with_crds: Kubectl) -> None:
    name = "trainingjob.trainingjob.dev/mnist"

    assert with_crds.apply(job()) == f"{name} created"
    assert with_crds.apply(job()) == f"{name} unchanged"
    assert with_crds.apply(job(backoffLimit=5)) == f"{name} configured"
    assert with_crds("get", "tj", "mnist", "-o", "jsonpath={.spec.backoffLimit}") == "5"
    assert with_crds.apply(job()) == f"{name} configured"
    assert with_crds("get", "tj", "mnist", "-o", "jsonpath={.spec.backoffLimit}") == "3"


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


def test_a_misspelt_field_is_refused(with_crds: Kubectl) -> None:
    done = with_crds.run("apply", "-f", "-", stdin=yaml.safe_dump(job(numNode=2)))

    assert done.returncode == 1
    assert 'strict decoding error: unknown field "spec.numNode"' in done.stderr


def test_an_invalid_job_is_refused_with_the_field_and_the_bound(with_crds: Kubectl) -> None:
    done = with_crds.run("apply", "-f", "-", stdin=yaml.safe_dump(job(numNodes=0)))

    assert done.returncode == 1
    assert "spec.numNodes: Invalid value: 0" in done.stderr
    assert "should be greater than or equal to 1" in done.stderr


def test_get_shows_the_columns_of_the_definition(with_crds: Kubectl) -> None:
    with_crds.apply(job("a"), job("b"))
    with_crds.run("label", "tj", "b", "team=text", "--overwrite")

    listed = with_crds("get", "tj").splitlines()
    heading = listed[0].split()

    assert heading[:3] == ["NAME", "PHASE", "NODES"]
    assert heading[-1] == "AGE"
    assert [line.split()[0] for line in listed[1:]] == ["a", "b"]
    assert "FRAMEWORK" in with_crds("get", "tj", "-o", "wide")
    assert with_crds("get", "tj", "-l", "team in (text)", "-o", "name").endswith("/b")
    assert with_crds("get", "training", "-o", "name").count("trainingjob.trainingjob.dev") == 2
    assert with_crds("get", "tj", "--sort-by=.metadata.name", "--no-headers").split()[0] == "a"


def test_get_selects_by_field(with_crds: Kubectl) -> None:
    with_crds.apply(job("a"), job("b"))
    patch = '{"status": {"phase": "Running"}}'
    with_crds("patch", "tj", "a", "--subresource=status", "--type=merge", "-p", patch)

    selected = with_crds("get", "tj", "--field-selector", "status.phase=Running", "-o", "name")

    assert selected == "trainingjob.trainingjob.dev/a"
    unknown = with_crds.run("get", "tj", "--field-selector", "spec.numNodes=1")
    assert "field label not supported: spec.numNodes" in unknown.stderr


def test_get_in_chunks_shows_everything(kubectl: Kubectl) -> None:
    kubectl.apply(*(pod(f"p{number}") for number in range(7)))

    assert len(kubectl("get", "pods", "--chunk-size=3", "--no-headers").splitlines()) == 7


def test_get_follows_what_happens(kubectl: Kubectl) -> None:
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
            "metadata": {"name": "p.1", "namespace": "default"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": "p",
                "namespace": "default",
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


def test_explain_tells_what_a_field_means(with_crds: Kubectl) -> None:
    explained = with_crds("explain", "tj.spec.numNodes")

    assert "FIELD: numNodes <integer>" in explained
    assert "How many nodes" in explained
    assert "numNodes" in with_crds("explain", "tj.spec")
    assert "image" in with_crds("explain", "tj.spec.template.spec.containers")
    assert "KIND:       Pod" in with_crds("explain", "pod")


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", '{"metadata": {"labels": {"x": "y"}}}'),
        ("json", '[{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]'),
        ("strategic", '{"metadata": {"labels": {"x": "y"}}}'),
    ],
)
def test_patch_comes_in_three_kinds(kubectl: Kubectl, kind: str, patch: str) -> None:
    kubectl.apply(pod())

    kubectl("patch", "pod", "p", "--type", kind, "-p", patch)

    assert kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.labels.x}") == "y"


def test_labels_and_annotations_come_and_go(with_crds: Kubectl) -> None:
    with_crds.apply(job())

    with_crds("label", "tj", "mnist", "a=b")
    with_crds("annotate", "tj", "mnist", "trainingjob.dev/keep=true")
    labelled = yaml.safe_load(with_crds("get", "tj", "mnist", "-o", "yaml"))["metadata"]
    with_crds("label", "tj", "mnist", "a-")
    cleared = yaml.safe_load(with_crds("get", "tj", "mnist", "-o", "yaml"))["metadata"]

    assert labelled["labels"] == {"team": "vision", "a": "b"}
    assert labelled["annotations"]["trainingjob.dev/keep"] == "true"
    assert cleared["labels"] == {"team": "vision"}
    assert cleared["generation"] == 1


def test_wait_ends_when_the_condition_comes_true(with_crds: Kubectl) -> None:
    with_crds.apply(job())
    wait = with_crds.start(
        "wait", "--for=condition=Finished", "tj/mnist", f"--timeout={PATIENCE_S}s"
    )
    condition = {
        "type": "Finished",
        "status": "True",
        "reason": "CompletionsReached",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    with_crds.api.call(
        lambda server: server.store.update(
            "trainingjobs",
            "mnist",
            lambda old: {**old, "status": {"conditions": [condition]}},
            subresource="status",
        )
    )
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


def test_delete_takes_what_is_owned_along(with_crds: Kubectl) -> None:
    with_crds.apply(job())
    owner = yaml.safe_load(with_crds("get", "tj", "mnist", "-o", "yaml"))
    owned = pod()
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    owned["metadata"]["ownerReferences"] = [{**reference, "blockOwnerDeletion": True}]
    with_crds.apply(owned)

    with_crds("delete", "tj", "mnist", "--cascade=foreground")

    assert with_crds("get", "pods", "-o", "name") == ""


def test_a_pods_log_can_be_read(kubectl: Kubectl) -> None:
    kubectl.apply(pod())
    kubectl.api.call(lambda server: server.set_pod_log("p", "one\ntwo\n"))

    assert kubectl("logs", "p") == "one\ntwo"
    assert kubectl("logs", "p", "--tail=1", "-c", "c") == "two"


def test_namespaces_are_made_and_go_with_what_is_in_them(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "ml")
    kubectl("-n", "ml", "create", "configmap", "cm", "--from-literal=a=b")
    kubectl("-n", "ml", "create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("-n", "ml", "create", "quota", "q", "--hard=pods=1")
    kubectl("-n", "ml", "create", "service", "clusterip", "svc", "--tcp=80:http")
    kubectl("-n", "ml", "create", "serviceaccount", "sa")

    assert kubectl("-n", "ml", "get", "cm", "cm", "-o", "jsonpath={.data.a}") == "b"
    assert kubectl("-n", "ml", "get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="
    assert kubectl("-n", "ml", "describe", "quota", "q").split()[-3:] == ["pods", "0", "1"]
    assert "80/TCP" in kubectl("-n", "ml", "get", "svc")
    kubectl("delete", "namespace", "ml")
    assert "ml" not in kubectl("get", "namespaces", "-o", "name")
    assert kubectl("get", "cm", "-A", "-o", "name") == ""


def test_a_quota_is_enforced_in_the_real_servers_words(kubectl: Kubectl) -> None:
    kubectl("create", "quota", "q", "--hard=pods=0")

    done = kubectl.run("run", "p", "--image=x:1")

    assert done.stderr.strip() == (
        'Error from server (Forbidden): pods "p" is forbidden: exceeded quota: q, '
        "requested: pods=1, used: pods=0, limited: pods=0"
    )


def test_a_definition_goes_with_its_objects(with_crds: Kubectl) -> None:
    with_crds.apply(job())

    with_crds("delete", "crd", "trainingjobs.trainingjob.dev")

    assert with_crds.run("get", "tj").returncode == 1
    assert "trainingjobs" not in with_crds("api-resources", "--cached=false")


def test_server_side_apply_says_what_to_use_instead(with_crds: Kubectl) -> None:
    done = with_crds.run("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(job()))

    assert done.returncode == 1
    assert "kubectl apply` without --server-side" in done.stderr


def test_the_server_says_who_it_is(kubectl: Kubectl) -> None:
    assert "v1.37.2+sandbox" in kubectl("version")
    assert kubectl("get", "--raw", "/readyz") == "ok"
