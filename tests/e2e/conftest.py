"""Fixtures: one real node with one release for all tests here, which run in the order of their files."""

import os
from collections.abc import Callable, Iterator

import pytest

from hack.cluster import assets
from hack.cluster.node.images import save_images
from hack.cluster.node.node import STATE, RealNode
from hack.cluster.node.preconditions import missing
from hack.cluster.node.programs import find_network
from hack.image.engine import find_runner
from tests.support.real.installed_chart import InstalledChart

_REQUIRED = "TRAININGJOB_TEST_REQUIRE_NODE"
_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def real_node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealNode]:
    """Start a cluster of one node; skips or fails the tests, with the reason, if that is impossible."""
    engine = find_runner()
    against = missing(STATE) + ([] if engine else ["there is no Podman or Docker"])
    if against:
        why = f"a real node cannot be had on this machine: {'; '.join(against)}"
        if _REQUIRED in os.environ:
            pytest.fail(f"{_REQUIRED} is set, and {why}")
        pytest.skip(why)
    built, network = assets.find(), find_network()
    if built is None or network is None:
        pytest.fail("the node's programs are not built: `make e2e` does it, once")
    assert engine is not None
    archive = tmp_path_factory.mktemp("images") / "images.tar"
    save_images(engine, request.config.getoption("--image"), archive)
    with RealNode(built, network, archive) as node:
        yield node


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest, real_node: RealNode) -> InstalledChart:
    """Install the release as the README says, into a namespace that enforces `restricted`."""
    release = InstalledChart(real_node, request.config.getoption("--image"))
    release.make_namespaces()
    release.install()
    return release


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a figure into the summary of the run."""
    return request.config.stash.setdefault(_FIGURES, []).append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)
