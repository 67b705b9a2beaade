"""What the tests of a real control plane share. They play the node's part: no pod is scheduled."""

from collections.abc import Iterator

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.support.api import Api, ApiServerUnderTest
from tests.support.audit import AuditLog
from tests.support.real import Kubectl


@pytest.fixture
def plane(api_server: ApiServerUnderTest) -> ControlPlane:
    """The control plane under test, to be looked into and to be hurt."""
    if api_server.plane is None:
        pytest.skip("needs a control plane of the tests' own, not somebody's cluster")
    return api_server.plane


@pytest.fixture
def audit(plane: ControlPlane) -> Iterator[AuditLog]:
    """What the API server is asked from now on."""
    log = AuditLog(plane.audit_log)
    yield log
    log.close()


@pytest.fixture
def kubectl(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """kubectl in the test's namespace."""
    cache = tmp_path_factory.getbasetemp() / "kubectl-cache"
    return Kubectl(api.server.kubeconfig, cache, api.namespace)


@pytest.fixture
def operator_user(api_server: ApiServerUnderTest) -> str:
    """The operator's name in the audit log."""
    assert api_server.operator is not None
    return api_server.operator.user
