"""The sweep of the log volume, as the housekeeper calls it: in a thread, one at a time."""

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
from trainingjob_operator.volume.sweep.entry_verdict import Question
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
"""A clock that was set by more than this costs one sweep: files must not age by an hour at once."""

MOST_PATIENCE: Final = 64
"""A sweep that did not come to an end with what it began with has twice the time of the one before,
and this much more than usual at most: what takes hours to look through has to go as well."""


@dataclass(frozen=True, slots=True)
class _Times:
    """The three clocks, read together, in seconds."""

    monotonic: float
    wall: float
    volume: float


def log_sweep_from(
    settings: Settings, clock: Clock, owner: Callable[[], Owner]
) -> "LogSweep | None":
    """Return the sweep that the settings ask for; None: there is no log volume.

    Args:
        settings: where the volume is, and what a sweep may do.
        clock: the process's clocks.
        owner: returns who we are, or raises VolumeError while that is unknown.
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
    """Sweeps one volume, again and again."""

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
        """Prepare; the volume is opened anew by each sweep.

        Args:
            path: the volume's root.
            owner: returns who we are, and so whose volume it must be, or raises VolumeError while
                that is unknown. None: whoever the volume says.
            limits: what one sweep may do.
            clock: the process's clocks.
            volume_time_ns: asks the volume for its time.
            legacy: whether entries whose id is no uid may go.
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
        self._patience = 1
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
        """Processes that delete just now. May be asked by any thread."""
        one = self._pass
        return one.processes if one is not None else 0

    # --- for the event loop -------------------------------------------------------------------

    async def sweep_in_thread(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """Sweep in a thread of its own. Cancelled, it ends as soon as the volume lets it.

        The thread does not hold up the end of the process: a volume that has gone away can hold a
        call for ever, and what a sweep leaves half done, the next one finishes.

        Args:
            live: what the cluster knows.
            max_age_s: seconds without a change after which what no job owns goes.
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
        """End a running sweep as soon as the volume lets it."""
        budget = self._budget
        if budget is not None:
            budget.stop.set()

    # --- in the thread ------------------------------------------------------------------------

    def sweep(self, live: LiveJobs, *, max_age_s: float) -> VolumeReport:
        """Remove what is due. What the volume refuses is in the report, and never raised."""
        return self._guarded(live, max_age_s, None)

    def look(self, live: LiveJobs, *, max_age_s: float, seen: OnVerdict) -> VolumeReport:
        """Judge every entry, write nothing, remove nothing.

        Args:
            live: what the cluster knows.
            max_age_s: as for `sweep`.
            seen: called with every entry and its verdict.
        """
        return self._guarded(live, max_age_s, seen)

    def _guarded(self, live: LiveJobs, max_age_s: float, seen: OnVerdict | None) -> VolumeReport:
        if not self._running.acquire(blocking=False):
            return _locked(f"a sweep of {self._path} is running already")
        sweep_tally = SweepCounters(self._path)
        volume_id: str | None = None
        try:
            with Root.open(self._path) as root:
                volume_id = self._identify(root, live, claim=seen is None)
                if seen is not None:
                    self._look(root, live, max_age_s, seen, sweep_tally)
                    return sweep_tally.report(volume_id)
                with root.locked():
                    stepped = self._sweep(root, live, max_age_s, sweep_tally)
                    sweep_tally.measured(_room_of(root))
        except VolumeError as error:
            if error.reason == REASON_VOLUME_LOCKED:
                return _locked(str(error))
            sweep_tally.fault(error)
            return sweep_tally.report(volume_id)
        except OSError as error:  # of the root itself, and not of an entry
            sweep_tally.fault(to_volume_error(error, self._path), errors=1)
            return sweep_tally.report(volume_id)
        finally:
            self._budget = None
            self._running.release()
        report = sweep_tally.report(volume_id)
        return replace(report, reason=REASON_CLOCK_STEPPED, message=stepped) if stepped else report

    def _identify(self, root: Root, live: LiveJobs, *, claim: bool) -> str:
        """Return the volume's id. An id seen once is expected from then on."""
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

    def _look(
        self,
        root: Root,
        live: LiveJobs,
        max_age_s: float,
        seen: OnVerdict,
        sweep_tally: SweepCounters,
    ) -> None:
        now_ns = int(self._clock.now().timestamp() * NS)
        budget = self._new_budget(float("inf"))
        question = self._question(root, live, now_ns, max_age_s, budget)
        VolumePass(question, self.limits, budget, sweep_tally, self._quota_schedule).look(seen)

    def _sweep(
        self, root: Root, live: LiveJobs, max_age_s: float, sweep_tally: SweepCounters
    ) -> str:
        """Sweep, or return why not, if a clock was set."""
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
        # The earlier of the two clocks: whichever is wrong, nothing goes too soon.
        now_ns = int(min(times.wall, times.volume) * NS)
        budget = self._new_budget(self.limits.seconds * self._patience)
        question = self._question(root, live, now_ns, max_age_s, budget)
        one = VolumePass(
            question,
            self.limits,
            budget,
            sweep_tally,
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
            self._patience = min(2 * self._patience, MOST_PATIENCE) if is_stuck else 1
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

    def _question(
        self, root: Root, live: LiveJobs, now_ns: int, max_age_s: float, budget: Budget
    ) -> Question:
        since = None
        if live.listed_at is not None:
            since = max(0.0, (self._clock.now() - live.listed_at).total_seconds())
        ours = self._owner() if self._owner is not None else None
        sentinel = root.check(ours, None)
        adopted = sentinel.owner.adopted
        cutoff_ns = cutoff(now_ns, max_age_s=max_age_s, since_list_s=since)
        self.young_entries.forget_before(cutoff_ns)
        return Question(
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


def _room_of(root: Root) -> DiskSpace | None:
    """Return the room of the file system; None: it has no figures, as some of FUSE have none."""
    found = os.fstatvfs(root.fd)
    if found.f_blocks <= 0:
        return None
    return DiskSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def _locked(message: str) -> VolumeReport:
    return VolumeReport(healthy=None, reason=REASON_VOLUME_LOCKED, message=message)
