"""What all tests share: which API server they run against, and a namespace for each."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.api import Api, ApiServerUnderTest, real_api_server, sandbox_api_server
from tests.support.operator import OperatorProcess

REAL_KUBECONFIG = "TRAININGJOB_TEST_KUBECONFIG"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=("sandbox", "real"),
        default="sandbox",
        help="the API server of the integration tests: our sandbox's, or a real one "
        f"(its kubeconfig in {REAL_KUBECONFIG})",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sandbox_only: stages what only the sandbox lets be staged")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--server") != "real":
        return
    skip = pytest.mark.skip(reason="stages a fault inside the server: only with --server=sandbox")
    for item in items:
        if item.get_closest_marker("sandbox_only"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def api_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServerUnderTest]:
    """One API server with both CRDs, for tests that keep to their own namespace."""
    if request.config.getoption("--server") == "real":
        path = os.environ.get(REAL_KUBECONFIG)
        if not path:
            pytest.fail(f"--server=real needs a kubeconfig in {REAL_KUBECONFIG}")
        yield real_api_server(Path(path))
    else:
        with sandbox_api_server(tmp_path_factory.mktemp("api-server")) as server:
            yield server


@pytest.fixture
def own_api_server(tmp_path: Path) -> Iterator[ApiServerUnderTest]:
    """A sandbox API server of the test's own, whose faults hurt nobody else."""
    with sandbox_api_server(tmp_path) as server:
        yield server


@pytest.fixture
async def api(api_server: ApiServerUnderTest) -> AsyncIterator[Api]:
    """A client in a namespace of the test's own, which is deleted at the end."""
    async with Api(api_server, f"test-{uuid4().hex[:8]}") as client:
        yield client


@pytest.fixture
async def own_api(own_api_server: ApiServerUnderTest) -> AsyncIterator[Api]:
    """A client in a namespace on the test's own API server."""
    async with Api(own_api_server, "ml") as client:
        yield client


@pytest.fixture(scope="module")
def operator(
    api_server: ApiServerUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator as its users run it: a process of its own, following every namespace.

    It ends with its module: others run operators of their own, and two would hide each other.
    """
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(api_server.kubeconfig, folder / "operator.log") as process:
        process.wait_until_ready()
        yield process
        assert process.is_running, process.log()
