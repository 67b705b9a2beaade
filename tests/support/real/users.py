"""Creates users of a real API server with exactly the rights that a test grants, and manifests for them."""

import asyncio
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from trainingjob_sandbox.client import ApiClient, ApiError

Object = dict[str, Any]
POLICY_KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
PATIENCE_S = 60.0

JOBS = {
    "apiGroups": ["trainingjob.dev"],
    "resources": ["trainingjobs"],
    "verbs": ["get", "create", "update", "patch"],
}
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}

NO_TOKEN: Object = {"automountServiceAccountToken": False}


def with_container(**fields: Any) -> Object:
    """Return a pod spec whose main container has these additional fields."""
    container = {"name": "trainer", "image": "example/mnist:1.0", **fields}
    return {**NO_TOKEN, "containers": [container]}


def with_volume(**source: Any) -> Object:
    return {**NO_TOKEN, "volumes": [{"name": "v", **source}]}


ALL_AT_ONCE: Object = {
    "hostNetwork": True,
    "serviceAccountName": "robot",
    "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
    "containers": [{"name": "trainer", "image": "i", "securityContext": {"privileged": True}}],
}


SETTLED: Object = {
    "conditions": [
        {
            "type": "Suspended",
            "status": "True",
            "reason": "Suspended",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
}
"""The status of a suspended job without pods, whose template may be changed."""


def job_with(pod: Object, name: str = "asked", *, suspend: bool = False) -> Object:
    job = make_job(name, suspend=suspend)
    job["spec"]["template"]["spec"] |= deepcopy(pod)
    return job


@dataclass(frozen=True)
class User:
    """A user in the test's namespace."""

    client: ApiClient
    path: str

    async def creates(self, job: Object, *, dry_run: bool = True) -> None:
        query = {"dryRun": "All"} if dry_run else {}
        namespace = self.path.split("/")[-2]
        body = {**job, "metadata": {**job["metadata"], "namespace": namespace}}
        await self.client._call("POST", self.path, query=query, body=body)

    async def patches(self, name: str, patch: Object) -> None:
        await self.client.patch(f"{self.path}/{name}", patch)

    async def refusal(self, job: Object) -> str:
        """Create an object that must be refused; return the error message."""
        with pytest.raises(ApiError) as caught:
            await self.creates(job)
        assert caught.value.status == 403, caught.value
        return str(caught.value)


class Users:
    """Users with exactly the rights that a test grants."""

    def __init__(self, plane: ControlPlane, api: Api, stack: AsyncExitStack) -> None:
        self._plane, self._api, self._stack = plane, api, stack
        self._number = 0

    async def add(self, *rules: Object) -> User:
        """Create a user with these rights in the test's namespace."""
        self._number += 1
        name = f"user-{self._number}"
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self._api.namespace}"
        role = {"metadata": {"name": name}, "rules": list(rules)}
        await self._api.client.create(f"{rbac}/roles", role)
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "User", "name": f"{self._api.namespace}-{name}"}],
        }
        await self._api.client.create(f"{rbac}/rolebindings", binding)
        kubeconfig = self._plane.kubeconfig_for(f"{self._api.namespace}-{name}")
        client = await self._stack.enter_async_context(ApiClient.from_kubeconfig(kubeconfig))
        path = f"/apis/trainingjob.dev/v1alpha1/namespaces/{self._api.namespace}/trainingjobs"
        user = User(client, path)
        await _until_served(user)
        return user


async def _until_served(user: User) -> None:
    """Wait until the API server has noticed a right, shortly after it was granted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await user.creates(job_with(NO_TOKEN))
            except ApiError as error:
                if "cannot create resource" not in str(error):
                    raise
                await asyncio.sleep(0.05)
            else:
                return


async def until_refused(user: User, job: Object) -> None:
    """Wait until an admission policy is enforced: the API server learns of it through a watch."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await user.creates(job)
            except ApiError:
                return
            await asyncio.sleep(0.1)


async def doubts_of(api: Api, policy: str) -> list[Object]:
    """Return the API server's type-checking warnings about a policy's expressions."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = (await api.client.get(f"{POLICIES}/{policy}")).get("status", {})
            if "typeChecking" in status:
                return list(status["typeChecking"].get("expressionWarnings", []))
            await asyncio.sleep(0.1)
