"""The entry point of the command line. Exit codes: 0 success, 1 failure, 2 wrong use.

Each command imports its package only when it is called. So `--help` is fast, and the command line
also works in the image, which does not have `trainingjob_sandbox`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from trainingjob_api.errors import SettingsError
from trainingjob_cli import console_commands, laptop_commands, operator_commands, records_commands
from trainingjob_cli.shared import FAILURE, SUCCESS, WRONG_USE, Group

_TRAININGJOB = Group(
    "trainingjob",
    help="Training jobs on Kubernetes: apply a TrainingJob, get pods, see it finish.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = _call(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SettingsError as error:
        click.echo(f"trainingjob: {error}", err=True)
        return WRONG_USE
    except BrokenPipeError:
        # The reader has closed the pipe (`trainingjob crd | head`). Python flushes standard output
        # again at exit, and that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except KeyboardInterrupt:
        return FAILURE
    return code


def _call(arguments: list[str]) -> int:
    try:
        with _TRAININGJOB.make_context(_program(), arguments) as context:
            return int(_TRAININGJOB.invoke(context) or SUCCESS)
    except click.exceptions.Exit as end:  # after `--help`
        return end.exit_code


def _program() -> str:
    """Return the program name for help texts: a kubectl plugin's file is named `kubectl-NAME`."""
    is_plugin = Path(sys.argv[0]).name.startswith("kubectl-")
    return "kubectl trainingjob" if is_plugin else "trainingjob"


for _command in (
    *operator_commands.COMMANDS,
    records_commands.records,
    console_commands.console,
    laptop_commands.run,
    laptop_commands.sandbox,
    operator_commands.crd,
    operator_commands.version,
):
    _TRAININGJOB.add_command(_command)
