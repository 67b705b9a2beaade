"""`trainingjob prune`: sweeps a log volume by hand, without access to the cluster.

Only `--init` and `--adopt` need the cluster: they write the operator's identity to the volume.
"""

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainingjob_api.constants import (
    REASON_UNSAFE_ROOT,
    REASON_VOLUME_LOCKED,
)
from trainingjob_api.errors import SettingsError, VolumeError
from trainingjob_operator.clock import SystemClock
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.gateway import Gateway
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.identity import Identity
from trainingjob_operator.volume.identity_reader import IdentityReader
from trainingjob_operator.volume.layout import is_uid
from trainingjob_operator.volume.ownership import UNKNOWN, Owner
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep.budget import Limits
from trainingjob_operator.volume.sweep.report_format import Listing, print_json, print_summary
from trainingjob_operator.volume.sweep.rules import LiveJobs, VolumeReport
from trainingjob_operator.volume.sweep.sweep import LogSweep
from trainingjob_web.env_settings import parse_duration

_LIVE_OPTION_MISSING: Final = (
    "prune: name the jobs whose files must stay: --live UID..., --live-from FILE (one uid a line; "
    "from `kubectl get trainingjobs -A -o "
    "jsonpath='{range .items[*]}{.metadata.uid}{\"\\n\"}{end}'`), "
    "or --assume-none-live if no job of this volume exists any more"
)
_BY_HAND: Final = Limits(share_percent=100, at_least=1 << 62, seconds=float("inf"))
"""No limits, since the caller has named the existing jobs; and no quota."""


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """The command line's options."""

    root: str
    live: list[str] | None = None
    live_from: str | None = None
    assume_none_live: bool = False
    max_age: str = "7d"
    dry_run: bool = False
    init: bool = False
    adopt: str | None = None
    identity: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    legacy: bool = False
    output: str = "table"


def prune(options: PruneOptions) -> bool:
    """Sweep a volume, and print the result.

    Returns:
        True if nothing failed.

    Raises:
        SettingsError: the options contradict each other, or the root is a forbidden directory.
    """
    live = _live(options)
    max_age_s = _max_age(options.max_age)
    if _sets_owner(options) and not _set_owner(options):
        return False
    if live is None:
        return True
    sweep = LogSweep(
        options.root, owner=None, limits=_BY_HAND, clock=SystemClock(), legacy=options.legacy
    )
    listing = Listing()
    if options.dry_run:
        report = sweep.dry_run(live, max_age_s=max_age_s, on_verdict=listing.add)
    else:
        report = sweep.sweep(live, max_age_s=max_age_s)
    if report.reason == REASON_UNSAFE_ROOT:
        raise SettingsError(f"prune: {report.message}")
    _print_report(options, report, listing)
    return report.healthy is True and not report.errors


def _print_report(options: PruneOptions, report: VolumeReport, listing: Listing) -> None:
    seen = listing if options.dry_run else None
    if options.output == "json":
        print_json(report, seen)
    elif report.healthy or report.files_removed or report.skipped or options.dry_run:
        print_summary(report, seen)
    if report.healthy is not True:
        _say(_advice(report))


def _advice(report: VolumeReport) -> str:
    if report.reason == REASON_VOLUME_LOCKED:
        return f"{report.message}; try again later"
    return report.message


def _sets_owner(options: PruneOptions) -> bool:
    """True if the volume gets a new owner (`--init`, `--adopt`)."""
    return options.init or options.adopt is not None


def _set_owner(options: PruneOptions) -> bool:
    """Write the sentinel, with the operator's install as the owner; False: that failed."""
    if options.init and options.adopt is not None:
        raise SettingsError(
            "prune: use only one of --init (the volume has no sentinel) and --adopt (it has the "
            "sentinel of another install)"
        )
    try:
        owner = asyncio.run(_owner(options))
        with Root.open(options.root) as root:
            if options.adopt is None:
                sentinel = root.initialise(owner)
            else:
                earlier = "" if options.adopt == UNKNOWN else options.adopt
                sentinel = root.adopt(owner, earlier)
    except VolumeError as error:
        if error.reason == REASON_UNSAFE_ROOT:
            raise SettingsError(f"prune: {error}") from error
        _say(str(error))
        return False
    namespaces = ", ".join(sentinel.owner.namespaces) or "all namespaces"
    _say(
        f"{options.root} is volume {sentinel.volume_id} of cluster {sentinel.owner.cluster!r}, "
        f"{namespaces} (identity {sentinel.owner.identity})"
    )
    return True


async def _owner(options: PruneOptions) -> Owner:
    """Return the operator's install, with the identity of `--identity` or of its namespace.

    Raises:
        SettingsError: no API server is configured, and no identity was given.
        VolumeError: the namespace cannot be read.
    """
    settings = Settings.from_environment()
    identity = Identity(settings.cluster_name, settings.namespaces)
    if options.identity is not None:
        identity.set_uid(_one_uid(options.identity))
        return identity.owner()
    try:
        connection = await connect(options.kubeconfig, options.context)
    except SettingsError as error:
        raise SettingsError(
            f"prune: {error}; or set the operator's identity with --identity UID (from `kubectl "
            "get namespace NAMESPACE -o jsonpath={.metadata.uid}`, of the operator's namespace)"
        ) from error
    namespace = settings.own_namespace(connection.namespace)
    async with Gateway(connection, timeout_s=settings.kubernetes.timeout) as gateway:
        await IdentityReader(gateway, identity, namespace).read()
    return identity.owner()


def _one_uid(text: str) -> str:
    uid = text.strip().lower()
    if not is_uid(uid):
        raise SettingsError(f"prune: --identity: {text[:80]!r} is not the uid of a namespace")
    return uid


def _live(options: PruneOptions) -> LiveJobs | None:
    """Return the jobs whose files are kept; None: only --init or --adopt was given."""
    ways = [options.live is not None, options.live_from is not None, options.assume_none_live]
    if sum(ways) > 1:
        raise SettingsError("prune: use only one of --live, --live-from and --assume-none-live")
    if options.assume_none_live:
        return LiveJobs(frozenset())
    if options.live is not None:
        # Keep an empty word, so that it is refused: `--live "$UIDS"` with an empty variable must
        # not mean that no job exists.
        words = [
            word for text in options.live for word in text.replace(",", " ").split() or [text]
        ]
        return LiveJobs(_uids(words, legacy=options.legacy))
    if options.live_from is not None:
        uids = _uids(_lines(options.live_from), legacy=options.legacy)
        if not uids:
            raise SettingsError(
                f"prune: {options.live_from} has no uid in it; if no job of this volume exists any "
                "more, use --assume-none-live"
            )
        return LiveJobs(uids)
    if _sets_owner(options) and not options.dry_run:
        return None
    raise SettingsError(_LIVE_OPTION_MISSING)


def _uids(texts: Iterable[str], *, legacy: bool) -> frozenset[str]:
    """Return the uids as written in file names.

    Any other text is an error: a mistyped uid would cost the job its files.
    """
    uids = set()
    for text in texts:
        plain = text.strip().removeprefix("job_").removesuffix(".log").rstrip("/")
        uid = plain if legacy and not is_uid(plain.lower()) else plain.lower()
        if not uid or not (legacy or is_uid(uid)):
            raise SettingsError(
                f"prune: {text[:80]!r} is not a uid; `kubectl get trainingjob NAME -o "
                "jsonpath={.metadata.uid}` prints it (older ids need --legacy)"
            )
        uids.add(uid)
    return frozenset(uids)


def _lines(path: str) -> list[str]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"prune: --live-from: cannot read {path}: {error}") from error
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [word for line in lines for word in line.split()]


def _max_age(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"prune: --max-age: {error}") from error
    if not isinstance(seconds, float) or seconds < 1:
        raise SettingsError("prune: --max-age: must be at least one second, like 1s or 7d")
    return seconds


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob prune: {line}\n")
