"""Runs sweeps of the log volume for the housekeeper: in a thread, one at a time."""

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from trainingjob_api.constants import REASON_CLOCK_STEPPED, REASON_VOLUME_LOCKED
from trainingjob_api.errors import VolumeError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.settings import Settings
from trainingjob_operator.volume.errors import to_volume_error
from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root
from trainingjob_operator.volume.sweep.budget import Budget, Limits
from trainingjob_operator.volume.sweep.counters import SweepCounters
from trainingjob_operator.volume.sweep.entry_verdict import SweepContext
from trainingjob_operator.volume.sweep.quota import QuotaSchedule
from trainingjob_operator.volume.sweep.rules import (
    NS,
    PRESSURE_AGE_S,
    DiskSpace,
    LiveJobs,
    VolumeReport,
    cutoff,
    has_stepped,
)
from trainingjob_operator.volume.sweep.volume_pass import OnVerdict, VolumePass
from trainingjob_operator.volume.sweep.young_entries import YoungEntries

CLOCK_LIMIT_S: Final = 3600.0
"""If a clock was set by more than this, one sweep is skipped: files must not age in one jump."""

MAX_TIME_FACTOR: Final = 64
"""Maximum factor on the time limit of a sweep. The factor doubles after each sweep that ran out of
time in the step it started with, so a tree that takes hours to measure is removed in the end."""


@dataclass(frozen=True, slots=True)
class _Times:
    """The readings of the three clocks at one moment, in seconds."""

    monotonic: float
    wall: float
    volume: float


def log_sweep_from(
    settings: Settings, clock: Clock, owner: Callable[[], Owner]
) -> "LogSweep | None":
    """Build the sweep from the settings; None: there is no log volume.

    Args:
        settings: the root of the volume and the limits of a sweep.
        clock: the process's clocks.
        owner: returns this install, or raises VolumeError while its identity is unknown.
    """
    volume = settings.volume
    if not volume.root:
        return None
    limits = Limits(
        share_percent=volume.sweep_share,
        at_least=volume.sweep_entries,
        seconds=volume.sweep_time,
        quota=volume.quota,
        processes=volume.processes,
    )
    return LogSweep(volume.root, owner=owner, limits=limits, clock=clock)


class LogSweep:
    """Sweeps one volume repeatedly, and keeps state from one sweep to the next."""

    def __init__(
        self,
        path: str,
        *,
        owner: Callable[[], Owner] | None,
        limits: Limits,
        clock: Clock,
        volume_time_ns: Callable[[Root], int] = Root.touch,
        legacy: bool = False,
    ) -> None:
        """Prepare; each sweep opens the volume anew.

        Args:
            path: the volume's root.
            owner: returns this install, which must own the volume, or raises VolumeError while its
                identity is unknown. None: accept any owner.
            limits: the limits of one sweep.
            clock: the process's clocks.
            volume_time_ns: returns the volume's own time.
            legacy: whether entries whose id is not a uid may be removed.
        """
        self._path: Final = path
        self._owner: Final = owner
        self.limits: Final = limits
        self._clock: Final = clock
        self._volume_time_ns: Final = volume_time_ns
        self._legacy: Final = legacy
        self._known_id: str | None = None
        self._last: _Times | None = None
        self._stopped_at = ""
        self._time_factor = 1
        self.young_entries: Final = YoungEntries()
        self._quota_schedule: Final = QuotaSchedule(clock.monotonic)
        self._budget: Budget | None = None
        self._pass: VolumePass | None = None
        self._running: Final = threading.Lock()

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (
            Bound("volume_young", len(self.young_entries), self.young_entries.limit),
            Bound("volume_processes", self.processes, self.limits.processes),
        )

    @property
    def processes(self) -> int:
        """Number of running deleter processes. May be called from any thread."""
        one = self._pass
        return one.processes if one is not None else 0

    # --- for the event loop -------------------------------------------------------------------

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """Sweep in a new thread. After a cancellation, the thread ends at its next call of `tick`.

        It is a daemon thread, which does not delay the exit of the process: a call to a volume that
        is gone can hang for ever. The next sweep finishes what this one leaves half done.

        Args:
            live: the jobs of the cluster.
            max_age_s: seconds without a change after which files without a job are expired.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[VolumeReport] = loop.create_future()

        def settle(result: VolumeReport | None, error: BaseException | None) -> None:
            if done.done():
                return
            if result is not None:
                done.set_result(result)
            elif error is not None:
                done.set_exception(error)

        def work() -> None:
            result: VolumeReport | None = None
            failure: BaseException | None = None
            try:
                result = self.sweep(live, max_age_s=max_age_s)
            except BaseException as error:  # noqa: BLE001 - raised below, by the future
                failure = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=work, name="volume-sweep", daemon=True).start()
        try:
            return await done
        except asyncio.CancelledError:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop a running sweep at its next call of `tick`."""
        budget = self._budget
        if budget is not None:
            budget.stop.set()

    # --- in the thread ------------------------------------------------------------------------

    def sweep(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """Remove expired entries. Errors of the volume are in the report, and never raised."""
        return self._run_exclusively(live, max_age_s, None)

    def dry_run(self, live: LiveJobs, *, max_age_s: float, on_verdict: OnVerdict) -> VolumeReport:
        """Judge every entry, without writing or removing anything.

        Args:
            live: the jobs of the cluster.
            max_age_s: as for `sweep`.
            on_verdict: called with every entry and its verdict.
        """
        return self._run_exclusively(live, max_age_s, on_verdict)

    def _run_exclusively(
        self, live: LiveJobs, max_age_s: float, on_verdict: OnVerdict | None
    ) -> VolumeReport:
        if not self._running.acquire(blocking=False):
            return _locked(f"a sweep of {self._path} is already running")
        counters = SweepCounters(self._path)
        volume_id: str | None = None
        try:
            with Root.open(self._path) as root:
                volume_id = self._identify(root, live, claim=on_verdict is None)
                if on_verdict is not None:
                    self._dry_run(root, live, max_age_s, on_verdict, counters)
                    return counters.report(volume_id)
                with root.locked():
                    stepped = self._sweep(root, live, max_age_s, counters)
                    counters.measured(_disk_space(root))
        except VolumeError as error:
            if error.reason == REASON_VOLUME_LOCKED:
                return _locked(str(error))
            counters.fault(error)
            return counters.report(volume_id)
        except OSError as error:  # of the root itself, and not of an entry
            counters.fault(to_volume_error(error, self._path), errors=1)
            return counters.report(volume_id)
        finally:
            self._budget = None
            self._running.release()
        report = counters.report(volume_id)
        return replace(report, reason=REASON_CLOCK_STEPPED, message=stepped) if stepped else report

    def _identify(self, root: Root, live: LiveJobs, *, claim: bool) -> str:
        """Check or claim the volume, and return its id; later sweeps expect the same id."""
        expected = live.volume_id or self._known_id
        if claim and self._owner is not None:
            sentinel = root.claim(self._owner(), expected, known=live.uids)
        else:
            sentinel = root.check(self._owner() if self._owner is not None else None, expected)
        if sentinel.volume_id != self._known_id:
            self.young_entries.clear()
            self._quota_schedule.reset()
        self._known_id = sentinel.volume_id
        return sentinel.volume_id

    def _dry_run(
        self,
        root: Root,
        live: LiveJobs,
        max_age_s: float,
        on_verdict: OnVerdict,
        counters: SweepCounters,
    ) -> None:
        now_ns = int(self._clock.now().timestamp() * NS)
        budget = self._new_budget(float("inf"))
        context = self._context(root, live, now_ns, max_age_s, budget)
        VolumePass(context, self.limits, budget, counters, self._quota_schedule).dry_run(
            on_verdict
        )

    def _sweep(self, root: Root, live: LiveJobs, max_age_s: float, counters: SweepCounters) -> str:
        """Sweep; if a clock was set, skip the sweep and return the reason."""
        times = _Times(
            self._clock.monotonic(),
            self._clock.now().timestamp(),
            self._volume_time_ns(root) / NS,
        )
        last, self._last = self._last, times
        if last is not None and has_stepped(
            times.monotonic - last.monotonic,
            times.wall - last.wall,
            times.volume - last.volume,
            limit_s=CLOCK_LIMIT_S,
        ):
            self.young_entries.clear()
            return "a clock was set since the last sweep: nothing is removed before the next one"
        # The earlier of the two clocks: whichever is wrong, nothing is removed too early.
        now_ns = int(min(times.wall, times.volume) * NS)
        budget = self._new_budget(self.limits.seconds * self._time_factor)
        context = self._context(root, live, now_ns, max_age_s, budget)
        one = VolumePass(
            context,
            self.limits,
            budget,
            counters,
            self._quota_schedule,
            after=self._stopped_at,
        )
        self._pass = one
        try:
            one.sweep()
        finally:
            self._pass = None
            self._stopped_at = one.stopped_at
            is_stuck = one.is_stuck and not budget.stop.is_set()
            self._time_factor = min(2 * self._time_factor, MAX_TIME_FACTOR) if is_stuck else 1
        return ""

    def _new_budget(self, seconds: float) -> Budget:
        budget = Budget(
            seconds=seconds,
            entries=self.limits.at_least,
            bytes_=self.limits.bytes,
            monotonic=self._clock.monotonic,
        )
        self._budget = budget
        return budget

    def _context(
        self, root: Root, live: LiveJobs, now_ns: int, max_age_s: float, budget: Budget
    ) -> SweepContext:
        since = None
        if live.listed_at is not None:
            since = max(0.0, (self._clock.now() - live.listed_at).total_seconds())
        ours = self._owner() if self._owner is not None else None
        sentinel = root.check(ours, None)
        adopted = sentinel.owner.adopted
        cutoff_ns = cutoff(now_ns, max_age_s=max_age_s, since_list_s=since)
        self.young_entries.forget_before(cutoff_ns)
        return SweepContext(
            root=root,
            owner=replace(ours, adopted=adopted) if ours is not None else sentinel.owner,
            live=live,
            now_ns=now_ns,
            cutoff_ns=cutoff_ns,
            pressure_cutoff_ns=cutoff(now_ns, max_age_s=PRESSURE_AGE_S, since_list_s=since),
            legacy=self._legacy,
            tick=budget.tick,
            young_entries=self.young_entries,
        )


def _disk_space(root: Root) -> DiskSpace | None:
    """Return the disk space of the file system; None: it reports none, as with some FUSE ones."""
    found = os.fstatvfs(root.fd)
    if found.f_blocks <= 0:
        return None
    return DiskSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def _locked(message: str) -> VolumeReport:
    return VolumeReport(healthy=None, reason=REASON_VOLUME_LOCKED, message=message)
