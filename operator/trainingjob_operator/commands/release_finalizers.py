"""`trainingjob release-finalizers`: the composition root for the day the operator goes.

Or leaves some namespaces: with a shorter list of namespaces it has no right any more to free what
it holds in the others, nor to see that something is held there.
"""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from trainingjob_api.constants import ANNOTATION_DISCARD_RECORD
from trainingjob_api.errors import KubernetesError, NotServedError, SettingsError
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.commands.command_lease import LeaseHeldError, holding_lease
from trainingjob_operator.commands.finalizer_release import Account, FinalizerRelease
from trainingjob_operator.commands.namespace_handover import wait_for_handover
from trainingjob_operator.core.record import record_line
from trainingjob_operator.kube.connection import Connection, connect
from trainingjob_operator.kube.deployments import DeploymentGateway
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.write_fencing import MayWrite
from trainingjob_operator.records.endpoint import RecordWriter, writer_from
from trainingjob_operator.setting_types import check_namespaces
from trainingjob_operator.settings import Settings

STOP_PATIENCE_S: Final = 120.0
"""For the operator's pod to go: its grace period is ten seconds."""


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
    """Free what our finalizers hold; tell on standard output and error what became of it.

    Args:
        settings: the operator's.
        kubeconfig: path of the kubeconfig; None: as kubectl.
        context: its context.
        discard: free jobs that are being deleted though their records cannot be stored, too.
        jobs_go_too: every job will be deleted afterwards, with the CRDs for instance: the record
            of each of them is lost that is not stored, and not only of those being deleted.
        deployment: `NAMESPACE/NAME` of the operator's Deployment, or its name alone; it is scaled
            to 0 first. None: somebody has seen to that.
        only: the namespaces that the operator serves no longer, in place of those that it serves.
        spared: namespaces that are left alone; with them, all others are walked through.

    Returns:
        Whether nothing is held any more.

    Raises:
        SettingsError: there is no API server to be found, a namespace cannot be called so, or an
            operator that stays would be stopped.
    """
    check_namespaces((*only, *spared))
    if deployment and (only or spared):
        raise SettingsError(
            "--stop is for an operator that goes, --only and --all-but for one that stays; "
            "leave one of them out"
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
            account = await FinalizerRelease(
                gateway,
                writer,
                cluster=settings.cluster_name,
                namespaces=only or (() if spared else settings.namespaces) or (None,),
                discard=discard,
                on_lost=_print_record,
                settings=settings.decision_settings,
                clock=SystemClock(),
                jobs_go_too=jobs_go_too,
                policies_too=() if only or spared else _beside(settings, connection.namespace),
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
    _tell(account)
    return not account.held


@asynccontextmanager
async def _without_operator(
    settings: Settings,
    connection: Connection,
    deployment: str | None,
    only: Sequence[str],
    spared: Sequence[str],
) -> AsyncIterator[MayWrite | None]:
    """Make sure that no operator holds again what is released.

    One that goes has gone, and we hold its Lease; one that stays serves these namespaces no longer.
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
        was_there = await gateway.scale_to_zero(namespace, name, timeout_s=STOP_PATIENCE_S)
    _say(
        f"the operator {namespace}/{name} "
        + ("is scaled to 0, and its pod is gone" if was_there else "is not there")
    )
    return was_there


def _not_served(error: NotServedError, *, is_its_cluster: bool) -> bool:
    """Say what it means that there are no such kinds; return True if nothing can be held.

    Without its definition no object of ours exists, in the cluster where the operator ran. In
    another cluster it says nothing of what is held in that one.
    """
    if is_its_cluster:
        _say("the CRDs are not installed any more, and so nothing is held")
        return True
    _say(
        f"{error}; if the CRDs of the right cluster have been deleted, nothing is held there, and "
        "there is nothing to release"
    )
    return False


def _beside(settings: Settings, home: str) -> tuple[str, ...]:
    """The operator's own namespace, where jobs of some namespaces only are served: it has a policy."""
    own = settings.own_namespace(home)
    return (own,) if settings.namespaces and own not in settings.namespaces else ()


async def _close(writer: RecordWriter | None) -> None:
    if writer is not None:
        await writer.close()


def _print_record(record: dict[str, Any]) -> None:
    """Print a record that is lost, as one line of JSON, before its job goes.

    At once: the job may be gone when the next request fails, and nothing else has the record.
    """
    sys.stdout.write(record_line(record) + "\n")
    sys.stdout.flush()


def _tell(account: Account) -> None:
    _say(
        f"released {account.released} objects; stored {account.stored} records, "
        f"gave up {account.lost}"
    )
    if account.waiting:
        _say(
            f"{account.waiting} records could not be stored and wait in the status of their jobs "
            "(recordState): the next operator that serves their namespaces stores them, unless the "
            "jobs are deleted before"
        )
    if account.held:
        _say(
            f"{len(account.held)} are still held (first: {account.held[0]}): they are being "
            "deleted, and their records would be lost, or the API server did not take the change; "
            "mend the record endpoint and run it again, or give up the record of a job (kubectl "
            f"annotate it with {ANNOTATION_DISCARD_RECORD}=true), or of all of them with --discard, "
            "which prints them"
        )


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob release-finalizers: {line}\n")
