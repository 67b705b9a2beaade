"""Implements `trainingjob sandbox up`: starts and stops the API server and the node, writes the kubeconfig.

The API server runs in a thread of this process, with its own event loop. The node is a child
process. It ends with this process, however this process ends: at the end of its standard input.
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
"""Environment variables that the node inherits; it may need some to import this package.

Of these its pods get only PATH.
"""


class SandboxError(Exception):
    """The sandbox did not start, or failed. The message says which part, and where its log is."""


class Sandbox:
    """A sandbox, as a context manager that starts and stops it.

    Attributes:
        root: its folder, with `kubeconfig`, `node.log`, `claims/`, and `pods/` while it runs.
        kubeconfig: path of the kubeconfig for clients; readable by its owner only.
    """

    def __init__(
        self, *, port: int = 0, root: Path | None = None, grace_s: float = _GRACE_S
    ) -> None:
        """Create a sandbox; nothing is started before the context is entered.

        Args:
            port: port of the API server on loopback; 0: any free one.
            root: its folder, kept afterwards; None: a new temporary one, removed afterwards.
            grace_s: maximum grace period of the pods at the end, in seconds.
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
            # A client may outlive a sandbox and find the next one at the same address. It ignores
            # resourceVersions lower than it has seen, so they start from the current time.
            first = time.time_ns() // 1000
            api = stack.enter_context(ApiServerThread(crds, port=self._port, first_revision=first))
            # Under another name until the node is ready: the final file means all is ready.
            draft = self.root / f".{_KUBECONFIG}"
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            api.write_kubeconfig(draft)
            nonce = _run_in_thread(_write_nonce(draft))
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
        """Wait until the descriptor `stop` is readable.

        Raises:
            SandboxError: the node ended first. Without it every pod would stay pending.
        """
        node = self._node
        assert node is not None
        assert node.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stop, selectors.EVENT_READ)
            selector.register(node.stdout, selectors.EVENT_READ)
            while stop not in {key.fd for key, _ in selector.select()}:
                # End of file (b"") means that the node has ended; None means no output yet.
                if node.stdout.read(4096) == b"":
                    code = node.wait()
                    raise SandboxError(
                        f"the node ended unexpectedly, exit code {code}{self._log_tail()}"
                    )

    def _log_tail(self) -> str:
        """Return the last lines of the node's log, as a suffix of an error message."""
        with contextlib.suppress(OSError):
            lines = (self.root / "node.log").read_text("utf-8", "replace").splitlines()
            return "; its last log lines:\n  " + "\n  ".join(lines[-_LOG_LINES:])
        return ""

    def kill_pods(self) -> None:
        """Kill the pods at once while the sandbox stops, without their grace period."""
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
            # A Ctrl-C at the terminal must not reach the node: this process stops it in order.
            start_new_session=True,
        )
        line = _first_line(self._node)
        if line != "ready":
            raise SandboxError(f"the node did not start: {line or 'no output'} (see {log})")

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
            # Its supervisors kill the pods' processes when the node has ended.
            _LOG.warning("the node did not stop in time; killing it")
            node.kill()
            node.wait()
        node.stdin.close()
        node.stdout.close()
        remove_tree(self.root / "pods")


def _run_in_thread(work: Coroutine[None, None, str]) -> str:
    """Run a coroutine in a new thread and event loop: the caller's thread may already run a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _write_nonce(kubeconfig: Path) -> str:
    async with ApiClient.from_kubeconfig(kubeconfig) as client:
        return await write_nonce(client)


def _first_line(node: "subprocess.Popen[bytes]") -> str:
    """Return the node's first line of output, or an incomplete one; "" if there is none in time."""
    assert node.stdout is not None
    os.set_blocking(node.stdout.fileno(), False)
    output, end = b"", time.monotonic() + _READY_S
    with selectors.DefaultSelector() as selector:
        selector.register(node.stdout, selectors.EVENT_READ)
        while b"\n" not in output and selector.select(max(end - time.monotonic(), 0)):
            chunk = node.stdout.read(4096)
            if not chunk:
                break
            output += chunk
    return output.decode("utf-8", "replace").strip()


def run_sandbox(*, port: int, root: Path | None, grace_s: float, die_with_parent: bool) -> int:
    """Run a sandbox until Ctrl-C or SIGTERM, and return the exit code.

    It prints one line, the path of the kubeconfig, when everything is ready. A second Ctrl-C kills
    the pods at once.
    """
    if die_with_parent and not _die_with_parent():
        return 0
    sandbox = Sandbox(port=port, root=root, grace_s=grace_s)
    try:
        with _handle_signals(sandbox) as stop, sandbox:
            sys.stdout.write(f"{sandbox.kubeconfig}\n")
            sys.stdout.flush()
            sandbox.wait(stop.descriptor)
    except (SandboxError, ApiError, OSError) as error:
        sys.stderr.write(f"trainingjob sandbox up: {error}\n")
        return 1
    return 0


class _StopSignal:
    """Signal handler: the first signal stops the sandbox, every later one kills its pods.

    Attributes:
        descriptor: readable after the first signal.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._received = False
        self.descriptor, self._write = os.pipe()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._received:
            self._sandbox.kill_pods()
        else:
            self._received = True
            os.write(self._write, b"x")

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.descriptor)
        os.close(self._write)


@contextlib.contextmanager
def _handle_signals(sandbox: Sandbox) -> Iterator[_StopSignal]:
    stop = _StopSignal(sandbox)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


def _die_with_parent() -> bool:
    """Ask the kernel for SIGTERM when the parent thread ends; return False if it has already ended."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    # The parent may have ended between our start and the call.
    return os.getppid() == parent and parent != 1
