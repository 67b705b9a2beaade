"""Provides a cluster to install the chart into."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from hack.chart import CHART
from hack.cluster.control_plane import ControlPlane
from hack.tools.helm import Major
from tests.support.builders import make_job
from tests.support.real.chart import Values, forget_cluster_objects, run_helm
from tests.support.real.real_cluster import kubectl, wait_until_served
from tests.support.real.release_node import ReleaseNode

PATIENCE_S = 90.0


class Cluster:
    """A cluster without the project's objects, with two namespaces: the operator's, and a team's."""

    def __init__(self, plane: ControlPlane, major: Major) -> None:
        self.plane = plane
        self.kubeconfig = plane.kubeconfig
        self.major = major
        self.namespace = f"system-{uuid4().hex[:8]}"
        self.team = f"team-{uuid4().hex[:8]}"
        self.kubectl("create", "namespace", self.team)
        self.kubectl("create", "namespace", self.namespace)
        enforce = "pod-security.kubernetes.io/enforce=restricted"
        self.kubectl("label", "namespace", self.namespace, enforce)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return kubectl(self.kubeconfig, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", "-o", "json", *arguments)))

    def helm(self, *arguments: str | Path, values: Values | None = None) -> str:
        where = ("--kubeconfig", self.kubeconfig, "--namespace", self.namespace)
        return run_helm(self.major, *arguments, *where, values=values)

    def install(self, values: Values | None = None, *extra: str) -> str:
        return self.helm("install", "trainingjob-operator", CHART, *extra, values=values or {})

    def node(self, folder: Path, trees: Mapping[str, Path] | None = None) -> ReleaseNode:
        """Run a node for the release's pods; `trees` has the programs of images with other tags."""
        return ReleaseNode(self.plane, self.namespace, folder, trees)

    def crds(self) -> set[str]:
        names = self.kubectl("get", "crd", "-o", "name").split()
        return {name.partition("/")[2] for name in names}

    def apply_job(self) -> None:
        wait_until_served(self.kubeconfig)
        job = json.dumps(make_job("precious", namespace=self.team))
        self.kubectl("apply", "-f", "-", stdin=job)

    def has_job(self) -> bool:
        found = self.kubectl("-n", self.team, "get", "tj", "-o", "name")
        return "precious" in found

    def pods(self, namespace: str, *, count: int) -> list[dict[str, Any]]:
        """Return the release's pods once there are this many."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = self.get("pods", "-n", namespace)["items"]
            if len(found) >= count:
                return list(found)
            events = self.kubectl("get", "events", "-n", namespace)
            assert time.monotonic() < deadline, events
            time.sleep(0.1)

    def clear(self) -> None:
        """Remove everything that would affect the next test."""
        if self.crds():
            self._let_go()
        # The names are never reused, so there is no need to wait until the namespaces are empty.
        gone = ("--wait=false", "--ignore-not-found")
        self.kubectl("delete", "namespace", *gone, self.namespace, self.team)
        forget_cluster_objects(self.kubeconfig)

    def _let_go(self) -> None:
        """Remove the finalizers of an operator whose process has just ended with its node."""
        wait_until_served(self.kubeconfig)
        for found in self.get("trainingjobs,retentionpolicies", "-A")["items"]:
            metadata = found["metadata"]
            if metadata.get("finalizers"):
                what = (found["kind"], metadata["name"], "-n", metadata["namespace"])
                patch = '{"metadata":{"finalizers":null}}'
                self.kubectl("patch", *what, "--type=merge", "-p", patch)
