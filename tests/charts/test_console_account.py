"""The console with exactly the rights that the chart gives it and its users, on a cluster that enforces them.

The requests of each are read from the API server's audit log.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.charts.test_account import account_namespace, asked, refused, requests_of
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.processes.processes import eventually
from tests.support.real.chart import Values, account_kubeconfig
from tests.support.real.real_cluster import kubectl

__all__ = ["account_namespace"]  # a fixture

pytestmark = pytest.mark.real_only

JOBS = "trainingjob.dev/trainingjobs"
CONSOLE = "trainingjob-operator-console"
TO_SEE = {(JOBS, "get"), ("/pods", "list"), ("/events", "list")}
REVIEWS = {
    ("authentication.k8s.io/selfsubjectreviews", "create"),
    ("authorization.k8s.io/selfsubjectaccessreviews", "create"),
}
"""Self-reviews, which every user may create."""


@dataclass
class User:
    """A user of the console, whose token is sent in a header as by a proxy."""

    console: ConsoleUnderTest
    token: str

    async def get(self, path: str) -> Any:
        return await self.console.get(path, headers=self._headers)

    async def act(self, action: str, row: dict[str, Any]) -> dict[str, Any]:
        """Do an action on a job of the list; return the outcome."""
        body = {"action": action, "jobs": [{k: row[k] for k in ("namespace", "name", "uid")}]}
        answer = await self.console.post("/api/actions", body, headers=self._headers)
        [result] = answer.json["results"]
        return dict(result)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def make_user(plane: ControlPlane, namespace: str, name: str, *roles: str) -> str:
    """Create a service account with these ClusterRoles of the chart in its namespace; return its token."""
    where = (plane.kubeconfig, "-n", namespace)
    kubectl(*where, "create", "serviceaccount", name)
    for role in roles:
        of = (f"--clusterrole={CONSOLE}-{role}", f"--serviceaccount={namespace}:{name}")
        kubectl(*where, "create", "rolebinding", f"{name}-{role}", *of)
    return kubectl(*where, "create", "token", name).strip()


@asynccontextmanager
async def two_teams(plane: ControlPlane) -> AsyncIterator[tuple[Api, Api]]:
    """Two namespaces, each with a job: `mine` and `theirs`."""
    server = ApiServerUnderTest(plane.kubeconfig, plane=plane)
    async with (
        Api(server, f"test-{uuid4().hex[:8]}") as ours,
        Api(server, f"test-{uuid4().hex[:8]}") as theirs,
    ):
        await ours.apply(make_job("mine"))
        await theirs.apply(make_job("theirs"))
        yield ours, theirs


async def test_the_console_and_its_users_have_exactly_the_rights_of_their_roles(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    home = account_namespace
    kubeconfig = account_kubeconfig(
        strict_plane, tmp_path / "account", namespace=home, part="console"
    )
    async with two_teams(strict_plane) as (api, others):
        views = make_user(strict_plane, api.namespace, "views", "view")
        edits = make_user(strict_plane, api.namespace, "edits", "view", "edit")
        async with running_console(kubeconfig, auth="token") as console:
            known = console.console.components.index.jobs
            viewer, editor = User(console, views), User(console, edits)
            await eventually(
                lambda: {"mine", "theirs"} <= {job.name for job in known()}, within_s=60
            )
            found = (await viewer.get("/api/jobs")).json
            [row] = found["items"]
            assert (row["name"], found["namespaces"]) == ("mine", [api.namespace])
            [hidden] = [job.uid for job in known() if job.namespace == others.namespace]
            assert (await viewer.get(f"/api/jobs/{hidden}")).status == 404
            detail = (await viewer.get(f"/api/jobs/{row['uid']}")).json
            assert detail["rights"] == {
                "patch": False,
                "delete": False,
                "create": False,
                "logs": True,
            }
            assert (await viewer.get(f"/api/jobs/{row['uid']}/logs")).status == 200
            assert not (await viewer.act("suspend", row))["ok"]

            detail = (await editor.get(f"/api/jobs/{row['uid']}")).json
            assert all(detail["rights"].values())
            for action in ("suspend", "run-again", "delete"):
                result = await editor.act(action, row)
                assert result["ok"], result

    own = requests_of(strict_plane, home, CONSOLE)
    assert {asked(request) for request in own} == {(JOBS, "list"), (JOBS, "watch")}
    assert {request["objectRef"].get("namespace") for request in own} == {None}
    assert refused(own) == []

    looked = requests_of(strict_plane, api.namespace, "views")
    assert {asked(request) for request in looked} - REVIEWS == TO_SEE | {(JOBS, "patch")}
    assert {asked(request) for request in refused(looked)} == {(JOBS, "patch")}
    done = requests_of(strict_plane, api.namespace, "edits")
    wrote = {(JOBS, verb) for verb in ("create", "patch", "delete")}
    assert {asked(request) for request in done} - REVIEWS == TO_SEE | wrote
    assert refused(done) == []
    for token in (views, edits):
        assert token not in json.dumps([own, looked, done])


async def test_a_console_with_watch_namespaces_sends_no_requests_outside_them(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    async with two_teams(strict_plane) as (api, _):
        values: Values = {"watchNamespaces": [api.namespace]}
        kubeconfig = account_kubeconfig(
            strict_plane, tmp_path / "account", values, namespace=account_namespace, part="console"
        )
        async with running_console(kubeconfig, namespaces=[api.namespace]) as console:
            await eventually(lambda: len(console.console.components.index) > 0, within_s=60)
            found = (await console.get("/api/jobs")).json
            assert [row["name"] for row in found["items"]] == ["mine"]
    own = requests_of(strict_plane, account_namespace, CONSOLE)
    assert {asked(request) for request in own} == {(JOBS, "list"), (JOBS, "watch")}
    assert {request["objectRef"]["namespace"] for request in own} == {api.namespace}
    assert refused(own) == []
