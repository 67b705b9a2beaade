"""`trainingjob release-finalizers`: the command's checks and output; `release_pass.py` does the work.

Used before the operator is uninstalled, and before it stops serving some namespaces: afterwards it has no rights there any more, and
could neither release finalizers in them nor see that there are any.
"""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from trainingjob_api.constants import ANNOTATION_DISCARD_RECORD
from trainingjob_api.errors import KubernetesError, NotServedError, SettingsError
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.commands.command_lease import LeaseHeldError, holding_lease
from trainingjob_operator.commands.namespace_handover import wait_for_handover
from trainingjob_operator.commands.release_pass import ReleasePass, ReleaseReport
from trainingjob_operator.core.record import record_line
from trainingjob_operator.kube.connection import Connection, connect
from trainingjob_operator.kube.deployments import DeploymentGateway
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.write_fencing import MayWrite
from trainingjob_operator.records.endpoint import RecordWriter, writer_from
from trainingjob_operator.setting_types import check_namespaces
from trainingjob_operator.settings import Settings

STOP_TIMEOUT_S: Final = 120.0
"""Timeout for the operator's pod to stop; its grace period is ten seconds."""


async def release(
    settings: Settings,
    *,
    kubeconfig: str | None,
    context: str | None,
    discard: bool,
    jobs_go_too: bool = False,
    deployment: str | None = None,
    only: Sequence[str] = (),
    spared: Sequence[str] = (),
) -> bool:
    """Release our finalizers; print the result to stderr, and lost records to stdout.

    Args:
        settings: the operator's.
        kubeconfig: path of the kubeconfig; None: as kubectl.
        context: its context.
        discard: also release jobs that are being deleted and whose records cannot be stored.
        jobs_go_too: every job will be deleted afterwards, for instance with the CRDs: then every
            record that is not stored is lost, not only those of jobs being deleted.
        deployment: `NAMESPACE/NAME` of the operator's Deployment, or its name alone; it is scaled
            to 0 first. None: it is stopped already.
        only: the namespaces that the operator no longer serves, in place of those that it serves.
        spared: namespaces to skip; all others are processed.

    Returns:
        True if no finalizer of ours is left.

    Raises:
        SettingsError: no API server is configured, a namespace's name is invalid, or an operator
            that must keep running would be stopped.
    """
    check_namespaces((*only, *spared))
    if deployment and (only or spared):
        raise SettingsError(
            "--stop is for an operator that is uninstalled, --only and --all-but are for one that "
            "keeps running; leave one of them out"
        )
    connection = await connect(kubeconfig, context)
    writer = writer_from(settings.persist) if settings.persist.url else None
    is_its_cluster = False
    try:
        if deployment is not None:
            is_its_cluster = await _stop(settings, connection, deployment)
        async with (
            _without_operator(settings, connection, deployment, only, spared) as may_write,
            Gateway(
                connection, timeout_s=settings.kubernetes.timeout, may_write=may_write
            ) as gateway,
        ):
            report = await ReleasePass(
                gateway,
                writer,
                cluster=settings.cluster_name,
                namespaces=only or (() if spared else settings.namespaces) or (None,),
                discard=discard,
                on_lost=_print_record,
                settings=settings.decision_settings,
                clock=SystemClock(),
                jobs_go_too=jobs_go_too,
                policies_only=()
                if only or spared
                else _own_policy_namespace(settings, connection.namespace),
                spared=spared,
            ).run()
    except NotServedError as error:
        return _not_served(error, is_its_cluster=is_its_cluster)
    except LeaseHeldError as error:
        _say(str(error))
        return False
    except KubernetesError as error:
        _say(f"{error}; run it again")
        return False
    finally:
        await _close(writer)
    _print_report(report)
    return not report.held


@asynccontextmanager
async def _without_operator(
    settings: Settings,
    connection: Connection,
    deployment: str | None,
    only: Sequence[str],
    spared: Sequence[str],
) -> AsyncIterator[MayWrite | None]:
    """Make sure that no operator adds the released finalizers again.

    For an uninstall we hold the operator's Lease. Otherwise the operator keeps running, and we wait
    until it no longer serves these namespaces.
    """
    if only or spared:
        await wait_for_handover(settings, connection, only=only, spared=spared, say=_say)
        yield None
        return
    async with holding_lease(
        settings,
        connection,
        command="release-finalizers",
        say=_say,
        deployment=deployment or "",
    ) as may_write:
        yield may_write


async def _stop(settings: Settings, connection: Connection, deployment: str) -> bool:
    namespace, _, name = deployment.rpartition("/")
    namespace = namespace or connection.namespace
    async with DeploymentGateway(connection, timeout_s=settings.kubernetes.timeout) as gateway:
        was_there = await gateway.scale_to_zero(namespace, name, timeout_s=STOP_TIMEOUT_S)
    _say(
        f"the operator {namespace}/{name} "
        + ("is scaled to 0, and its pod is deleted" if was_there else "does not exist")
    )
    return was_there


def _not_served(error: NotServedError, *, is_its_cluster: bool) -> bool:
    """Report that the CRDs are missing; return True if that means that nothing is left to do.

    In the operator's cluster, objects of ours cannot exist without the CRDs. If this may be another
    cluster, the missing CRDs prove nothing.
    """
    if is_its_cluster:
        _say("the CRDs are not installed any more, so there is nothing to release")
        return True
    _say(
        f"{error}; if this is the operator's cluster and its CRDs have been deleted, there is "
        "nothing to release"
    )
    return False


def _own_policy_namespace(settings: Settings, home: str) -> tuple[str, ...]:
    """Return the operator's own namespace if it is not a served one: it has a policy, too."""
    own = settings.own_namespace(home)
    return (own,) if settings.namespaces and own not in settings.namespaces else ()


async def _close(writer: RecordWriter | None) -> None:
    if writer is not None:
        await writer.close()


def _print_record(record: dict[str, Any]) -> None:
    """Print a lost record as one line of JSON, before its job is released.

    Flush at once: the output is the only copy of the record, even if the next request fails.
    """
    sys.stdout.write(record_line(record) + "\n")
    sys.stdout.flush()


def _print_report(report: ReleaseReport) -> None:
    _say(
        f"released {report.released} objects; stored {report.stored} records, "
        f"gave up {report.lost}"
    )
    if report.waiting:
        _say(
            f"{report.waiting} records could not be stored and stay pending in the status of "
            "their jobs (recordState): the next operator that serves their namespaces stores "
            "them, unless the jobs are deleted before"
        )
    if report.held:
        _say(
            f"{len(report.held)} objects still have their finalizer (first: {report.held[0]}): "
            "either they are being deleted and their records would be lost, or the API server "
            "refused the change. Fix the record endpoint and run this again; or give up the "
            f"record of one job (annotate it with {ANNOTATION_DISCARD_RECORD}=true), or the "
            "records of all of them with --discard, which prints them"
        )


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob release-finalizers: {line}\n")
