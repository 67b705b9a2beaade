"""Defines `trainingjob run` and `trainingjob sandbox`, which need no cluster."""

from pathlib import Path
from typing import Any, Final

import click

from trainingjob_cli.shared import Group, needs_extra

_NOT_INSTALLED: Final = (
    "the laptop mode is not installed (it is not in the operator's image); "
    "on your own machine, in a clone: pip install '.[sandbox]'"
)
_CANCELLED: Final = 130
_MODULES: Final = frozenset({"cel", "jsonpatch", "jsonschema", "rich", "trainingjob_sandbox"})


class _Sample(click.ParamType[str]):
    """A parameter type for the name of a sample manifest."""

    name = "sample"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the names to choose from, for `--help`."""
        return f"[{'|'.join(_sample_names())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name if it is a sample."""
        if value not in _sample_names():
            self.fail(
                f"{value!r} is not a sample; choose from {', '.join(_sample_names())}", param
            )
        return value


def _sample_names() -> list[str]:
    with needs_extra(_NOT_INSTALLED, _MODULES):
        from trainingjob_sandbox.samples import sample_names  # noqa: PLC0415

        return sample_names()


class _Time(click.ParamType[float]):
    """A parameter type for a positive duration, in the format of the operator's settings."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return seconds."""
        from trainingjob_web.env_settings import parse_duration  # noqa: PLC0415

        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} is not a valid duration: {error}", param, ctx)
        if not seconds:
            self.fail(f"{value!r} is not a valid duration: must be more than 0", param, ctx)
        return seconds


@click.command(
    short_help="Run a TrainingJob on this machine, without a cluster.",
    epilog="Exit codes: 0 Complete, 1 Failed, 2 invalid input, 130 Cancelled.",
)
@click.argument("file", required=False)
@click.option("--sample", type=_Sample(), help="A job that comes with trainingjob.")
@click.option("--keep", is_flag=True, help="Keep logs, claims and records, and print where.")
@click.option(
    "--timeout", type=_Time(), help="Stop the job after this time: seconds, or 90s, 15m, 2h."
)
@click.option(
    "--retain",
    type=_Time(),
    help="Delete finished jobs after this time, and show what is deleted and what is kept.",
)
@click.option("--console", is_flag=True, help="Serve the web console as well, until Ctrl-C.")
@click.pass_context
def run(
    context: click.Context,
    file: str | None,
    sample: str | None,
    timeout: float | None,
    retain: float | None,
    *,
    keep: bool,
    console: bool,
) -> int:
    """Run a TrainingJob on this machine, without a cluster: its ranks become processes.

    Images are not pulled: commands run programs of this machine.

    FILE is YAML with one TrainingJob and the objects that it needs (ConfigMaps, Secrets, ...); use -
    for standard input.
    """
    try:
        with needs_extra(_NOT_INSTALLED, _MODULES):
            from trainingjob_sandbox.run.command import run_job  # noqa: PLC0415

            if (file is None) == (sample is None):
                context.fail("give either FILE or --sample")
            return run_job(
                file, sample, keep=keep, timeout_s=timeout, retain_s=retain, console=console
            )
    except KeyboardInterrupt:  # before the job was created
        return _CANCELLED


@click.group(cls=Group, short_help="`sandbox up`: an API server and a node on this machine.")
def sandbox() -> None:
    """`trainingjob sandbox up` starts an API server and a node on this machine."""


@sandbox.command(short_help="Start an API server and a node, until Ctrl-C.")
@click.option("--port", type=int, default=0, help="Port of the API server; 0: any free one.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder: new, empty or an earlier sandbox's; kept (default: a temporary one).",
)
@click.option(
    "--grace", type=float, default=30.0, help="Grace period of the pods at the end, seconds."
)
@click.option("--die-with-parent", is_flag=True, help="Stop when the parent process ends.")
def up(port: int, root: Path | None, grace: float, *, die_with_parent: bool) -> int:
    """Start an API server and a node on this machine, and print the path of the kubeconfig."""
    with needs_extra(_NOT_INSTALLED, _MODULES):
        from trainingjob_sandbox.starter import run_sandbox  # noqa: PLC0415

        return run_sandbox(port=port, root=root, grace_s=grace, die_with_parent=die_with_parent)
