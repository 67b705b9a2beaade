"""Fixtures for tests on a real control plane. The tests play the kubelet: no pod is scheduled."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster.control_plane import ControlPlane
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.apiserver.audit import AuditLog
from tests.support.real.real_cluster import Kubectl


@pytest.fixture
def plane(api_server: ApiServerUnderTest) -> ControlPlane:
    """Return the control plane under test, for tests that read its logs or disrupt it."""
    if api_server.plane is None:
        pytest.skip("needs a control plane of the tests' own, not somebody's cluster")
    return api_server.plane


@pytest.fixture
def audit(plane: ControlPlane) -> Iterator[AuditLog]:
    """Return the audit log of requests from now on."""
    log = AuditLog(plane.audit_log)
    yield log
    log.close()


@pytest.fixture
def kubectl(api: Api, kubectl_cache: Path) -> Kubectl:
    """Return kubectl in the test's namespace."""
    return Kubectl(api.server.kubeconfig, kubectl_cache, api.namespace)


@pytest.fixture
def admin_kubectl(api_server: ApiServerUnderTest, kubectl_cache: Path) -> Kubectl:
    """Return kubectl without a namespace: for cluster-scoped objects it warns about one."""
    return Kubectl(api_server.kubeconfig, kubectl_cache)


@pytest.fixture(scope="session")
def kubectl_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return kubectl's discovery cache, shared by all tests."""
    return tmp_path_factory.mktemp("kubectl-cache")


@pytest.fixture
def operator_user(api_server: ApiServerUnderTest, plane: ControlPlane) -> str:
    """Return the operator's user name in the audit log."""
    assert api_server.operator is not None
    return api_server.operator.user
