"""Fixtures for tests of the chart: Helm, if this machine can get it."""

from collections.abc import Iterator

import pytest

from hack.cluster import assets
from hack.cluster.control_plane import ControlPlane, Options
from hack.tools.helm import MAJORS, HelmError, Major, helm
from tests.support.real.release import Cluster


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"helm{major}")
def major(request: pytest.FixtureRequest) -> Major:
    """Yield Helm 3 and Helm 4 in turn."""
    chosen: Major = request.param
    return chosen


@pytest.fixture(scope="session", autouse=True)
def _helm_is_there() -> None:
    try:
        for each in MAJORS:
            helm(each)
    except HelmError as error:
        pytest.skip(f"the chart's tests need Helm: {error}")


@pytest.fixture(scope="module")
def strict_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Start a strict control plane for installs from scratch.

    It has none of the project's CRDs, and admits an owner reference only from users who may update
    the owner's finalizers, as OpenShift does. It stops after each module: idling costs more than a start.
    """
    built = assets.find()
    if built is None:
        pytest.fail("the control plane is not built: `make cluster-build` does it, once")
    strict = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"
    root = tmp_path_factory.mktemp("strict-plane") / "state"
    with ControlPlane(built, root, Options(api_server=(strict,))) as plane:
        yield plane


@pytest.fixture
def cluster(strict_plane: ControlPlane, major: Major) -> Iterator[Cluster]:
    made = Cluster(strict_plane, major)
    yield made
    made.clear()


@pytest.fixture
def cluster_for_kubectl(strict_plane: ControlPlane) -> Iterator[Cluster]:
    made = Cluster(strict_plane, 4)
    yield made
    made.clear()
