"""How many sockets are open, in all, of a user and of an address; above, none more is let in."""

from collections import Counter
from typing import Final

from trainingjob_console.concurrency import decrement
from trainingjob_console.errors import BusyError
from trainingjob_console.sockets.limits import Limits

REFUSALS: Final = ("all", "user", "address", "rights", "unanswered")
"""The reasons for which a socket is refused: the limits, and what the API server says, or does not."""

_RETRY_S: Final = 5


class FullError(BusyError):
    """There is no place for a further socket. It has been counted."""


class Admission:
    """Places of sockets. Further ones are refused before the upgrade, and `refused` counts them."""

    def __init__(self, limits: Limits) -> None:
        self.limits: Final = limits
        self.users: Final[Counter[str]] = Counter()
        self.addresses: Final[Counter[str]] = Counter()
        self.used = 0
        self.refused: Final[Counter[str]] = Counter()

    def place(self, address: str) -> "Place":
        """Take a place, which is given back once nothing of the socket is left.

        Raises:
            FullError: none is free, in all or for the address.
        """
        if self.used >= self.limits.sockets:
            raise self.refuse("all", "too many pages are open")
        if self.addresses.get(address, 0) >= self.limits.sockets_per_address:
            raise self.refuse("address", "too many pages are open at your address")
        return Place(self, address)

    def refuse(self, reason: str, message: str) -> FullError:
        """Count a refusal, and return its error."""
        self.refused[reason] += 1
        return FullError(f"{message}: close some, or come back later", retry_after_s=_RETRY_S)

    def __len__(self) -> int:
        return self.used


class Place:
    """One place."""

    def __init__(self, admission: Admission, address: str) -> None:
        self._admission: Final = admission
        self._address: Final = address
        self._user: str | None = None
        admission.used += 1
        admission.addresses[address] += 1

    def take_for(self, user: str) -> None:
        """Count the place for a user.

        Raises:
            FullError: the user has as many as there may be.
        """
        admission = self._admission
        if admission.users.get(user, 0) >= admission.limits.sockets_per_user:
            raise admission.refuse("user", "you have too many pages open")
        admission.users[user] += 1
        self._user = user

    def give_back(self) -> None:
        """Count the place no more. Once for each place."""
        self._admission.used -= 1
        decrement(self._admission.addresses, self._address)
        if self._user is not None:
            decrement(self._admission.users, self._user)
