"""Common parts of the commands: exit codes, groups, options, and extras that are not installed."""

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
    """Commands in the order in which they are defined; an unknown one is answered with the list."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **({"context_settings": _SETTINGS} | more))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, the first defined first."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that these arguments begin with, and the rest of them.

        Raises:
            UsageError: there is none of this name, or one of its options lacks its value.
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
    """Refuse an option without its value, which would take the next option for it.

    `--stop $UNSET --discard` must not stop a Deployment `--discard`, nor forget to discard. A value
    that begins with a dash is written `--option=-value`.

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
    """A command whose repeatable options take several values: `--only a b` is `--only a --only b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each value but its first."""
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
    """Add `--kubeconfig`, which KUBECONFIG stands in for, and `--context`."""
    command = click.option("--context", help="Context of the kubeconfig.")(command)
    return click.option(
        "--kubeconfig",
        callback=_kubeconfig,
        help="Path of the kubeconfig (default: as kubectl).",
    )(command)


def _kubeconfig(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from trainingjob_operator.settings import kubeconfig_from_environment  # noqa: PLC0415

    return value or kubeconfig_from_environment()


output_option: Final = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Format."
)
dry_run_option: Final = click.option(
    "--dry-run", is_flag=True, help="Only say what would be removed, and why."
)


@contextmanager
def needs_extra(advice: str, modules: frozenset[str]) -> Iterator[None]:
    """Say in one line how to install an extra, if one of its modules cannot be imported.

    Raises:
        SettingsError: such a module is missing; the message is the advice.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in modules:
            raise SettingsError(advice) from None
        raise
