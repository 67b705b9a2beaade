"""`python -m hack.image`: builds the operator's image with Docker, Podman or Buildah.

build         build it on the Python image that the Dockerfile names, or on another one
build-local   build it on a Debian created here, for machines that can reach no registry
ready         exit 0 if everything that `build-local` needs is available, without creating or fetching it
"""

import argparse
import sys

from hack.cache import find_made
from hack.image import base
from hack.image.build import IMAGE, build, build_locally, say
from hack.image.engine import EngineError, find_builder, find_runner


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "ready":
            return 0 if find_runner() and find_made(base.name()) else 1
        if arguments.command == "build":
            _build(arguments.image, arguments.python_image or None)
        else:
            build_locally(find_builder(), arguments.image)
    except (EngineError, base.BaseError) as error:
        say(str(error))
        return 1
    sys.stdout.write(f"{arguments.image}\n")
    return 0


def _build(image: str, python_image: str | None) -> None:
    engine = find_builder()
    try:
        build(engine, image, python_image=python_image)
    except EngineError as error:
        raise EngineError(
            f"{error}; where no registry can be reached, `make image-local` builds it"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hack.image", description="Build the operator's image."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    here = commands.add_parser("build", help="build it on a Python image from a registry")
    here.add_argument("--python-image", help="what to build on; default: as the Dockerfile says")
    local = commands.add_parser("build-local", help="build it on a Debian made here")
    for command in (here, local):
        command.add_argument("--image", default=IMAGE, help="its name (default: %(default)s)")
    commands.add_parser("ready", help="exit 0 when build-local has what it needs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
