"""Implements the command `trainingjob run`: checks its input, runs the job, returns the exit code."""

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from trainingjob_sandbox.client import ApiError
from trainingjob_sandbox.run import console as page
from trainingjob_sandbox.run.child_processes import ChildError
from trainingjob_sandbox.run.documents import Documents, InputError, read_documents
from trainingjob_sandbox.run.screen import open_screen
from trainingjob_sandbox.run.session import CANCELLED, FAILED, Session
from trainingjob_sandbox.run.workspace import Workspace
from trainingjob_sandbox.samples import sample_path

WRONG_USE: Final = 2
_NEEDED: Final = ("cel", "jsonpatch", "jsonschema", "rich")
"""Modules of the extra `sandbox`, checked first: the sandbox's process would fail later, and less clearly."""


def run_job(
    file: str | None,
    sample: str | None = None,
    *,
    keep: bool = False,
    timeout_s: float | None = None,
    retain_s: float | None = None,
    console: bool = False,
) -> int:
    """Run the job of a file, or a sample, on this machine.

    Args:
        file: the path of the file; `-` for standard input; None to use `sample`.
        sample: one of `sample_names`.
        keep: keep logs, claims and records, and print where they are.
        timeout_s: stop the job after this time.
        retain_s: delete finished jobs after this time, and show what is deleted and what is kept.
        console: serve the console as well, and wait for Ctrl-C.

    Returns:
        0 Complete, 1 Failed (or the outcome is unknown), 2 bad input, 130 Cancelled.

    Raises:
        ModuleNotFoundError: the extra `sandbox` is not installed.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if console and not page.is_installed():
        return _print_error(
            InputError("the console is not installed; in a clone: pip install '.[console]'"),
            WRONG_USE,
        )
    try:
        documents = _read(file, sample)
        return _run(documents, keep=keep, timeout_s=timeout_s, retain_s=retain_s, console=console)
    except KeyboardInterrupt:  # before the processes were started, or after they stopped
        return CANCELLED
    except InputError as error:
        return _print_error(error, WRONG_USE)
    except (ChildError, ApiError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        return _print_error(error, FAILED)


def _run(
    documents: Documents,
    *,
    keep: bool,
    timeout_s: float | None,
    retain_s: float | None,
    console: bool,
) -> int:
    with Workspace(keep=keep) as workspace:
        screen = open_screen()
        try:
            session = Session(
                documents,
                screen,
                workspace,
                timeout_s=timeout_s,
                retain_s=retain_s,
                console=console,
            )
            return asyncio.run(session.run())
        finally:
            if keep:
                screen.say(f"kept: {workspace.folder}")
            screen.close()


def _read(file: str | None, sample: str | None) -> Documents:
    path = Path(file or "") if sample is None else sample_path(sample)
    try:
        # Manifests are UTF-8, whatever the locale's encoding is.
        is_stdin = file == "-"
        text = (sys.stdin.buffer.read() if is_stdin else path.read_bytes()).decode()
    except (OSError, UnicodeDecodeError) as error:
        name = "standard input" if is_stdin else path
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8: {error}"
        raise InputError(f"cannot read {name}: {reason}") from error
    return read_documents(text)


def _print_error(error: Exception, code: int) -> int:
    lines = str(error).splitlines() or [type(error).__name__]
    if code != WRONG_USE:
        lines = ["\n".join(lines)]
    for line in lines:
        print(f"trainingjob run: {line}", file=sys.stderr)  # noqa: T201 - the answer to the user
    return code
