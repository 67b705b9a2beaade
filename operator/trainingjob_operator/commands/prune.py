"""`trainingjob prune`: the sweep of a volume by hand, without a cluster.

Only to take a volume (`--init`, `--adopt`) it has to know whose it is to be, and asks the cluster.
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

_SAY_WHO_LIVES: Final = (
    "prune: say whose files must stay: --live UID..., --live-from FILE (one uid a line; from "
    "`kubectl get trainingjobs -A -o jsonpath='{range .items[*]}{.metadata.uid}{\"\\n\"}{end}'`), "
    "or --assume-none-live if no job of this volume exists any more"
)
_BY_HAND: Final = Limits(share_percent=100, at_least=1 << 62, seconds=float("inf"))
"""Whoever calls by hand has said what is live: all that is due goes, and nothing before its time."""


@dataclass(frozen=True, slots=True)
class Order:
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


def prune(order: Order) -> bool:
    """Sweep a volume; whether everything that was asked for was done.

    Raises:
        SettingsError: the order makes no sense, or names a root that cannot be a volume.
    """
    live = _live(order)
    max_age_s = _max_age(order.max_age)
    if _takes(order) and not _take(order):
        return False
    if live is None:
        return True
    sweep = LogSweep(
        order.root, owner=None, limits=_BY_HAND, clock=SystemClock(), legacy=order.legacy
    )
    listing = Listing()
    if order.dry_run:
        report = sweep.dry_run(live, max_age_s=max_age_s, on_verdict=listing.add)
    else:
        report = sweep.sweep(live, max_age_s=max_age_s)
    if report.reason == REASON_UNSAFE_ROOT:
        raise SettingsError(f"prune: {report.message}")
    _tell(order, report, listing)
    return report.healthy is True and not report.errors


def _tell(order: Order, report: VolumeReport, listing: Listing) -> None:
    seen = listing if order.dry_run else None
    if order.output == "json":
        print_json(report, seen)
    elif report.healthy or report.files_removed or report.skipped or order.dry_run:
        print_summary(report, seen)
    if report.healthy is not True:
        _say(_advice(report))


def _advice(report: VolumeReport) -> str:
    if report.reason == REASON_VOLUME_LOCKED:
        return f"{report.message}; try again later"
    return report.message


def _takes(order: Order) -> bool:
    """True if the volume is to get another owner, or its first one."""
    return order.init or order.adopt is not None


def _take(order: Order) -> bool:
    """Write the sentinel, with the install that the operator's own settings name as the owner."""
    if order.init and order.adopt is not None:
        raise SettingsError(
            "prune: take one of --init (the volume has no sentinel) and --adopt (it has another's)"
        )
    try:
        owner = asyncio.run(_owner(order))
        with Root.open(order.root) as root:
            if order.adopt is None:
                sentinel = root.initialise(owner)
            else:
                earlier = "" if order.adopt == UNKNOWN else order.adopt
                sentinel = root.adopt(owner, earlier)
    except VolumeError as error:
        if error.reason == REASON_UNSAFE_ROOT:
            raise SettingsError(f"prune: {error}") from error
        _say(str(error))
        return False
    namespaces = ", ".join(sentinel.owner.namespaces) or "all namespaces"
    _say(
        f"{order.root} is volume {sentinel.volume_id} of cluster {sentinel.owner.cluster!r}, "
        f"{namespaces} (identity {sentinel.owner.identity})"
    )
    return True


async def _owner(order: Order) -> Owner:
    """Return who the operator is: from the command line, or as the operator itself finds it.

    Raises:
        SettingsError: there is no API server to be found, and no identity was given.
        VolumeError: the API server does not say.
    """
    settings = Settings.from_environment()
    identity = Identity(settings.cluster_name, settings.namespaces)
    if order.identity is not None:
        identity.learn(_one_uid(order.identity))
        return identity.owner()
    try:
        connection = await connect(order.kubeconfig, order.context)
    except SettingsError as error:
        raise SettingsError(
            f"prune: {error}; or say who the operator is with --identity UID (from `kubectl get "
            "namespace NAMESPACE -o jsonpath={.metadata.uid}`, of the operator's own)"
        ) from error
    namespace = settings.own_namespace(connection.namespace)
    async with Gateway(connection, timeout_s=settings.kubernetes.timeout) as gateway:
        await IdentityReader(gateway, identity, namespace).read()
    return identity.owner()


def _one_uid(text: str) -> str:
    uid = text.strip().lower()
    if not is_uid(uid):
        raise SettingsError(f"prune: --identity: {text[:80]!r} is no uid of a namespace")
    return uid


def _live(order: Order) -> LiveJobs | None:
    """Return the jobs whose files stay; None: the command is only --init or --adopt."""
    ways = [order.live is not None, order.live_from is not None, order.assume_none_live]
    if sum(ways) > 1:
        raise SettingsError("prune: take one of --live, --live-from and --assume-none-live")
    if order.assume_none_live:
        return LiveJobs(frozenset())
    if order.live is not None:
        # An empty word stays one, and is refused: `--live "$UIDS"` must not mean that none lives.
        words = [word for text in order.live for word in text.replace(",", " ").split() or [text]]
        return LiveJobs(_uids(words, legacy=order.legacy))
    if order.live_from is not None:
        uids = _uids(_lines(order.live_from), legacy=order.legacy)
        if not uids:
            raise SettingsError(
                f"prune: {order.live_from} names no uid; if no job of this volume exists any more, "
                "say so with --assume-none-live"
            )
        return LiveJobs(uids)
    if _takes(order) and not order.dry_run:
        return None
    raise SettingsError(_SAY_WHO_LIVES)


def _uids(texts: Iterable[str], *, legacy: bool) -> frozenset[str]:
    """As they are written in names. One that is none is an error: a slip would cost its files."""
    uids = set()
    for text in texts:
        plain = text.strip().removeprefix("job_").removesuffix(".log").rstrip("/")
        uid = plain if legacy and not is_uid(plain.lower()) else plain.lower()
        if not uid or not (legacy or is_uid(uid)):
            raise SettingsError(
                f"prune: {text[:80]!r} is no uid; `kubectl get trainingjob NAME -o "
                "jsonpath={.metadata.uid}` tells it (older ids need --legacy)"
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
        raise SettingsError("prune: --max-age: must be one second at least, like 1s or 7d")
    return seconds


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob prune: {line}\n")
