"""An operator of two namespaces, one of which lacks its Role at first."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.apiserver.fault_proxy import Fault, FaultProxy, ProxiedRequest
from tests.support.apiserver.retention import finish, messages, read_policy
from tests.support.builders import make_job
from tests.support.processes.operator import OperatorProcess
from trainingjob_sandbox.client import ApiError

Object = dict[str, Any]


def forbid_lists(proxy: FaultProxy, namespace: str) -> Fault:
    """Respond as an API server does to an account without a Role in a namespace."""

    def matches(seen: ProxiedRequest) -> bool:
        return (seen.verb, seen.namespace) == ("list", namespace)

    message = f'lists are forbidden: User "operator" cannot list them in namespace "{namespace}"'
    fault = Fault(matches, times=None, status=403, reason="Forbidden", message=message)
    return proxy.add(fault)


async def volume_health(api: Api, status: str) -> Object:
    """Return the condition VolumeHealthy of the default policy, once it has this status."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(ApiError, KeyError, AssertionError, StopIteration):
                policy = await read_policy(api, "default")
                found = condition(policy["status"], "VolumeHealthy")
                if found["status"] == status:
                    return found
            await asyncio.sleep(0.1)


async def test_a_namespace_without_a_role_does_not_block_other_namespaces(
    own_api_server: ApiServerUnderTest, own_api: Api, tmp_path: Path
) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    async with Api(own_api_server, "web") as web:
        waits = await web.apply(make_job("waits"))
        with FaultProxy(own_api_server.operator_kubeconfig, tmp_path) as proxy:
            fault = forbid_lists(proxy, "web")
            operator = OperatorProcess(
                proxy.kubeconfig,
                tmp_path / "operator.log",
                TRAININGJOB_NAMESPACES=f"web,{own_api.namespace}",
                TRAININGJOB_GC__TTL="2s",
                TRAININGJOB_GC__INTERVAL="1",
                TRAININGJOB_VOLUME__ROOT=str(root),
                TRAININGJOB_VOLUME__MAX_AGE="1s",
            )
            with operator:
                await finish(own_api, "served")
                await own_api.wait_until_gone("served", patience_s=60)
                gone, here = uuid4(), waits["metadata"]["uid"]
                for uid in (gone, here):
                    (root / f"job_{uid}.log").write_text("epoch 1\n")
                said = await volume_health(own_api, "False")
                assert said["reason"] == "JobsUnknown"
                assert "in namespace web" in said["message"]
                runs = messages(operator).count("Cleanup: run started")
                async with asyncio.timeout(90):
                    while messages(operator).count("Cleanup: run started") < runs + 3:
                        await asyncio.sleep(0.1)
                assert (root / f"job_{gone}.log").exists(), "nothing goes while jobs are unknown"
                assert (await web.job("waits")).get("status", {}).get("phase") in {None, ""}

                proxy.faults.remove(fault)
                await web.finish_job("waits")
                await web.wait_for_phase("waits", "Succeeded")
                await volume_health(own_api, "True")
                async with asyncio.timeout(90):
                    while (root / f"job_{gone}.log").exists():
                        await asyncio.sleep(0.1)
                log = messages(operator)
                assert operator.is_running
    refusals = [line for line in log if line.startswith("cannot list the jobs and pods")]
    assert len(refusals) == 1, "it is said once, and not at every try"
    assert "the jobs and pods of namespace web can be listed now" in log
