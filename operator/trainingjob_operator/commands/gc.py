"""`trainingjob gc`: runs the retention of all policies once, or as a dry run."""

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

_NO_VOLUME: Final = "TRAININGJOB_VOLUME__ROOT is not set: there is no volume to sweep"


@dataclass(slots=True)
class GcReport:
    """The results of the run, or of the dry run.

    Attributes:
        jobs: the jobs that were or would be deleted, and the reasons.
        failed: messages about everything that could not be checked or done.
        skipped: number of due jobs that were kept, by reason.
        volume: the report of the sweep of the volume; None: there was none.
        listing: the entries of the volume that a dry run would remove; None: no dry run.
    """

    jobs: list[tuple[JobKey, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    volume: VolumeReport | None = None
    listing: Listing | None = None

    @property
    def went_well(self) -> bool:
        """True if everything was checked, and everything due was removed."""
        healthy = self.volume is None or (self.volume.healthy is True and not self.volume.errors)
        return healthy and not self.failed


class _DryRun:
    """Judges the entries of a volume without removing any."""

    def __init__(self, sweep: LogSweep, listing: Listing) -> None:
        self._sweep: Final = sweep
        self._listing: Final = listing

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """List the entries that a sweep would remove."""
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
    """Run the retention once, or as a dry run, and print the result.

    Returns:
        True if nothing failed.

    Raises:
        SettingsError: no API server is configured.
    """
    instance_label.set(settings.gc.argocd_label)
    connection = await connect(kubeconfig, context)
    clock = clock or SystemClock()
    report = GcReport(listing=Listing() if dry_run else None)
    home = settings.own_namespace(connection.namespace)
    # The operator runs the retention as well, so take its Lease. A dry run needs none.
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
                volume=_volume(settings, clock, report.listing),
                on_deleted=lambda key, reason: report.jobs.append((key, reason)),
                creates_default=False,
                dry_run=dry_run,
            )
            await _sweep(engine, report)
    except LeaseHeldError as error:
        report.failed.append(f"{error}; --dry-run works at any time")
    except KubernetesError as error:
        report.failed.append(f"the API server: {error}; run it again")
    _print_report(report, output)
    return report.went_well


def _volume(settings: Settings, clock: Clock, listing: Listing | None) -> LogVolume | None:
    volume = log_volume_from(settings, clock)
    if volume is None or listing is None:
        return volume
    if not isinstance(volume.sweep, LogSweep):
        raise TypeError("only a LogSweep can make a dry run")
    return replace(volume, sweep=_DryRun(volume.sweep, listing))


async def _sweep(engine: Engine, report: GcReport) -> None:
    """Sweep once for each policy, the default one first, without writing any status."""
    policies, home = engine.policies, engine.policies.default_namespace
    await engine.policy_watch.refresh()
    unreadable = engine.forbidden_lists.namespaces()
    report.failed += [
        f"the RetentionPolicies of namespace {namespace} may not be listed: a job there is "
        "deleted only if its own spec.ttlSecondsAfterFinished says so"
        for namespace in unreadable
    ]
    if not policies.has_default:
        if home not in unreadable:
            report.failed.append(f"nothing was checked: {_no_policy(home)}")
        return
    for namespace in (home, *sorted(policies.namespaces - {home})):
        swept = await engine.housekeeper.sweep(namespace)
        _count(swept.jobs, report)
        if swept.left_alone:
            report.failed.append(f"the volume is left alone: {swept.left_alone}")
        elif namespace == home:
            report.volume = swept.volume


def _count(jobs: JobsReport, report: GcReport) -> None:
    for reason, count in jobs.skipped.items():
        report.skipped[reason] = report.skipped.get(reason, 0) + count
    if jobs.errors:
        report.failed.append(f"{jobs.errors} jobs or lists of jobs could not be processed")
    if leapt := jobs.skipped.get(REASON_CLOCK_STEPPED):
        report.failed.append(
            f"{leapt} jobs are left alone: the clock was set by more than an hour; run it again"
        )


def _no_policy(namespace: str) -> str:
    return (
        f"there is no RetentionPolicy `{POLICY_NAME}` in namespace {namespace}, which the operator "
        "creates in its own namespace: is this the operator's cluster (--kubeconfig, --context), "
        "and TRAININGJOB_OPERATOR_NAMESPACE its namespace?"
    )


# --- output ---------------------------------------------------------------------------------------


def _print_report(report: GcReport, output: str) -> None:
    if output == "json":
        sys.stdout.write(json.dumps(_document(report), indent=2) + "\n")
    else:
        _print(report)
    for line in report.failed:
        _say(line)
    if report.volume is None and not report.failed:
        _say(_NO_VOLUME)
    elif report.volume is not None and report.volume.healthy is not True:
        _say(report.volume.message)


def _print(report: GcReport) -> None:
    verb = "removed" if report.listing is None else "would remove"
    for key, because in report.jobs:
        sys.stdout.write(f"{because:<12} trainingjob {key}\n")
    kept = ", ".join(f"{count} {reason}" for reason, count in sorted(report.skipped.items()))
    sys.stdout.write(
        f"{verb} {len(report.jobs)} jobs" + (f"; due, but kept: {kept}" if kept else "") + "\n"
    )
    if report.volume is not None:
        print_summary(report.volume, report.listing)


def _document(report: GcReport) -> dict[str, Any]:
    volume = report.volume
    return {
        "dryRun": report.listing is not None,
        "jobs": [
            {"namespace": key.namespace, "name": key.name, "reason": because}
            for key, because in report.jobs
        ],
        "skipped": report.skipped,
        "failed": report.failed,
        "volume": None if volume is None else report_document(volume, report.listing),
    }


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob gc: {line}\n")
