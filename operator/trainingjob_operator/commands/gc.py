"""`trainingjob gc`: housekeeping by hand, or only a look at what it would do."""

import json
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trainingjob_api.constants import POLICY_NAME, REASON_CLOCK_STEPPED
from trainingjob_api.errors import KubernetesError
from trainingjob_operator.clock import Clock, SystemClock
from trainingjob_operator.commands.command_lease import LeaseHeldError, holding_lease
from trainingjob_operator.core.gitops import instance_label
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.engine import Engine
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.kube.write_fencing import MayWrite
from trainingjob_operator.log_archive.log_volume import LogVolume, log_volume_from
from trainingjob_operator.observability.metrics import Metrics
from trainingjob_operator.retention.job_sweep import JobsReport
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.sweep.report_format import Listing, print_summary, report_document
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport
from trainingjob_operator.volume.sweep.sweep import LogSweep

_NO_VOLUME: Final = "TRAININGJOB_VOLUME__ROOT is not set: there is no volume to look at"


@dataclass(slots=True)
class Account:
    """Counts of what was done, or would be.

    Attributes:
        jobs: those that were or would be deleted, and why.
        failed: why something was not looked at, or not done.
        volume: how the volume's sweep went; None: there was none.
        listing: what would go from the volume; None: it did go.
    """

    jobs: list[tuple[JobKey, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    volume: VolumeReport | None = None
    listing: Listing | None = None

    @property
    def went_well(self) -> bool:
        """True if everything was looked at, and everything due was done."""
        healthy = self.volume is None or (self.volume.healthy is True and not self.volume.errors)
        return healthy and not self.failed


class _DryRun:
    """Judges the entries of a volume, and removes none."""

    def __init__(self, sweep: LogSweep, listing: Listing) -> None:
        self._sweep: Final = sweep
        self._listing: Final = listing

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """List what would go."""
        return self._sweep.dry_run(live, max_age_s=max_age_s, on_verdict=self._listing.add)


async def collect(
    settings: Settings,
    *,
    kubeconfig: str | None,
    context: str | None,
    dry_run: bool,
    output: str,
    clock: Clock | None = None,
) -> bool:
    """Keep house once, or tell what would be done; whether all went well.

    Raises:
        SettingsError: there is no API server to be found.
    """
    instance_label.set(settings.gc.argocd_label)
    connection = await connect(kubeconfig, context)
    clock = clock or SystemClock()
    account = Account(listing=Listing() if dry_run else None)
    home = settings.own_namespace(connection.namespace)
    # The operator keeps house itself. Whoever only looks needs no Lease.
    alone: AbstractAsyncContextManager[MayWrite | None] = (
        nullcontext() if dry_run else holding_lease(settings, connection, command="gc", say=_say)
    )
    try:
        async with (
            alone as may_write,
            Gateway(
                connection, timeout_s=settings.kubernetes.timeout, may_write=may_write
            ) as gateway,
        ):
            engine = Engine(
                settings,
                gateway,
                clock,
                namespace=home,
                on_pass=lambda seconds: None,
                counts=Metrics().gc,
                volume=_volume(settings, clock, account.listing),
                on_deleted=lambda key, reason: account.jobs.append((key, reason)),
                creates_default=False,
                dry_run=dry_run,
            )
            await _sweep(engine, account)
    except LeaseHeldError as error:
        account.failed.append(f"{error}; with --dry-run it only looks, at any time")
    except KubernetesError as error:
        account.failed.append(f"the API server: {error}; run it again")
    _tell(account, output)
    return account.went_well


def _volume(settings: Settings, clock: Clock, listing: Listing | None) -> LogVolume | None:
    volume = log_volume_from(settings, clock)
    if volume is None or listing is None:
        return volume
    if not isinstance(volume.sweep, LogSweep):
        raise TypeError("only a LogSweep can look at a volume and remove nothing")
    return replace(volume, sweep=_DryRun(volume.sweep, listing))


async def _sweep(engine: Engine, account: Account) -> None:
    """Sweep once for each policy, the default one first, and write no status."""
    policies, home = engine.policies, engine.policies.default_namespace
    await engine.policy_watch.refresh()
    unreadable = engine.forbidden_lists.namespaces()
    account.failed += [
        f"the RetentionPolicies of namespace {namespace} may not be listed: its jobs are deleted "
        "only by a time of their own"
        for namespace in unreadable
    ]
    if not policies.has_default:
        if home not in unreadable:
            account.failed.append(f"nothing is looked at: {_no_policy(home)}")
        return
    for namespace in (home, *sorted(policies.namespaces - {home})):
        swept = await engine.housekeeper.sweep(namespace)
        _count(swept.jobs, account)
        if swept.left_alone:
            account.failed.append(f"the volume is left alone: {swept.left_alone}")
        elif namespace == home:
            account.volume = swept.volume


def _count(report: JobsReport, account: Account) -> None:
    for reason, count in report.skipped.items():
        account.skipped[reason] = account.skipped.get(reason, 0) + count
    if report.errors:
        account.failed.append(f"{report.errors} jobs or lists of jobs could not be dealt with")
    if leapt := report.skipped.get(REASON_CLOCK_STEPPED):
        account.failed.append(
            f"{leapt} jobs are left alone: the clock was set by more than an hour; run it again"
        )


def _no_policy(namespace: str) -> str:
    return (
        f"there is no RetentionPolicy `{POLICY_NAME}` in namespace {namespace}, which the operator "
        "creates in its own: is this the operator's cluster (--kubeconfig, --context), and "
        "TRAININGJOB_OPERATOR_NAMESPACE its namespace?"
    )


# --- telling it -----------------------------------------------------------------------------------


def _tell(account: Account, output: str) -> None:
    if output == "json":
        sys.stdout.write(json.dumps(_document(account), indent=2) + "\n")
    else:
        _print(account)
    for line in account.failed:
        _say(line)
    if account.volume is None and not account.failed:
        _say(_NO_VOLUME)
    elif account.volume is not None and account.volume.healthy is not True:
        _say(account.volume.message)


def _print(account: Account) -> None:
    verb = "removed" if account.listing is None else "would remove"
    for key, because in account.jobs:
        sys.stdout.write(f"{because:<12} trainingjob {key}\n")
    kept = ", ".join(f"{count} {reason}" for reason, count in sorted(account.skipped.items()))
    sys.stdout.write(
        f"{verb} {len(account.jobs)} jobs" + (f"; due, but kept: {kept}" if kept else "") + "\n"
    )
    if account.volume is not None:
        print_summary(account.volume, account.listing)


def _document(account: Account) -> dict[str, Any]:
    volume = account.volume
    return {
        "dryRun": account.listing is not None,
        "jobs": [
            {"namespace": key.namespace, "name": key.name, "reason": because}
            for key, because in account.jobs
        ],
        "skipped": account.skipped,
        "failed": account.failed,
        "volume": None if volume is None else report_document(volume, account.listing),
    }


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob gc: {line}\n")
