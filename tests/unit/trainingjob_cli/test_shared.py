"""Options that take several values."""

import click
import pytest

from trainingjob_cli.shared import ListCommand


@click.command(cls=ListCommand)
@click.option("--only", multiple=True)
@click.option("--name")
@click.option("--all", "everything", is_flag=True)
def command(only: tuple[str, ...], name: str | None, *, everything: bool) -> object:
    return only, name, everything


@pytest.mark.parametrize(
    ("arguments", "want"),
    [
        ([], ((), None, False)),
        (["--only", "a", "b", "--all"], (("a", "b"), None, True)),
        (["--only", "a", "--only=b", "--name", "n", "--only", ""], (("a", "b", ""), "n", False)),
    ],
)
def test_a_list_ends_with_the_next_option(arguments: list[str], want: object) -> None:
    with command.make_context("test", arguments) as context:
        assert command.invoke(context) == want


@pytest.mark.parametrize("arguments", [["--only"], ["--name", "a", "b"], ["--all", "b"]])
def test_other_options_accept_one_value(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        command.make_context("test", arguments)
