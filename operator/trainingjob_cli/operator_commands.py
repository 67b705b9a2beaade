"""Defines the operator's commands: run it, run one of its tasks once, print CRDs and versions."""

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


@click.command(cls=ListCommand, short_help="Release the operator's finalizers.")
@cluster_options
@click.option(
    "--discard",
    is_flag=True,
    help="Also release jobs that are being deleted and whose records cannot be stored; print those "
    "records.",
)
@click.option(
    "--jobs-go-too",
    is_flag=True,
    help="Use this if all jobs will be deleted afterwards, for example with the CRDs: keep the "
    "finalizers of jobs whose records cannot be stored, or with --discard print those records.",
)
@click.option(
    "--stop",
    metavar="[NAMESPACE/]DEPLOYMENT",
    help="The operator's Deployment; it is scaled to 0 first.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAMESPACE...",
    help="Release only in these namespaces, which the operator no longer serves (default: those "
    "that it serves).",
)
@click.option(
    "--all-but",
    multiple=True,
    metavar="NAMESPACE...",
    help="Release in all namespaces except these, which this or another operator still serves.",
)
def release_finalizers(
    *, stop: str | None, only: tuple[str, ...], all_but: tuple[str, ...], **options: Any
) -> int:
    """Release the operator's finalizers, before it is uninstalled, or in namespaces that it no
    longer serves.
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


@click.command(short_help="Create the record service's tokens.")
@cluster_options
@click.option(
    "--secret", metavar="[NAMESPACE/]SECRET", required=True, help="The Secret, which must exist."
)
@click.option(
    "--key",
    multiple=True,
    default=["token"],
    help="Key of a token in the Secret (default: token).",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="File to write the token to; one for each --key.",
)
def record_token(key: tuple[str, ...], output: tuple[Path, ...], **options: Any) -> int:
    """Create the record service's tokens, unless its Secret has them."""
    from trainingjob_operator.commands.record_token import record_token  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    if len(key) != len(output):
        raise click.UsageError("give one --output for each --key")
    outputs = dict(zip(key, output, strict=True))
    done = asyncio.run(record_token(Settings.from_environment(), outputs=outputs, **options))
    return SUCCESS if done else FAILURE


@click.command(short_help="Remove finished jobs and old files now.")
@cluster_options
@dry_run_option
@output_option
def gc(**options: Any) -> int:
    """Remove finished jobs and old files now, as the operator does at each interval."""
    from trainingjob_operator.commands.gc import collect  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    done = asyncio.run(collect(Settings.from_environment(), **options))
    return SUCCESS if done else FAILURE


@click.command(short_help="Test an install with one small job.")
@cluster_options
@click.option("--namespace", required=True, help="Namespace of the job.")
@click.option("--image", required=True, help="Image of the job's pod; use the operator's own.")
@click.option(
    "--pod-spec", default="{}", metavar="JSON", help="Further fields of the pod's `spec`."
)
@click.option(
    "--timeout", default="2m", metavar="TIME", help="Timeout of each step: seconds, or 90s, 15m."
)
@click.option(
    "--read-record",
    is_flag=True,
    help="Also read the record back with a GET; our record service supports this.",
)
def smoke(kubeconfig: str | None, context: str | None, **options: Any) -> int:
    """Submit a small job, wait until it has finished and its record is stored, and delete it."""
    from trainingjob_operator.commands.smoke import smoke, smoke_job_from  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    job, settings = smoke_job_from(**options), Settings.from_environment()
    works = asyncio.run(smoke(settings, job, kubeconfig=kubeconfig, context=context))
    return SUCCESS if works else FAILURE


@click.command(cls=ListCommand, short_help="Remove old files of a log volume, without a cluster.")
@click.option("--root", required=True, metavar="DIR", help="Root directory of the volume.")
@click.option(
    "--live", multiple=True, metavar="UID...", help="Uids of the jobs whose files are kept."
)
@click.option(
    "--live-from",
    metavar="FILE",
    help="File with such uids, one a line; - is standard input.",
)
@click.option("--assume-none-live", is_flag=True, help="Assume that no job of this volume exists.")
@click.option(
    "--max-age",
    default="7d",
    metavar="AGE",
    help="Remove files that have not changed for this time: seconds, or 90s, 15m, 24h, 7d.",
)
@dry_run_option
@click.option(
    "--init",
    is_flag=True,
    help="First mark this directory as a log volume of this install, whatever it contains.",
)
@click.option(
    "--adopt",
    metavar="IDENTITY",
    help="First take this volume over, with all entries that its owner has marked, from an owner "
    "that no longer exists; `unknown`: a volume that names no owner.",
)
@click.option(
    "--identity",
    metavar="UID",
    help="For --init and --adopt: the uid of the operator's namespace (default: ask the cluster).",
)
@cluster_options
@click.option("--legacy", is_flag=True, help="Also remove entries whose id is not a uid.")
@output_option
def prune(live: tuple[str, ...], **options: Any) -> int:
    """Remove old files of a log volume, without a cluster."""
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
    """Print the versions of the operator, the API, Python, kopf and the Kubernetes client."""
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
