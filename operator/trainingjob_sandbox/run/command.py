"""`trainingjob run`: arguments in, an exit code out."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiError
from trainingjob_sandbox.run.children import ChildError
from trainingjob_sandbox.run.documents import Documents, InputError, read_documents
from trainingjob_sandbox.run.screen import open_screen
from trainingjob_sandbox.run.session import CANCELLED, FAILED, Session
from trainingjob_sandbox.run.workspace import Workspace
from trainingjob_sandbox.samples import sample_names, sample_path

WRONG_USE: Final = 2
_NEEDED: Final = ("cel", "jsonpatch", "jsonschema", "rich")
"""What the extra `sandbox` brings; the sandbox's own process would only fail later."""

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def run_command(argv: Sequence[str]) -> int:
    """Run one file on this machine.

    Returns:
        0 Complete, 1 Failed (or nothing to say what became of the job), 2 bad input, 130 Cancelled.

    Raises:
        ModuleNotFoundError: the extra `sandbox` is not installed.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    arguments = _parser().parse_args(argv)
    try:
        documents = _read(arguments)
        return _run(documents, arguments)
    except KeyboardInterrupt:  # while nothing runs yet, or any more
        return CANCELLED
    except InputError as error:
        return _complain(error, WRONG_USE)
    except (ChildError, ApiError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # nobody reads any more: nobody to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        return _complain(error, FAILED)


def _run(documents: Documents, arguments: argparse.Namespace) -> int:
    with Workspace(keep=arguments.keep) as workspace:
        screen = open_screen()
        try:
            session = Session(
                documents,
                screen,
                workspace,
                timeout_s=arguments.timeout,
                retain_s=arguments.retain,
            )
            return asyncio.run(session.run())
        finally:
            if arguments.keep:
                screen.say(f"kept: {workspace.folder}")
            screen.close()


def _read(arguments: argparse.Namespace) -> Documents:
    sample = arguments.sample
    path = Path(arguments.file) if sample is None else sample_path(sample)
    try:
        # Kubernetes' files are UTF-8, whatever the terminal speaks.
        is_stdin = arguments.file == "-"
        text = (sys.stdin.buffer.read() if is_stdin else path.read_bytes()).decode()
    except (OSError, UnicodeDecodeError) as error:
        name = "standard input" if is_stdin else path
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8: {error}"
        raise InputError(f"cannot read {name}: {reason}") from error
    return read_documents(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainingjob run",
        description="Run a TrainingJob on this machine, without a cluster: its ranks become "
        "processes. Images are not pulled; commands use this machine's programs.",
        epilog="Exit codes: 0 Complete, 1 Failed, 2 bad input, 130 Cancelled.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="YAML with one TrainingJob and the ConfigMaps, Secrets, ... that it needs; - for stdin",
    )
    source.add_argument("--sample", choices=sample_names(), help="a job that comes with us")
    parser.add_argument(
        "--keep", action="store_true", help="leave logs, claims and records, and say where"
    )
    parser.add_argument(
        "--timeout",
        type=_duration,
        metavar="TIME",
        help="stop the job after this time: seconds, or 90s, 15m, 2h",
    )
    parser.add_argument(
        "--retain",
        type=_duration,
        metavar="TIME",
        help="have finished jobs deleted after this time, and show what goes and what stays",
    )
    return parser


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 90, 90s, 15m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def _complain(error: Exception, code: int) -> int:
    lines = str(error).splitlines() or [type(error).__name__]
    if code != WRONG_USE:
        lines = ["\n".join(lines)]
    for line in lines:
        print(f"trainingjob run: {line}", file=sys.stderr)  # noqa: T201 - the answer to the user
    return code
