"""What all tests share: which API server they run against, and a namespace for each."""

import gc
import os
import resource
import shutil
import signal
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings

from hack.cluster.control_plane import ControlPlane, Options
from hack.suite import FIRST
from tests.support.apiserver.api import Api, ApiServerUnderTest, sandbox_api_server
from tests.support.markers import MARKERS, WorkerLock, worker_lock
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode, real_node, sandbox_node
from tests.support.processes.process_start import close_fork_servers, start_anew
from tests.support.processes.processes import processes_mentioning
from tests.support.real.account import with_operator_account
from tests.support.real.real_cluster import REAL_KUBECONFIG, install_crds, new_control_plane
from tests.support.repository import ROOT
from tests.support.timeouts import limit, stacks_of_tasks

SERVER_FIXTURES = frozenset({"api_server", "process_node"})
"""Who asks for one of these speaks to the server under test."""

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

_NEED_OPTIONS = (
    ("e2e", ("--node", "--image"), "install the image on a real node: `make e2e` does, as root"),
    ("image", ("--image",), "run the operator's image: `make test-image` builds it and runs them"),
)
"""Markers, the options without which such tests are not run, and what to say then."""

_BEGINS = {ROOT / file: place for place, file in enumerate(FIRST)}
"""The place of the files that begin first."""

NOT_RUN = pytest.StashKey[dict[str, int]]()
BEGUN = pytest.StashKey[tuple[float, float]]()
"""When the tests began, and the CPU that was used by then."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=("sandbox", "real"),
        default="sandbox",
        help="the API server of the tests that speak to one: our sandbox's, or a real control "
        f"plane started for them (or another cluster: its kubeconfig in {REAL_KUBECONFIG})",
    )
    parser.addoption("--image", help="the operator's image, for the tests that run it")
    parser.addoption("--node", action="store_true", help="start a real node on this machine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sandbox_only: stages what only the sandbox lets be staged")
    config.addinivalue_line("markers", "image: runs the operator's image, which --image names")
    config.addinivalue_line("markers", "e2e: installs the image on a real node; for root")
    config.addinivalue_line("markers", "real_only: shows what only a real control plane can show")
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    config.stash[NOT_RUN] = {}
    config.stash[BEGUN] = time.monotonic(), _cpu_s()
    if config.getoption("--server") == "real" or config.getoption(
        "--node"
    ):  # as Ctrl-C: what was started is stopped
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the chosen server cannot show; the summary says how much that was.

    A real server is for the tests that speak to the server under test; the others have nothing to
    learn from it.
    """
    real = config.getoption("--server") == "real"
    left_out: dict[str, list[pytest.Item]] = {}
    for item in items:
        limit(item)
        if reason := _why_not(item, real=real):
            left_out.setdefault(reason, []).append(item)
    gone = {item for group in left_out.values() for item in group}
    config.stash[NOT_RUN] = {reason: len(group) for reason, group in left_out.items()}
    config.hook.pytest_deselected(items=list(gone))
    items[:] = [item for item in items if item not in gone]
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _BEGINS.get(item.path, len(_BEGINS)))


def pytest_collection_finish() -> None:
    """Let the collector of garbage look no more at what stays: modules, and thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test of the start itself start each process anew, as its user does; the others fork one."""
    with start_anew(anew=_starts_anew(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(request: pytest.FixtureRequest) -> Generator[None, object, object]:
    """Start what a module shares as the module asks, whichever of its tests comes first."""
    with start_anew(anew=_starts_anew(request.node)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say where a test hangs."""
    report = yield
    if call.excinfo and (stacks := stacks_of_tasks(call.excinfo)):
        report.sections.append(("Tasks", stacks))
    return report


def _starts_anew(node: Any) -> bool:
    """True for a test, or a module, that is marked so."""
    return node.get_closest_marker("anew") is not None


@pytest.hookimpl(trylast=True)  # after `-x`, modules' fixtures end only at the end of the session
def pytest_sessionfinish() -> None:
    close_fork_servers()


def _why_not(item: pytest.Item, *, real: bool) -> str | None:
    for marker, options, reason in _NEED_OPTIONS:
        if item.get_closest_marker(marker) and not all(map(item.config.getoption, options)):
            return reason
    if not real:
        if item.get_closest_marker("real_only"):
            return "show what only a real control plane can: `make test-real` builds and runs it"
        return None
    if item.get_closest_marker("sandbox_only"):
        return "stage what only the sandbox lets be staged: `make test-all` runs them"
    if item.get_closest_marker("real_only") or SERVER_FIXTURES & {
        *getattr(item, "fixturenames", ())
    }:
        return None
    return "do not depend on the API server: `make test-all` runs them"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for reason, count in config.stash[NOT_RUN].items():
        terminalreporter.write_line(f"not run: {count} tests that {reason}")
    begun, used_before = config.stash[BEGUN]
    took, used = time.monotonic() - begun, _cpu_s() - used_before
    cores = os.cpu_count() or 1
    share = used / (took * cores)
    terminalreporter.write_line(
        f"CPU: {used:.0f} s, {share:.0%} of {cores} cores for {took:.0f} s"
    )


def _cpu_s() -> float:
    """Seconds of CPU that this process has used, and all that it has started and seen to end."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


@pytest.fixture(autouse=True)
def held_lock(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerLock]:
    """A test that measures the machine runs alone, however many processes share the tests."""
    serial = request.node.get_closest_marker("serial") is not None
    with worker_lock(tmp_path_factory.getbasetemp().parent, alone=serial) as its:
        yield its


@pytest.fixture(scope="session")
def control_plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A real control plane of these tests' own, with both CRDs; the tests play the scheduler."""
    with _started(request, tmp_path_factory, Options(scheduler=False)) as plane:
        yield plane


@pytest.fixture(scope="module")
def scheduled_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServerUnderTest]:
    """A real one with the scheduler, for pods that are really run: `process_node` runs them.

    It ends with its module: one that idles costs more than its start.
    """
    folder = tmp_path_factory.mktemp("account")
    with (
        _started(request, tmp_path_factory, Options()) as plane,
        with_operator_account(plane, folder) as server,
    ):
        yield server


@contextmanager
def _started(
    request: pytest.FixtureRequest, factory: pytest.TempPathFactory, options: Options
) -> Iterator[ControlPlane]:
    """Start a control plane with both CRDs. Its logs stay if a test has failed, else nothing."""
    folder = factory.mktemp("control-plane") / "state"
    try:
        with new_control_plane(folder, options) as plane:
            install_crds(plane.kubeconfig)
            yield plane
    finally:
        gone = folder / "etcd" if request.session.testsfailed else folder
        shutil.rmtree(gone, ignore_errors=True)


@pytest.fixture(scope="session")
def api_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServerUnderTest]:
    """One API server with both CRDs, for tests that keep to their own namespace."""
    if request.config.getoption("--server") == "sandbox":
        with sandbox_api_server(tmp_path_factory.mktemp("api-server")) as server:
            yield server
    elif REAL_KUBECONFIG in os.environ:
        yield ApiServerUnderTest(Path(os.environ[REAL_KUBECONFIG]))
    else:
        plane: ControlPlane = request.getfixturevalue("control_plane")
        with with_operator_account(plane, tmp_path_factory.mktemp("account")) as server:
            yield server


@pytest.fixture(scope="module")
def process_node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessNode]:
    """A cluster with a node of ours, which leaves no process and no folder."""
    with ExitStack() as stack:
        if request.config.getoption("--server") == "sandbox":
            node = stack.enter_context(sandbox_node())
        else:
            server: ApiServerUnderTest = request.getfixturevalue("scheduled_server")
            root = tmp_path_factory.mktemp("node") / "root"
            node = stack.enter_context(real_node(server, root))
        yield node
    assert not processes_mentioning(str(node.root))
    assert not list(node.root.glob("pods/*"))
    shutil.rmtree(node.root, ignore_errors=True)


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
    with OperatorProcess(api_server.operator_kubeconfig, folder / "operator.log") as process:
        process.wait_until_ready()
        yield process
        assert process.is_running, process.log()
