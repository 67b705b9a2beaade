"""The program `python -m trainingjob_sandbox.node`, which `trainingjob sandbox up` starts: runs the node.

Exit status: 0 after an orderly stop, 1 if it cannot or may not run, 2 for wrong use.
"""

import argparse
import asyncio
import logging
import logging.handlers
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.node.cluster_nonce import NonceError
from trainingjob_sandbox.node.constants import NONCE_VARIABLE
from trainingjob_sandbox.node.node import Node
from trainingjob_sandbox.node.registration import RegistrationError, default_name
from trainingjob_web.kubeconfig import KubeconfigError

_LOG: Final = logging.getLogger(__name__)
_GRACE_S: Final = 30.0
_LOG_BYTES: Final = 1024 * 1024
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(argv: list[str] | None = None) -> int:
    """Run the node until SIGTERM, Ctrl-C or, with --lifeline, the end of standard input."""
    arguments = _parser().parse_args(argv)
    _set_up_logging(arguments.log_file)
    try:
        return asyncio.run(_run(arguments))
    except (KubeconfigError, NonceError, RegistrationError, ApiError, OSError) as error:
        sys.stderr.write(f"trainingjob sandbox node: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainingjob_sandbox.node",
        description="Run the pods of TrainingJobs as processes of this machine.",
        epilog=f"The cluster must have the nonce of {NONCE_VARIABLE}; `sandbox up` writes both.",
    )
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder for logs and volumes")
    parser.add_argument("--name", default=default_name(), help="name of the Node object")
    parser.add_argument("--bind", action="store_true", help="bind pods (without a scheduler)")
    parser.add_argument("--port", type=int, default=0, help="port for logs; 0: any free one")
    parser.add_argument("--tls-cert", type=Path, help="certificate for the log endpoint")
    parser.add_argument("--tls-key", type=Path, help="its key")
    parser.add_argument(
        "--grace", type=float, default=_GRACE_S, help="grace period of the pods at a stop, seconds"
    )
    parser.add_argument("--log-file", type=Path, help="log file; default: standard error")
    parser.add_argument(
        "--lifeline", action="store_true", help="stop at once at the end of standard input"
    )
    return parser


def _set_up_logging(file: Path | None) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        handler = logging.handlers.RotatingFileHandler(file, maxBytes=_LOG_BYTES, backupCount=1)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[handler]
    )


async def _run(arguments: argparse.Namespace) -> int:
    stops: asyncio.Queue[float] = asyncio.Queue()
    _listen_for_stops(stops, arguments.grace, lifeline=arguments.lifeline)
    async with ApiClient.from_kubeconfig(arguments.kubeconfig) as client:
        node = Node(
            client,
            name=arguments.name,
            root=arguments.root.resolve(),
            path=os.environ.get("PATH", _DEFAULT_PATH),
            bind=arguments.bind,
            port=arguments.port,
            tls=_tls(arguments),
        )
        await node.start(os.environ.get(NONCE_VARIABLE, ""))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        running = asyncio.create_task(node.run())
        asked = asyncio.create_task(stops.get())
        await asyncio.wait([running, asked], return_when=asyncio.FIRST_COMPLETED)
        # A node that no longer watches its pods must not appear alive: exit.
        broken = running.done()
        grace_s = arguments.grace if broken else asked.result()
        running.cancel()
        asked.cancel()
        [error] = await asyncio.gather(running, return_exceptions=True)
        if broken:
            _LOG.error("the node failed and stops", exc_info=error)
        stopping = asyncio.create_task(node.stop(grace_s))
        # A second stop request kills the pods without waiting for the first one's grace period.
        second = asyncio.create_task(stops.get())
        await asyncio.wait([stopping, second], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            node.kill()
        await stopping
        second.cancel()
    return 1 if broken else 0


def _listen_for_stops(stops: "asyncio.Queue[float]", grace_s: float, *, lifeline: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stops.put_nowait, grace_s)
    if lifeline:
        loop.add_reader(sys.stdin.fileno(), _read_lifeline, stops)


def _read_lifeline(stops: "asyncio.Queue[float]") -> None:
    """Request a stop at the end of standard input: the starter, which runs the API server, has ended."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stops.put_nowait(0.0)


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if arguments.tls_cert is None or arguments.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    return context


if __name__ == "__main__":
    sys.exit(main())
