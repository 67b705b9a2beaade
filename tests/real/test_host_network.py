"""A gang with `hostNetwork`: a real control plane publishes the DNS names of its ranks."""

import asyncio
import time
from typing import Any

import pytest

from tests.support.apiserver.api import PATIENCE_S, Api
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess

pytestmark = pytest.mark.real_only

Object = dict[str, Any]


async def endpoints_of(api: Api, service: str, count: int) -> tuple[list[Object], list[Object]]:
    """Wait for this number of endpoints of a Service; return them and its ports."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{api.namespace}/endpointslices"
    deadline = time.monotonic() + PATIENCE_S
    while True:
        slices, _ = await api.client.list(
            path, label_selector=f"kubernetes.io/service-name={service}"
        )
        found = [endpoint for each in slices for endpoint in each.get("endpoints") or []]
        if len(found) == count:
            return found, slices[0]["ports"]
        assert time.monotonic() < deadline, f"not {count} endpoints, but {slices}"
        await asyncio.sleep(0.05)


async def test_ranks_on_the_host_network_have_the_dns_records_in_their_variables(
    operator: OperatorProcess, api: Api
) -> None:
    job = make_job("hosted", nodes=2, framework="Torch")
    job["spec"]["template"]["spec"]["hostNetwork"] = True
    uid = (await api.apply(job))["metadata"]["uid"]

    pods = await api.wait_for_pods("hosted", 2)
    for rank, pod in enumerate(pods):
        address = {"podIP": f"10.9.0.{rank}", "podIPs": [{"ip": f"10.9.0.{rank}"}]}
        await api.bind_pod(pod)
        await api.set_pod_status(pod, {"phase": "Running", **address})

    service = f"hosted-{uid[:8]}"
    endpoints, ports = await endpoints_of(api, service, 2)
    for rank, pod in enumerate(pods):
        variables = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
        [mine] = [e for e in endpoints if e["addresses"] == [f"10.9.0.{rank}"]]
        assert mine["hostname"] == pod["metadata"]["name"]
        assert pod["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet"
        assert variables["MASTER_ADDR"] == f"{service}-0-0.{service}.{api.namespace}.svc"
        assert variables["MASTER_PORT"] == str(ports[0]["port"])
        assert 20_000 <= ports[0]["port"] < 29_000
