"""Helpers for tests of retention: finished jobs, policies, sweeps and log messages."""

import asyncio
import contextlib
import json
from typing import Any

import yaml

from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from trainingjob_sandbox.client import ApiClient, ApiError

Object = dict[str, Any]
KEEP = {"trainingjob.dev/keep": "true"}
AT_ONCE = {"TRAININGJOB_GC__TTL": "0"}


async def finish(api: Api, name: str, code: int = 0, **spec: Any) -> Object:
    """Create a job of one pod and finish it; return it as it was created."""
    metadata: Object = spec.pop("metadata", {})
    job = make_job(name, backoff_limit=0, **spec)
    created = await api.apply({**job, "metadata": {**job["metadata"], **metadata}})
    await api.finish_job(name, code)
    return created


def messages(operator: OperatorProcess) -> list[str]:
    """Return its log messages, without a last line that is only partly written."""
    whole, _, _ = operator.log().rpartition("\n")
    lines = (json.loads(line) for line in whole.splitlines() if line.startswith("{"))
    return [line["message"] for line in lines]


def policy_of(namespace: str, **spec: Any) -> Object:
    return {
        "apiVersion": "trainingjob.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": spec,
    }


def home_of(api_server: ApiServerUnderTest) -> str:
    """Return the operator's own namespace."""
    [context] = yaml.safe_load(api_server.operator_kubeconfig.read_text())["contexts"]
    return str(context["context"].get("namespace", "default"))


def policy_path(namespace: str) -> str:
    return f"/apis/trainingjob.dev/v1alpha1/namespaces/{namespace}/retentionpolicies/default"


async def forget_volume(client: ApiClient) -> None:
    """Delete the default policy: its status names the test's volume, which the next test's operator would report missing."""
    policy = policy_path("default")
    await client.patch(policy, {"metadata": {"finalizers": None}})
    await client.delete(policy)


async def read_policy(api: Api, namespace: str) -> Object:
    return await api.client.get(policy_path(namespace))


async def wait_for_sweep(api: Api, namespace: str, *, after: str = "") -> Object:
    """Return the policy's status once it reports a sweep that began after this moment."""
    async with asyncio.timeout(70):
        while True:
            with contextlib.suppress(ApiError):
                status: Object = (await read_policy(api, namespace)).get("status") or {}
                if status.get("lastSweepTime", "") > after:
                    return status
            await asyncio.sleep(0.1)


async def uid_of_policy(api: Api, namespace: str) -> str:
    with contextlib.suppress(ApiError):
        return str((await read_policy(api, namespace))["metadata"]["uid"])
    return ""
