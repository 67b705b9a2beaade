"""Limits open WebSockets: in total, per user and per client address. Further ones are rejected."""

from collections import Counter
from typing import Final

from trainingjob_console.concurrency import decrement
from trainingjob_console.errors import BusyError
from trainingjob_console.sockets.limits import Limits

REFUSALS: Final = ("all", "user", "address", "rights", "unanswered")
"""Reasons for which a socket is rejected: the limits, missing rights, or no response of the API server."""

_RETRY_S: Final = 5


class FullError(BusyError):
    """A limit of sockets is reached. The rejection has been counted."""


class Admission:
    """Slots for sockets. Further sockets are rejected before the upgrade, and counted in `refused`."""

    def __init__(self, limits: Limits) -> None:
        self.limits: Final = limits
        self.users: Final[Counter[str]] = Counter()
        self.addresses: Final[Counter[str]] = Counter()
        self.used = 0
        self.refused: Final[Counter[str]] = Counter()

    def acquire(self, address: str) -> "Slot":
        """Return a slot, which the caller must release once the connection is closed.

        Raises:
            FullError: the total limit, or the limit of the address, is reached.
        """
        if self.used >= self.limits.sockets:
            raise self.count_refusal("all", "too many pages are open")
        if self.addresses.get(address, 0) >= self.limits.sockets_per_address:
            raise self.count_refusal("address", "too many pages are open at your address")
        return Slot(self, address)

    def count_refusal(self, reason: str, message: str) -> FullError:
        """Count a rejection, and return its error."""
        self.refused[reason] += 1
        return FullError(f"{message}: close some, or retry later", retry_after_s=_RETRY_S)

    def __len__(self) -> int:
        return self.used


class Slot:
    """The slot of one socket."""

    def __init__(self, admission: Admission, address: str) -> None:
        self._admission: Final = admission
        self._address: Final = address
        self._user: str | None = None
        admission.used += 1
        admission.addresses[address] += 1

    def assign_user(self, user: str) -> None:
        """Count the slot against the limit of a user.

        Raises:
            FullError: the limit of the user is reached.
        """
        admission = self._admission
        if admission.users.get(user, 0) >= admission.limits.sockets_per_user:
            raise admission.count_refusal("user", "you have too many pages open")
        admission.users[user] += 1
        self._user = user

    def release(self) -> None:
        """Release the slot. Call this exactly once."""
        self._admission.used -= 1
        decrement(self._admission.addresses, self._address)
        if self._user is not None:
            decrement(self._admission.users, self._user)
