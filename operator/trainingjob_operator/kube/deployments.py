"""Scales the operator's Deployment to zero and waits until its pods have ended."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from trainingjob_api.errors import UnavailableError
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.kube.gateway import MERGE_PATCH, Gateway

_POLL_S: Final = 0.5
_ENDED_PHASES: Final = frozenset({"Succeeded", "Failed"})

Object = dict[str, Any]


class DeploymentGateway(Gateway):
    """The calls of `release-finalizers --stop`. The operator itself has no right to them."""

    async def scale_to_zero(self, namespace: str, name: str, *, timeout_s: float) -> bool:
        """Scale a Deployment to 0 and wait until none of its pods is running.

        A pod on a node that does not respond counts as running, because it may still be running.

        Args:
            namespace: the Deployment's namespace.
            name: the Deployment's name.
            timeout_s: how long to wait, in seconds.

        Returns:
            True if the Deployment exists.

        Raises:
            UnavailableError: a pod still exists after that time.
            KubernetesError: the API server refused, or did not answer.
        """
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        deployment = await self._call("GET", path)
        if deployment is None:
            return False
        body: Object = {"spec": {"replicas": 0}}
        await self._call("PATCH", f"{path}/scale", body=body, content_type=MERGE_PATCH)
        labels = as_dict(as_dict(deployment["spec"].get("selector")).get("matchLabels"))
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        await _until_none(lambda: self._running(namespace, selector), timeout_s)
        return True

    async def _running(self, namespace: str, selector: str) -> list[str]:
        return [
            str(pod["metadata"]["name"])
            async for page in self.list_pods(namespace, selector=selector)
            for pod in page.items
            if as_dict(pod.get("status")).get("phase") not in _ENDED_PHASES
        ]


async def _until_none(list_names: Callable[[], Any], timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while left := await list_names():
        if loop.time() > until:
            raise UnavailableError(
                f"the pod {left[0]} still exists after {timeout_s:g} s; if its node is lost, "
                "delete the Node object, or force-delete the pod"
            )
        await asyncio.sleep(_POLL_S)
