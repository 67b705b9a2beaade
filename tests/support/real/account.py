"""Creates the operator's account on a real control plane, and checks that its rights sufficed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.chart import NAMESPACE
from hack.cluster.control_plane import ControlPlane
from tests.support.apiserver.api import ApiServerUnderTest, OperatorAccount
from tests.support.apiserver.audit import Request, forbidden_requests
from tests.support.real.chart import ACCOUNT_KINDS, component, one, render, token_kubeconfig
from tests.support.real.real_cluster import kubectl

TEST_NAMESPACES = "test-"
"""The beginning of each name that the fixture `api` gives to its namespace."""


@contextmanager
def with_operator_account(
    plane: ControlPlane, folder: Path, *, restarts: bool = False
) -> Iterator[ApiServerUnderTest]:
    """Yield the control plane with the operator's account and exactly the rights of an installation.

    That is an install with a log volume, which takes the right to read the logs of pods beside all
    others.

    Args:
        plane: the control plane, with our definitions.
        folder: where the kubeconfig goes.
        restarts: whether tests restart the API server. It knows no roles for a moment then, and
            forbids everybody everything.

    Raises:
        AssertionError: at the end, if the operator has asked for anything that it had no right
            to. What admission refuses is not meant: tests stage that.
    """
    objects = [
        each
        for each in render({"logVolume": {"existingClaim": "logs"}})
        if each["kind"] in ACCOUNT_KINDS and component(each) == "operator"
    ]
    account = one(objects, "ServiceAccount")["metadata"]["name"]
    kubectl(plane.kubeconfig, "create", "namespace", NAMESPACE)
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    kubectl(plane.kubeconfig, "apply", "-f", "-", stdin=json.dumps(listed))
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    kubeconfig = token_kubeconfig(plane, folder / "operator.kubeconfig", NAMESPACE, account)
    yield ApiServerUnderTest(
        plane.kubeconfig, plane=plane, operator=OperatorAccount(user, kubeconfig)
    )
    if restarts:
        return
    refused = [
        request.line
        for request in forbidden_requests(plane.audit_log, user)
        if not _is_of_a_test_that_moves_the_operator(request)
    ]
    assert not refused, "the operator lacks rights that it needs:\n" + "\n".join(refused)


def _is_of_a_test_that_moves_the_operator(request: Request) -> bool:
    """True for a read of the operator's Lease in a namespace that a test configures as the operator's own.

    A command that does the operator's work looks for it; its account may in its own namespace alone.
    """
    is_look = (request.verb, request.resource) == ("get", "leases")
    return is_look and request.namespace.startswith(TEST_NAMESPACES)
