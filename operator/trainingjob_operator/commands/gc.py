"""`trainingjob gc`: housekeeping by hand, or only a look at what it would do."""

import json
import sys
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from trainingjob_api.constants import POLICY_NAME
from trainingjob_api.errors import KubernetesError, VolumeError
from trainingjob_operator.clock import Clock, SystemClock
from trainingjob_operator.core.decision import Event
from trainingjob_operator.core.gitops import instance_label
from trainingjob_operator.core.job import JobKey, JobView
from trainingjob_operator.core.observe_policy import PolicyView, policy_view
from trainingjob_operator.core.rawread import as_dict, as_str
from trainingjob_operator.core.retention import Inherited, Verdict
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.retention.clock_guard import ClockGuard
from trainingjob_operator.retention.job_deleter import HISTORY, TTL, Removal, Remover
from trainingjob_operator.retention.job_sweep import JobsReport, JobSweep
from trainingjob_operator.retention.policy_book import PolicyBook
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.identity import Identity
from trainingjob_operator.volume.identity_reader import IdentityReader
from trainingjob_operator.volume.sweep.report_text import Listing, print_summary, report_document
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport
from trainingjob_operator.volume.sweep.sweep import log_sweep_from

_NO_VOLUME: Final = "TRAININGJOB_VOLUME__ROOT is not set: there is no volume to look at"


@dataclass(slots=True)
class Account:
    """What was done, or would be.

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
        """Whether everything was looked at, and everything due was done."""
        healthy = self.volume is None or (self.volume.healthy is True and not self.volume.errors)
        return healthy and not self.failed


class _Remover(Remover):
    """Keeps account of what it deletes; on a dry run it only keeps account."""

    def __init__(self, gateway: Gateway, book: PolicyBook, clock: Clock, account: Account) -> None:
        super().__init__(gateway, book, NoEvents(), clock, ClockGuard(clock, hold_s=0))
        self._account: Final = account

    async def remove(
        self, key: JobKey, uid: str, *, surplus_by: Inherited | None = None
    ) -> Removal:
        """Delete a job, or note that it would be deleted."""
        dry = self._account.listing is not None
        removal = Removal() if dry else await super().remove(key, uid, surplus_by=surplus_by)
        if dry or removal.removed:
            self._account.jobs.append((key, TTL if surplus_by is None else HISTORY))
        return removal

    def tell(self, job: JobView, verdict: Verdict) -> None:
        """Leave that to the operator."""


class NoEvents:
    """Where events go that nobody needs: whoever types the command sees what it does."""

    def record(self, job: JobView, event: Event) -> None:
        """Forget it."""


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
    book = PolicyBook(
        settings.operator_namespace or connection.namespace, settings_ttl_s=settings.gc.ttl
    )
    async with Gateway(connection, timeout_s=settings.kubernetes.timeout) as gateway:
        try:
            await _Collector(settings, gateway, book, clock, account).run()
        except KubernetesError as error:
            account.failed.append(f"the API server: {error}; run it again")
    _tell(account, output)
    return account.went_well


class _Collector:
    """Keeps house once: the jobs that the default policy rules, those of the others, the volume."""

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway,
        book: PolicyBook,
        clock: Clock,
        account: Account,
    ) -> None:
        self._settings: Final = settings
        self._gateway: Final = gateway
        self._book: Final = book
        self._clock: Final = clock
        self._account: Final = account
        self._home: Final = book.default_namespace

    async def run(self) -> None:
        policies = await self._read_policies()
        if not self._book.has_default:
            self._account.failed.append(f"nothing is looked at: {_no_policy(self._home)}")
            return
        remover = _Remover(self._gateway, self._book, self._clock, self._account)
        sweep = JobSweep(self._gateway, self._book, remover)
        namespaces = self._settings.namespaces or (None,)
        began = self._clock.now()
        default = self._home
        jobs = await sweep.run(namespaces, ruler=default, remember=True)
        self._count(jobs)
        for namespace in sorted({policy.namespace for policy in policies} - {default}):
            if self._book.ruler_of(namespace) == namespace:
                self._count(await sweep.run((namespace,), ruler=namespace))
        await self._sweep_volume(jobs, began)

    def _count(self, report: JobsReport) -> None:
        skipped = self._account.skipped
        for reason, count in report.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
        if report.errors:
            self._account.failed.append(
                f"{report.errors} jobs or lists of jobs could not be dealt with"
            )

    async def _read_policies(self) -> list[PolicyView]:
        """All that count. Unlike the operator, this makes no default one."""
        found: list[PolicyView] = []
        version = ""
        places: tuple[str | None, ...] = (None,)
        if self._settings.namespaces:
            default = self._book.default_namespace
            places = tuple(dict.fromkeys((*self._settings.namespaces, default)))
        for namespace in places:
            async for page in self._gateway.list_policies(namespace):
                version = version or page.resource_version
                found += [
                    policy_view(raw)
                    for raw in page.items
                    if as_dict(raw.get("metadata")).get("name") == POLICY_NAME
                ]
        self._book.replace(found, version)
        return found

    async def _sweep_volume(self, jobs: JobsReport, began: datetime) -> None:
        account = self._account
        settings, home = self._settings, self._home
        identity = Identity(settings.cluster_name, settings.namespaces)
        sweep = log_sweep_from(settings, self._clock, identity.owner)
        if sweep is None:
            return
        if not jobs.is_complete or jobs.seen is None:
            account.failed.append("the volume is left alone: not all jobs could be listed")
            return
        try:
            await IdentityReader(self._gateway, identity, home).read()
        except VolumeError as error:
            account.failed.append(f"the volume is left alone: {error}")
            return
        raw = await self._gateway.get_policy(home)
        if raw is None:
            account.failed.append(f"the volume is left alone: {_no_policy(home)}")
            return
        live = LiveJobs(
            uids=frozenset(jobs.seen.uids),
            finished=jobs.seen.finished,
            kept=frozenset(jobs.seen.kept),
            listed_at=began,
            volume_id=as_str(as_dict(raw.get("status")).get("volumeId")) or None,
        )
        policy = self._book.get(home)
        said = policy.rules.files_max_age_s if policy is not None else None
        max_age_s = self._settings.volume.max_age if said is None else said
        if account.listing is None:
            account.volume = await sweep.run(live, max_age_s=max_age_s)
        else:
            account.volume = sweep.look(live, max_age_s=max_age_s, seen=account.listing.add)


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
