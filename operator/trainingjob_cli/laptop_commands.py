"""`trainingjob run` and `trainingjob sandbox`: the laptop mode."""

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
    """The name of a manifest that is installed with the package."""

    name = "sample"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the names to choose from, for `--help`."""
        return f"[{'|'.join(_sample_names())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Accept the name of a sample."""
        if value not in _sample_names():
            self.fail(f"{value!r} is no sample; choose from {', '.join(_sample_names())}", param)
        return value


def _sample_names() -> list[str]:
    with needs_extra(_NOT_INSTALLED, _MODULES):
        from trainingjob_sandbox.samples import sample_names  # noqa: PLC0415

        return sample_names()


class _Time(click.ParamType[float]):
    """A time longer than nothing, written as in the operator's settings."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return seconds."""
        from trainingjob_web.env_settings import parse_duration  # noqa: PLC0415

        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} is no time: {error}", param, ctx)
        if not seconds:
            self.fail(f"{value!r} is no time: must be more than 0", param, ctx)
        return seconds


@click.command(
    short_help="Run a TrainingJob on this machine, without a cluster.",
    epilog="Exit codes: 0 Complete, 1 Failed, 2 bad input, 130 Cancelled.",
)
@click.argument("file", required=False)
@click.option("--sample", type=_Sample(), help="A job that comes with trainingjob.")
@click.option("--keep", is_flag=True, help="Leave logs, claims and records, and say where.")
@click.option(
    "--timeout", type=_Time(), help="Stop the job after this time: seconds, or 90s, 15m, 2h."
)
@click.option(
    "--retain",
    type=_Time(),
    help="Delete finished jobs after this time, and show what is removed and what stays.",
)
@click.option("--console", is_flag=True, help="Serve the web page, too, until Ctrl-C.")
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

    Images are not pulled; commands use this machine's programs.

    FILE is YAML with one TrainingJob and the ConfigMaps, Secrets, ... that it needs; - for standard
    input.
    """
    try:
        with needs_extra(_NOT_INSTALLED, _MODULES):
            from trainingjob_sandbox.run.command import run_job  # noqa: PLC0415

            if (file is None) == (sample is None):
                context.fail("give either FILE or --sample")
            return run_job(
                file, sample, keep=keep, timeout_s=timeout, retain_s=retain, console=console
            )
    except KeyboardInterrupt:  # before there is a job
        return _CANCELLED


@click.group(cls=Group, short_help="`sandbox up`: an API server and a node on this machine.")
def sandbox() -> None:
    """`trainingjob sandbox up` starts an API server and a node on this machine."""


@sandbox.command(short_help="Start an API server and a node, until Ctrl-C.")
@click.option("--port", type=int, default=0, help="Port of the API server; 0: any free one.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Its folder, new or of an earlier sandbox; kept (default: a temporary one).",
)
@click.option("--grace", type=float, default=30.0, help="Seconds that pods get at the end.")
@click.option("--die-with-parent", is_flag=True, help="End when the starting process ends.")
def up(port: int, root: Path | None, grace: float, *, die_with_parent: bool) -> int:
    """Start an API server and a node on this machine; print the kubeconfig's path."""
    with needs_extra(_NOT_INSTALLED, _MODULES):
        from trainingjob_sandbox.starter import run_sandbox  # noqa: PLC0415

        return run_sandbox(port=port, root=root, grace_s=grace, die_with_parent=die_with_parent)
