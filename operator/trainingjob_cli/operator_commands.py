"""The commands of the operator: it runs, or does once what it does in its time; CRDs and versions."""

import asyncio
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click

from trainingjob_api.constants import API_VERSION
from trainingjob_cli.shared import (
    FAILURE,
    SUCCESS,
    ListCommand,
    cluster_options,
    dry_run_option,
    output_option,
)
from trainingjob_operator import __version__


@click.command()
@cluster_options
def operator(kubeconfig: str | None, context: str | None) -> int:
    """Run the operator (what the container runs)."""
    from trainingjob_operator import runtime  # noqa: PLC0415 - see the docstring of main.py
    from trainingjob_operator.descriptors import raise_descriptor_limit  # noqa: PLC0415
    from trainingjob_operator.logging_setup import configure_logging  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    settings = Settings.from_environment()
    configure_logging(settings.logging.format, settings.logging.level)
    raise_descriptor_limit()
    asyncio.run(runtime.run(settings, kubeconfig=kubeconfig, context=context))
    return SUCCESS


@click.command(cls=ListCommand, short_help="Release the finalizers that the operator holds.")
@cluster_options
@click.option(
    "--discard",
    is_flag=True,
    help="Also release jobs that are being deleted and whose records cannot be stored; print these "
    "records.",
)
@click.option(
    "--jobs-go-too",
    is_flag=True,
    help="Every job will be deleted afterwards (with the CRDs, for instance): keep the finalizers "
    "of those whose records cannot be stored, or with --discard print the records.",
)
@click.option(
    "--stop",
    metavar="[NAMESPACE/]DEPLOYMENT",
    help="The operator's Deployment, which is scaled to 0 first.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAMESPACE...",
    help="Namespaces that the operator no longer serves (default: those that it serves).",
)
@click.option(
    "--all-but",
    multiple=True,
    metavar="NAMESPACE...",
    help="The namespaces that are still served, by whatever operator; all others are released.",
)
def release_finalizers(
    *, stop: str | None, only: tuple[str, ...], all_but: tuple[str, ...], **options: Any
) -> int:
    """Release the finalizers that the operator holds: before it is removed, or in namespaces that
    it no longer serves.
    """  # noqa: D205 - it is the help
    from trainingjob_operator.commands.release_finalizers import release  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    if only and all_but:
        raise click.UsageError("--only and --all-but exclude each other")
    settings = Settings.from_environment()
    released = asyncio.run(
        release(settings, deployment=stop, only=only, spared=all_but, **options)
    )
    return SUCCESS if released else FAILURE


@click.command(short_help="Make the record service's tokens.")
@cluster_options
@click.option(
    "--secret", metavar="[NAMESPACE/]SECRET", required=True, help="The Secret; it must exist."
)
@click.option(
    "--key", multiple=True, default=["token"], help="A token's key in it (default: token)."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="File to write the key's token to; one for each --key.",
)
def record_token(key: tuple[str, ...], output: tuple[Path, ...], **options: Any) -> int:
    """Make the record service's tokens, unless its Secret has them."""
    from trainingjob_operator.commands.record_token import record_token  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    if len(key) != len(output):
        raise click.UsageError("name one --output for each --key")
    outputs = dict(zip(key, output, strict=True))
    done = asyncio.run(record_token(Settings.from_environment(), outputs=outputs, **options))
    return SUCCESS if done else FAILURE


@click.command(short_help="Remove finished jobs and old files now.")
@cluster_options
@dry_run_option
@output_option
def gc(**options: Any) -> int:
    """Remove finished jobs and old files now, as the operator does in its time."""
    from trainingjob_operator.commands.gc import collect  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    done = asyncio.run(collect(Settings.from_environment(), **options))
    return SUCCESS if done else FAILURE


@click.command(short_help="Try an install with one small job.")
@cluster_options
@click.option("--namespace", required=True, help="Where the job is submitted.")
@click.option("--image", required=True, help="Image of the job's pod: the operator's own.")
@click.option(
    "--pod-spec", default="{}", metavar="JSON", help="Further fields of the pod's `spec`."
)
@click.option(
    "--timeout", default="2m", metavar="TIME", help="For each step: seconds, or 90s, 15m."
)
@click.option(
    "--read-record",
    is_flag=True,
    help="Also ask the endpoint for the record, which the record service answers.",
)
def smoke(kubeconfig: str | None, context: str | None, **options: Any) -> int:
    """Submit a small job, wait for its end and its record, and delete it."""
    from trainingjob_operator.commands.smoke import smoke, smoke_job_from  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    trial, settings = smoke_job_from(**options), Settings.from_environment()
    works = asyncio.run(smoke(settings, trial, kubeconfig=kubeconfig, context=context))
    return SUCCESS if works else FAILURE


@click.command(cls=ListCommand, short_help="Remove old files of a log volume by hand.")
@click.option("--root", required=True, metavar="DIR", help="The volume's root.")
@click.option("--live", multiple=True, metavar="UID...", help="Uids of the jobs whose files stay.")
@click.option(
    "--live-from",
    metavar="FILE",
    help="File with these uids, one a line; - is standard input.",
)
@click.option("--assume-none-live", is_flag=True, help="No job of this volume exists any more.")
@click.option(
    "--max-age",
    default="7d",
    metavar="AGE",
    help="Remove what has not changed for so long: seconds, or 90s, 15m, 24h, 7d.",
)
@dry_run_option
@click.option(
    "--init",
    is_flag=True,
    help="First make this directory a volume of ours, whatever is in it.",
)
@click.option(
    "--adopt",
    metavar="IDENTITY",
    help="First take this volume over from an owner that is gone for good, with all that it has "
    "marked; `unknown`: a volume that names none.",
)
@click.option(
    "--identity",
    metavar="UID",
    help="For --init and --adopt: the uid of the operator's namespace (default: ask the cluster).",
)
@cluster_options
@click.option("--legacy", is_flag=True, help="Also remove entries whose id is no uid.")
@output_option
def prune(live: tuple[str, ...], **options: Any) -> int:
    """Remove old files of a log volume by hand, without a cluster."""
    from trainingjob_operator.commands.prune import PruneOptions, prune  # noqa: PLC0415

    return SUCCESS if prune(PruneOptions(live=list(live) or None, **options)) else FAILURE


@click.command()
def crd() -> int:
    """Print the CustomResourceDefinitions."""
    from trainingjob_api.crd import render_yaml  # noqa: PLC0415

    sys.stdout.write(render_yaml())
    return SUCCESS


@click.command()
def version() -> int:
    """Print the versions of everything that matters."""
    lines = {
        "trainingjob-operator": __version__,
        "API": API_VERSION,
        "Python": platform.python_version(),
        "kopf": metadata.version("kopf"),
        "kubernetes client": metadata.version("kubernetes"),
    }
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return SUCCESS


COMMANDS: Final = (operator, release_finalizers, record_token, gc, prune, smoke)
