"""Shared by all commands: exit codes, click groups, common options, and checks for missing extras."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final, TypeVar

import click

from trainingjob_api.errors import SettingsError

SUCCESS: Final = 0
FAILURE: Final = 1
WRONG_USE: Final = 2

_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "show_default": True}
_F = TypeVar("_F", bound=Callable[..., Any])


class Group(click.Group):
    """A group with commands in the order of definition; an unknown command prints the list of them."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **({"context_settings": _SETTINGS} | more))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of definition."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that these arguments begin with, and the remaining arguments.

        Raises:
            UsageError: there is no such command, or an option lacks its value.
        """
        try:
            name, command, rest = super().resolve_command(ctx, args)
        except click.UsageError as error:
            shown = [name for name, command in self.commands.items() if not command.hidden]
            ctx.fail(f"{error.format_message()} Commands: {', '.join(shown)}.")
        if command is not None:
            _refuse_missing_values(ctx, command, rest)
        return name, command, rest


def _refuse_missing_values(ctx: click.Context, command: click.Command, words: list[str]) -> None:
    """Refuse an option without a value, for which click would use the next option as the value.

    `--stop $UNSET --discard` must not stop a Deployment called `--discard` and ignore `--discard`. A
    value that begins with a dash is written `--option=-value`.

    Raises:
        BadOptionUsage: a value is missing.
    """
    takes_value = {
        name
        for option in command.params
        if isinstance(option, click.Option) and not option.is_flag
        for name in option.opts
    }
    for word, following in pairwise(words):
        if word == "--":
            return
        if word in takes_value and following.startswith("-") and following != "-":
            raise click.BadOptionUsage(word, f"Option {word!r} requires an argument.", ctx)


class ListCommand(click.Command):
    """A command whose repeatable options accept several values: `--only a b` is `--only a --only b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the option before each further value, and parse."""
        return super().parse_args(ctx, self._repeat_options(args))

    def _repeat_options(self, args: Sequence[str]) -> list[str]:
        several = {name for option in self.params for name in option.opts if _is_multiple(option)}
        repeated: list[str] = []
        option, values = "", 0
        for word in args:
            if word.startswith("-"):
                option, values = word, 0
            elif option in several:
                values += 1
                repeated += [option] if values > 1 else []
            repeated.append(word)
        return repeated


def _is_multiple(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and parameter.multiple


def cluster_options(command: _F) -> _F:
    """Add the options `--kubeconfig` (default: KUBECONFIG) and `--context`."""
    command = click.option("--context", help="Context of the kubeconfig.")(command)
    return click.option(
        "--kubeconfig",
        callback=_kubeconfig,
        help="Path of the kubeconfig (default: the same as kubectl's).",
    )(command)


def _kubeconfig(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from trainingjob_operator.settings import kubeconfig_from_environment  # noqa: PLC0415

    return value or kubeconfig_from_environment()


output_option: Final = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Output format."
)
dry_run_option: Final = click.option(
    "--dry-run", is_flag=True, help="Only print what would be removed, and why."
)


@contextmanager
def needs_extra(advice: str, modules: frozenset[str]) -> Iterator[None]:
    """Replace an ImportError of a missing extra by one line that says how to install it.

    Raises:
        SettingsError: one of the modules cannot be imported; the message is the advice.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in modules:
            raise SettingsError(advice) from None
        raise
