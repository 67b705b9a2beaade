"""Whether removing makes a volume emptier: it need not, and then nothing is given up for it.

Snapshots keep what was removed, a quota counts what others keep, and somebody else may be filling
the volume. Then the percentage that is to fall never does, and everything would go for nothing. So
after a hundredth of what is to be freed, after two more, four and so on, the file system is asked
whether it has seen anything of that. Some free in the background, and are given a minute.
"""

from collections.abc import Callable
from typing import Final

from trainingjob_operator.constants import REASON_NOTHING_FREED
from trainingjob_operator.core.pruning import is_felt
from trainingjob_operator.errors import VolumeError
from trainingjob_operator.gc.logs.budget import Budget, BudgetError

PAUSE_S: Final = 86_400.0
"""How long nothing is given up after it was in vain: somebody may have dropped the snapshots."""

_LOOKS: Final = 60


class Relief:
    """Remembers from one sweep to the next that it was in vain."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Expect it to help.

        Args:
            monotonic: the clock.
        """
        self._monotonic: Final = monotonic
        self._paused_until = float("-inf")

    def is_paused(self) -> bool:
        """Whether it was in vain, less than a day ago."""
        return self._monotonic() < self._paused_until

    def pause(self) -> None:
        """It was in vain: do not try again for a day, or until the volume is emptier."""
        self._paused_until = self._monotonic() + PAUSE_S

    def reset(self) -> None:
        """The volume is not too full any more, or it is another one."""
        self._paused_until = float("-inf")


class Probe:
    """Asks in ever greater steps whether what was removed is felt. For one relief."""

    def __init__(
        self, used: Callable[[], int], needed: int, budget: Budget, wait_s: float
    ) -> None:
        """Begin; nothing is removed yet.

        Args:
            used: bytes that are used on the file system now.
            needed: bytes that are to be freed.
            budget: of the sweep.
            wait_s: how long the file system may take.
        """
        self._used: Final = used
        self._budget: Final = budget
        self._pause_s: Final = wait_s / _LOOKS
        self._step = max(needed // 100, 1)
        self._asked_at = 0
        self._before = used()

    def is_in_vain(self, removed: int) -> bool:
        """Whether nothing is felt of the bytes that were removed so far, if it is time to ask."""
        step = removed - self._asked_at
        if step < self._step:
            return False
        if not self._is_felt(step):
            return True
        self._step, self._asked_at, self._before = 2 * self._step, removed, self._used()
        return False

    def _is_felt(self, step: int) -> bool:
        for _ in range(_LOOKS):
            if is_felt(self._before, self._used(), removed=step):
                return True
            try:
                self._budget.rest(self._pause_s)
            except BudgetError:
                break  # else every sweep would try anew, and none had the time to find out
        return is_felt(self._before, self._used(), removed=step)


def nothing_freed(path: str) -> VolumeError:
    """What to say of a volume that is too full, and does not get emptier."""
    return VolumeError(
        f"{path} is too full, and removing files does not make it emptier: nothing more goes before "
        "its time until it is; see whether snapshots or a quota keep what was removed, or who else "
        "fills it",
        reason=REASON_NOTHING_FREED,
    )
