"""Leader election: acquires the Lease, renews it, and exits the process when it is lost.

Only the operator that holds the Lease is active. Three things keep a second one from writing
at the same time: the holder stops writing before others may acquire the Lease; every write checks
that just before it is sent (`kube.write_fencing`); and a thread exits a process whose event loop is
too busy to notice the loss.
"""

import asyncio
import logging
import os
import random
import threading
import uuid
from collections.abc import Callable
from typing import Any, Final

from trainingjob_api.errors import AlreadyExistsError, ConflictError, KubernetesError
from trainingjob_operator.clock import Clock
from trainingjob_operator.core.lease import LeaseState, LeaseStep, LeaseTimes, LeaseView
from trainingjob_operator.kube.lease import LeaseGateway

EXIT_CODE: Final = 1
"""Exit code of a process that has lost the Lease."""

_LOOK_S: Final = 0.25
"""Seconds between two checks of the deadline by the thread."""
_LOG_S: Final = 0.5
"""Timeout in seconds of the last log line: the holder of the logging lock may be stuck."""
_RELEASE_S: Final = 1.0
_STANDBY: Final = 0.6
"""Fraction of the retry period after which a standby reads the Lease again: the holder's lease
duration counts from the read on which a renewal was noticed."""

_JITTER: Final = 0.2
"""Fraction of the retry period that is random, so that candidates do not all try at once."""

_SOON: Final = 0.1
"""Fraction of the wait after which a write with a version conflict is retried."""

_logger = logging.getLogger(__name__)


def new_identity(pod: str) -> str:
    """Return a unique name of this process for the Lease."""
    return f"{pod}_{uuid.uuid4()}"


class Leadership:
    """One candidate: waits for the Lease, then renews it until it stops.

    Attributes:
        state: the last known state of the Lease.
    """

    def __init__(
        self,
        lease: LeaseGateway,
        clock: Clock,
        *,
        identity: str,
        times: LeaseTimes,
        on_lost: Callable[[str], object] | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            lease: the calls; closed by `stop`.
            clock: the time.
            identity: see `new_identity`.
            times: the times of the election.
            on_lost: called from a thread with the reason; None: exit the process at once.
        """
        self.state: Final = LeaseState(identity, times)
        self._lease: Final = lease
        self._clock: Final = clock
        self._on_lost: Final = on_lost or end_process
        self._acquired: Final = asyncio.Event()
        self._stopped: Final = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._holder: str | None = None
        self._problem = ""
        self._last_success_at: float | None = None

    @property
    def leads(self) -> bool:
        """True if this process may write now."""
        return self.state.leads(self._clock.monotonic())

    def start(self) -> None:
        """Start trying to acquire the Lease."""
        _logger.info("waiting for the Lease %s as %s", self._name, self.state.identity)
        self._task = asyncio.create_task(self._keep(), name="leadership")

    async def wait_until_acquired(self) -> None:
        """Wait until the Lease is ours.

        Raises:
            RuntimeError: the election ended because of a bug.
        """
        assert self._task is not None, "start() was called"
        acquired = asyncio.create_task(self._acquired.wait(), name="acquired")
        try:
            await asyncio.wait({acquired, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            acquired.cancel()
        if self._task.done():
            raise RuntimeError("the leader election has ended") from self._task.exception()

    async def stop(self) -> None:
        """Release the Lease, if it is ours, so that the next operator need not wait for its expiry."""
        self._stopped.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            if not self.state.is_lost(self._clock.monotonic()):
                await self._release()
        finally:
            await self._lease.close()

    # --- the loop -------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            wait_s = self._wait_s()
            try:
                async with asyncio.timeout(self.state.try_lasts_s(self._clock.monotonic())):
                    await self._try()
                self._note_success()
            except (ConflictError, AlreadyExistsError):
                # Maybe with our own earlier write, whose response was lost: little time is left.
                await self._read_anew()
                wait_s *= _SOON
            except TimeoutError as error:
                self._log_problem(error)
                # The try took time already, and the next one uses a new connection.
                wait_s *= _SOON
            except KubernetesError as error:
                self._log_problem(error)
            except Exception:
                if not self.state.holds:
                    raise
                # Any error may be temporary: the deadline decides.
                _logger.exception("renewing the Lease %s failed unexpectedly", self._name)
            # The Lease of a dead holder is acquired as soon as it expires.
            await asyncio.sleep(min(wait_s, self.state.free_in_s(self._clock.monotonic())))

    def _wait_s(self) -> float:
        retry = self.state.times.retry_s
        if self.state.holds:
            return retry
        return retry * (_STANDBY + _JITTER * random.random())  # noqa: S311

    async def _try(self) -> None:
        """Renew the Lease if it is ours; else read it, and acquire it if it is free."""
        if not self.state.holds:
            await self._look()
        sent_at = self._clock.monotonic()
        step = self.state.next_step(sent_at)
        if step is LeaseStep.WAIT:
            return
        spec = self.state.held_spec(self._clock.now())
        seen = self.state.observed
        if step is LeaseStep.CREATE or seen is None:
            written = await self._lease.create_lease(spec)
        else:
            written = await self._lease.replace_lease(seen, spec)
        self.state.written(written, sent_at)
        if not self._acquired.is_set():
            self._begin_to_lead()

    async def _read_anew(self) -> None:
        """Read the Lease after a conflict. If another operator has acquired it, `_watch` exits."""
        try:
            async with asyncio.timeout(self.state.try_lasts_s(self._clock.monotonic())):
                await self._look()
        except (KubernetesError, TimeoutError) as error:
            self._log_problem(error)

    async def _look(self) -> None:
        seen = await self._lease.read_lease()
        self.state.read(seen, self._clock.monotonic())
        holder = seen.holder if seen is not None else ""
        if holder not in (self._holder, self.state.identity, ""):
            _logger.info("standby: the Lease %s is held by %s", self._name, holder)
        self._holder = holder

    def _begin_to_lead(self) -> None:
        _logger.info("this process leads: it holds the Lease %s", self._name)
        # From now on there is a deadline, which must hold even if the event loop is blocked.
        threading.Thread(target=self._watch, name="lease-deadline", daemon=True).start()
        self._acquired.set()

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_S):
            if self.state.is_lost(self._clock.monotonic()):
                self._on_lost(
                    f"the Lease {self._name} was not renewed within "
                    f"{self.state.times.renew_deadline_s:g} s, or was acquired by another operator: "
                    "this process exits, and restarts as a standby"
                )
                return

    async def _release(self) -> None:
        held, seen = self.state.holds, self.state.observed
        spec = self.state.released_spec(self._clock.now())
        self.state.release()  # before the request is sent: after it another operator may write
        try:
            async with asyncio.timeout(_RELEASE_S):
                if not (held and await self._is_replaced(seen, spec)):
                    # Our last write was cancelled in flight: it may have been accepted.
                    seen = await self._lease.read_lease()
                    if seen is None or seen.holder != self.state.identity:
                        return
                    await self._lease.replace_lease(seen, spec)
        except (KubernetesError, TimeoutError) as error:
            _logger.warning(
                "cannot release the Lease %s; other operators have to wait until it expires: %s",
                self._name,
                error,
            )
        except Exception:  # any error: the process exits all the same
            _logger.exception("releasing the Lease %s failed unexpectedly", self._name)
        else:
            _logger.info("released the Lease %s", self._name)

    async def _is_replaced(self, seen: LeaseView | None, spec: dict[str, Any]) -> bool:
        """Replace the Lease in the version that was read; False: it has another version by now."""
        if seen is None:
            return False
        try:
            await self._lease.replace_lease(seen, spec)
        except ConflictError:
            return False
        return True

    # --- the log, and the probe -----------------------------------------------------------------

    def standby_problem(self) -> str | None:
        """Return the reason why this process could not take over; None: it leads, or could."""
        if self.leads:
            return None
        if self._last_success_at is None:
            return (
                f"has not seen the Lease {self._name} yet: {self._problem or 'no answer so far'}"
            )
        if self._clock.monotonic() < self._last_success_at + self.state.times.duration_s:
            return None
        return f"cannot acquire the Lease {self._name}: {self._problem}"

    def _note_success(self) -> None:
        self._problem = ""
        self._last_success_at = self._clock.monotonic()

    @property
    def _name(self) -> str:
        return f"{self._lease.namespace}/{self._lease.name}"

    def _log_problem(self, error: Exception) -> None:
        """Log the reason of a failed try, unless it is the same as before."""
        problem = str(error) or "the API server did not answer in time"
        if problem != self._problem:
            _logger.warning("cannot acquire or renew the Lease %s: %s", self._name, problem)
        self._problem = problem


def end_process(reason: str) -> None:
    """Exit this process at once. Called from a thread; nothing may block it."""
    last = threading.Thread(target=_logger.critical, args=(reason,), daemon=True)
    last.start()
    last.join(_LOG_S)
    os._exit(EXIT_CODE)
