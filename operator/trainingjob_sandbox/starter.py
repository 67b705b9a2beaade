"""Starts and stops a whole sandbox: the API server, its mark, the node, the kubeconfig.

The API server runs in this process, in a thread with a loop of its own; the node is a child
process, which dies with this one however this one ends (its standard input is the lifeline).
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from trainingjob_api.crd import retention_policy_crd, training_job_crd
from trainingjob_sandbox.apiserver import ApiServerThread
from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.folders import claim, lock, remove_tree
from trainingjob_sandbox.node.cluster_nonce import write_nonce
from trainingjob_sandbox.node.constants import NONCE_VARIABLE

_LOG: Final = logging.getLogger(__name__)
_READY_S: Final = 30.0
_STOP_MARGIN_S: Final = 10.0
_GRACE_S: Final = 30.0
_LOG_LINES: Final = 10
_PR_SET_PDEATHSIG: Final = 1
_KUBECONFIG: Final = "kubeconfig"
_NODE_VARIABLES: Final = ("PATH", "LANG", "HOME", "PYTHONPATH", "PYTHONUSERBASE", "SYSTEMROOT")
"""The variables that the node inherits; some of them may be where our package is found. Its pods get its PATH and nothing else of it."""


class SandboxError(Exception):
    """The sandbox did not come up. The message says which part, and where to read more."""


class Sandbox:
    """A running sandbox, as a context manager.

    Attributes:
        root: its folder: `kubeconfig`, `node.log`, `claims/`, and the pods' scratch while it runs.
        kubeconfig: what every client needs; readable by its owner only.
    """

    def __init__(
        self, *, port: int = 0, root: Path | None = None, grace_s: float = _GRACE_S
    ) -> None:
        """Prepare a sandbox; nothing is started before it is entered.

        Args:
            port: of the API server on the loopback address; 0: any free one.
            root: its folder, kept afterwards; None: a fresh temporary one, removed afterwards.
            grace_s: seconds that pods get, at most, when it is left.
        """
        self._port = port
        self._given_root = root
        self._grace_s = grace_s
        self._node: subprocess.Popen[bytes] | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.root = self._make_root(stack)
            self.kubeconfig = self.root / _KUBECONFIG
            crds = [training_job_crd(), retention_policy_crd()]
            # Clients may outlive a sandbox, to find the next one at the same address. They take
            # lower versions than they have seen for old news, so versions grow with the time.
            first = time.time_ns() // 1000
            api = stack.enter_context(ApiServerThread(crds, port=self._port, first_revision=first))
            # Named apart until the node is up: whoever finds the file may rely on everything.
            draft = self.root / f".{_KUBECONFIG}"
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            api.write_kubeconfig(draft)
            nonce = _in_a_loop_of_its_own(_write_nonce(draft))
            stack.callback(self._stop_node)
            self._start_node(draft, nonce)
            draft.replace(self.kubeconfig)
            stack.callback(self.kubeconfig.unlink, missing_ok=True)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def wait(self, stop: int) -> None:
        """Wait until there is something to read from a descriptor.

        Raises:
            SandboxError: the node ended before that. Without it every pod would stay pending.
        """
        node = self._node
        assert node is not None
        assert node.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stop, selectors.EVENT_READ)
            selector.register(node.stdout, selectors.EVENT_READ)
            while stop not in {key.fd for key, _ in selector.select()}:
                # Its output is of no interest; its end is the node's. None: nothing there yet.
                if node.stdout.read(4096) == b"":
                    code = node.wait()
                    raise SandboxError(f"the node ended by itself, exit code {code}{self._tail()}")

    def _tail(self) -> str:
        """The end of the node's log, to be put after a sentence."""
        with contextlib.suppress(OSError):
            lines = (self.root / "node.log").read_text("utf-8", "replace").splitlines()
            return "; the end of its log:\n  " + "\n  ".join(lines[-_LOG_LINES:])
        return ""

    def hurry(self) -> None:
        """While it is being left: kill the pods at once instead of waiting for their grace."""
        if self._node is not None:
            self._node.terminate()

    def _make_root(self, stack: contextlib.ExitStack) -> Path:
        root = self._given_root
        if root is None:
            root = Path(tempfile.mkdtemp(prefix="trainingjob-"))
            stack.callback(remove_tree, root)
        claim(root)
        stack.callback(os.close, lock(root))
        return root.resolve()

    def _start_node(self, kubeconfig: Path, nonce: str) -> None:
        log = self.root / "node.log"
        environment = {k: v for k, v in os.environ.items() if k in _NODE_VARIABLES}
        self._node = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "trainingjob_sandbox.node"),
                *("--kubeconfig", str(kubeconfig), "--root", str(self.root)),
                *("--log-file", str(log), "--grace", str(self._grace_s)),
                *("--bind", "--lifeline"),
            ],
            env=environment | {NONCE_VARIABLE: nonce},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A Ctrl-C at the terminal reaches every process of its group; the order is ours.
            start_new_session=True,
        )
        words = _first_words(self._node)
        if words != "ready":
            raise SandboxError(f"the node did not start: {words or 'no word'} (see {log})")

    def _stop_node(self) -> None:
        node = self._node
        if node is None:
            return
        assert node.stdin is not None
        assert node.stdout is not None
        node.send_signal(signal.SIGTERM)
        try:
            node.wait(self._grace_s + _STOP_MARGIN_S)
        except subprocess.TimeoutExpired:
            # Its supervisors kill what is left of the pods once the node is gone.
            _LOG.warning("the node did not stop in time and is killed")
            node.kill()
            node.wait()
        node.stdin.close()
        node.stdout.close()
        remove_tree(self.root / "pods")


def _in_a_loop_of_its_own(work: Coroutine[None, None, str]) -> str:
    """Run it to its end in a thread: the caller's own may be running a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _write_nonce(kubeconfig: Path) -> str:
    async with ApiClient.from_kubeconfig(kubeconfig) as client:
        return await write_nonce(client)


def _first_words(node: "subprocess.Popen[bytes]") -> str:
    """The node's first line, or what it said instead; "" if it said nothing in time."""
    assert node.stdout is not None
    os.set_blocking(node.stdout.fileno(), False)
    said, end = b"", time.monotonic() + _READY_S
    with selectors.DefaultSelector() as selector:
        selector.register(node.stdout, selectors.EVENT_READ)
        while b"\n" not in said and selector.select(max(end - time.monotonic(), 0)):
            chunk = node.stdout.read(4096)
            if not chunk:
                break
            said += chunk
    return said.decode("utf-8", "replace").strip()


def run_sandbox(*, port: int, root: Path | None, grace_s: float, die_with_parent: bool) -> int:
    """Run a sandbox until Ctrl-C or SIGTERM, and return the exit code.

    Prints the kubeconfig's path alone on the first line once everything is ready. A second
    Ctrl-C ends the pods at once.
    """
    if die_with_parent and not _die_with_parent():
        return 0
    sandbox = Sandbox(port=port, root=root, grace_s=grace_s)
    try:
        with _stop_signals(sandbox) as stop, sandbox:
            sys.stdout.write(f"{sandbox.kubeconfig}\n")
            sys.stdout.flush()
            sandbox.wait(stop.descriptor)
    except (SandboxError, ApiError, OSError) as error:
        sys.stderr.write(f"trainingjob sandbox up: {error}\n")
        return 1
    return 0


class _Stop:
    """The first signal ends the wait; every later one hurries the end.

    Attributes:
        descriptor: can be read from once a signal has come.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._asked = False
        self.descriptor, self._write = os.pipe()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Be a signal handler."""
        if self._asked:
            self._sandbox.hurry()
        else:
            self._asked = True
            os.write(self._write, b"x")

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.descriptor)
        os.close(self._write)


@contextlib.contextmanager
def _stop_signals(sandbox: Sandbox) -> Iterator[_Stop]:
    stop = _Stop(sandbox)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


def _die_with_parent() -> bool:
    """Get SIGTERM when the thread that started this process ends; False if it has ended."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    # It may have ended between our start and the call.
    return os.getppid() == parent and parent != 1
