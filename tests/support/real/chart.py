"""Renders the chart with Helm, and creates kubeconfigs for its service accounts."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from hack.chart import CHART, NAMESPACE
from hack.cluster.control_plane import ControlPlane
from hack.tools.helm import Major, helm
from tests.support.real.real_cluster import kubectl, wait_until_served

RELEASE = "trainingjob-operator"
_LIMIT_S = 400.0
"""More than any `--timeout` that Helm is told: it is to say itself what it has waited for."""
ACCOUNT_KINDS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")

# The C implementation if available: ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Object = dict[str, Any]
Values = dict[str, Any]


class RenderError(AssertionError):
    """Helm failed; the message is its output."""


def run_helm(major: Major, *arguments: str | Path, values: Values | None = None) -> str:
    """Run Helm with these values on its standard input; return its output.

    Raises:
        RenderError: it failed.
    """
    given = ["--values", "-"] if values is not None else []
    done = subprocess.run(
        [helm(major), *arguments, *given],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    if done.returncode != 0:
        raise RenderError(done.stderr + done.stdout)
    return done.stdout


def render(
    values: Values | None = None,
    *,
    major: Major = 4,
    namespace: str = NAMESPACE,
    release: str = RELEASE,
    hooks: bool | None = False,
) -> list[Object]:
    """Return the objects of an installation with these values.

    Args:
        values: of the chart.
        major: Helm's version.
        namespace: the release's.
        release: its name.
        hooks: those of its hooks instead, but for those of `helm test`; None: all.

    Raises:
        RenderError: the values are refused.
    """
    objects: list[Object] = json.loads(
        _rendered(major, namespace, release, json.dumps(values or {}, sort_keys=True))
    )
    if hooks is None:
        return objects
    return [each for each in objects if hook(each) != "test" and hooks is bool(hook(each))]


def hook(found: Object) -> str:
    """Return an object's Helm hooks: `pre-delete`, `test` ...; empty: it is part of the release."""
    return str((found["metadata"].get("annotations") or {}).get("helm.sh/hook", ""))


def component(found: Object) -> str:
    """Return the component of an object: `operator`, `record-service` ..."""
    return str(found["metadata"]["labels"]["app.kubernetes.io/component"])


@functools.cache
def _rendered(major: Major, namespace: str, release: str, values: str) -> str:
    """Return the result of `render` as JSON (cached): parsing half a megabyte of YAML takes longer than Helm."""
    text = run_helm(
        major, "template", release, CHART, "--namespace", namespace, values=json.loads(values)
    )
    return json.dumps([found for found in yaml.load_all(text, LOADER) if found])


def one(
    objects: list[Object], kind: str, name: str | None = None, *, part: str = "operator"
) -> Object:
    """Return the only object of this kind (and name) in a component of the release."""
    (found,) = (
        each
        for each in objects
        if each["kind"] == kind
        and component(each) == part
        and name in (None, each["metadata"]["name"])
    )
    return found


def pod_spec(objects: list[Object], *, part: str = "operator") -> Object:
    """Return the pod spec of a component."""
    if part == "smoke":
        return dict(one(objects, "Pod", part=part)["spec"])
    kind = "Job" if part == "uninstall" else "Deployment"
    return dict(one(objects, kind, part=part)["spec"]["template"]["spec"])


def container(objects: list[Object], *, part: str = "operator") -> Object:
    """Return the container of a component's pods."""
    (found,) = pod_spec(objects, part=part)["containers"]
    return dict(found)


def environment(objects: list[Object], *, part: str = "operator") -> dict[str, str]:
    """Return the variables of a component's container that have a literal value."""
    return {
        entry["name"]: entry["value"]
        for entry in container(objects, part=part)["env"]
        if "value" in entry
    }


def service_account_objects(
    values: Values | None = None, *, namespace: str = NAMESPACE, part: str = "operator"
) -> list[Object]:
    """Return the service account of a component, with its roles and bindings."""
    return [
        found
        for found in render(values, namespace=namespace)
        if found["kind"] in ACCOUNT_KINDS and component(found) == part
    ]


def account_kubeconfig(
    plane: ControlPlane,
    path: Path,
    values: Values | None = None,
    *,
    namespace: str = NAMESPACE,
    part: str = "operator",
) -> Path:
    """Write a kubeconfig for the service account of a component, with exactly the chart's rights.

    The account and its rights are applied to the cluster; `namespace` and what is in
    `watchNamespaces` must be there.

    Args:
        plane: the cluster.
        path: where the kubeconfig goes.
        values: of the chart.
        namespace: where the account is to live.
        part: of the release.
    """
    objects = service_account_objects(values, namespace=namespace, part=part)
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    kubectl(plane.kubeconfig, "apply", "-f", "-", stdin=json.dumps(listed))
    name = one(objects, "ServiceAccount", part=part)["metadata"]["name"]
    return token_kubeconfig(plane, path, namespace, name)


def token_kubeconfig(plane: ControlPlane, path: Path, namespace: str, account: str) -> Path:
    """Write a kubeconfig for a service account, valid for an hour."""
    answer = plane.request(
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        },
    )
    return plane.authority.token_kubeconfig(
        path, plane.server, answer["status"]["token"], namespace=namespace
    )


def forget_cluster_objects(kubeconfig: Path) -> None:
    """Delete the chart's cluster-scoped objects: RBAC, admission policies and CRDs."""
    ours = f"-lapp.kubernetes.io/name={RELEASE}"
    policies = "validatingadmissionpolicies,validatingadmissionpolicybindings"
    kubectl(kubeconfig, "delete", f"clusterroles,clusterrolebindings,{policies}", ours)
    forget_definitions(kubeconfig)


def forget_definitions(kubeconfig: Path) -> None:
    """Delete all CRDs, if any, once they are served: before, their deletion takes minutes."""
    if kubectl(kubeconfig, "get", "crd", "-o", "name"):
        wait_until_served(kubeconfig)
        kubectl(kubeconfig, "delete", "crd", "--all", "--timeout=100s")
