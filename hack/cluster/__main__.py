"""`python -m hack.cluster`: a real control plane for development and tests.

build   build the programs into the cache, once; with names, those operators of other projects, or
        `node`: the further programs of a real node
ready   exit 0 if the programs are built, else 1
can     exit 0 if this machine can run a real node; else print the reason and exit 3 (every other
        status is a failure, and says nothing about the machine)
up      start a control plane, print the path of its kubeconfig, stop it at Ctrl-C
"""

import argparse
import contextlib
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from hack.cluster.assets import AssetsError, build, find, say
from hack.cluster.control_plane import ControlPlane
from hack.cluster.node.node import STATE
from hack.cluster.node.preconditions import missing
from hack.cluster.node.programs import build_network
from hack.cluster.other_operators import ALL, build_operator
from hack.cluster.process import StartError

NODE = "node"
CANNOT: Final = 3
"""The exit status of `can` on a machine that cannot. Python uses 1 for a crash and 2 for wrong usage."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "build":
            made = [_build(name) for name in arguments.names] or [build()]
            sys.stdout.write("".join(f"{folder}\n" for folder in made))
        elif arguments.command == "ready":
            return 0 if find() is not None else 1
        elif arguments.command == "can":
            return _can()
        else:
            _up(arguments.root)
    except (AssetsError, StartError) as error:
        say(str(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hack.cluster", description="A real control plane on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="build the programs into the cache, once")
    building.add_argument(
        "names",
        nargs="*",
        choices=[*ALL, NODE, []],
        help="instead of these, for the bench or `e2e`",
    )
    commands.add_parser("ready", help="exit 0 when the programs are there")
    commands.add_parser("can", help="say why this machine can run no real node, if it cannot")
    up = commands.add_parser("up", help="start a control plane; Ctrl-C ends it")
    up.add_argument("--root", type=Path, help="its folder, kept; default: a temporary one")
    return parser


def _build(name: str) -> Path:
    return build_network() if name == NODE else build_operator(name)


def _can() -> int:
    against = missing(STATE)
    for reason in against:
        say(f"a real node cannot be had on this machine: {reason}")
    return CANNOT if against else 0


def _up(root: Path | None) -> None:
    assets = build()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="control-plane-") as scratch,
    ):
        say("starting etcd, API server, controllers and scheduler")
        with ControlPlane(assets, root or Path(scratch) / "state") as plane:
            sys.stdout.write(f"{plane.kubeconfig}\n")
            sys.stdout.flush()
            say(f"ready: export KUBECONFIG={plane.kubeconfig} (Ctrl-C here ends it)")
            signal.pause()


if __name__ == "__main__":
    sys.exit(main())
