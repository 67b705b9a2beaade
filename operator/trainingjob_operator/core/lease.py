"""Leader election on a Lease: decides whether this process leads, and what to do next.

The rules and the names of the durations are those of client-go's `leaderelection`. This module only
decides: `kube.lease` calls the API server, and `leadership` combines both.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from trainingjob_api.constants import ANNOTATION_NAMESPACES
from trainingjob_operator.core.untyped_json import as_dict, as_int, as_str

MICRO_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
"""The format of a Lease's times, in UTC."""

ALL_NAMESPACES: Final = "*"
"""The value that means all namespaces, in place of a list."""

_RELEASED_S: Final = 1
"""The duration of a Lease without a holder, as client-go writes it."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The durations of the election, in seconds.

    Attributes:
        duration_s: time after the last renewal before others may take the Lease.
        renew_deadline_s: time after the last renewal for which the holder may work; less than the
            duration.
        retry_s: interval between two tries to take or renew it; less than the deadline.
    """

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A Lease as it was read. Fields that are missing or malformed count as empty.

    Attributes:
        serves: the namespaces that its holder serves, as a comma-separated list; `*`: all; empty:
            none; None: the annotation is missing.
    """

    holder: str = ""
    duration_s: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0
    serves: str | None = field(default=None, compare=False)
    # Only `spec` is compared: a change of labels is not a renewal.
    resource_version: str = field(default="", compare=False)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "LeaseView":
        """Parse a Lease as returned by the API server."""
        spec, metadata = as_dict(raw.get("spec")), as_dict(raw.get("metadata"))
        serves = as_dict(metadata.get("annotations")).get(ANNOTATION_NAMESPACES)
        return cls(
            holder=as_str(spec.get("holderIdentity")),
            duration_s=as_int(spec.get("leaseDurationSeconds")),
            acquire_time=as_str(spec.get("acquireTime")),
            renew_time=as_str(spec.get("renewTime")),
            transitions=as_int(spec.get("leaseTransitions")),
            serves=None if serves is None else as_str(serves),
            resource_version=as_str(metadata.get("resourceVersion")),
            raw=raw,
        )


def is_served(lease: LeaseView, *, only: Collection[str], spared: Collection[str]) -> bool:
    """True if a Lease's holder serves at least one of the given namespaces.

    Args:
        lease: the Lease.
        only: the namespaces to check; empty: all.
        spared: namespaces that do not count.
    """
    if not lease.holder or not lease.serves:
        return False
    if lease.serves == ALL_NAMESPACES:
        return True
    served = set(lease.serves.split(",")) - set(spared)
    return bool(served & set(only)) if only else bool(served)


class LeaseStep(Enum):
    """The next action on the Lease."""

    CREATE = auto()
    """It does not exist: create it with this process as its holder."""
    TAKE = auto()
    """Its holder released it, or has not renewed it for its duration: replace the holder."""
    RENEW = auto()
    """This process holds it: write a new renewal time."""
    WAIT = auto()
    """Another process holds it: read it again later."""


class LeaseState:
    """The state of the Lease as one candidate knows it.

    Every `now` is in monotonic seconds of this process. Times written by others are never compared
    with the local clock: another holder's Lease has expired when this process has not seen it change
    for its duration.

    Attributes:
        identity: the name of this process in the Lease; unique to it.
        observed: the Lease as it was last read or written; None if it does not exist or was not read.
    """

    def __init__(self, identity: str, times: LeaseTimes) -> None:
        """Create a candidate that has not read the Lease yet."""
        self.identity: Final = identity
        self.times: Final = times
        self.observed: LeaseView | None = None
        self._free_at = 0.0  # time at which it expires, unless it changes before or is ours
        self._renewed_at: float | None = None
        self._is_lost = False

    # --- observations ---------------------------------------------------------------------------

    def read(self, lease: LeaseView | None, now: float) -> None:
        """Record the result of a read.

        Args:
            lease: the Lease; None: it does not exist.
            now: a time after the response arrived.
        """
        if lease != self.observed:
            # If it was deleted by hand, its last holder works on until its next renewal fails.
            self._free_at = now + self._lasts_s(lease or self.observed)
        self.observed = lease
        if self._renewed_at is not None and lease is not None and lease.holder != self.identity:
            self._is_lost = True

    def written(self, lease: LeaseView, sent_at: float) -> None:
        """Record that the API server accepted this process's write: it holds the Lease.

        Args:
            lease: the Lease in the response.
            sent_at: a time before the request was sent. The API server accepted it at that time or
                later, so the others wait longer than this process works.
        """
        self.observed = lease
        self._renewed_at = sent_at

    def release(self) -> None:
        """Stop leading, before the Lease is released in the API server."""
        self._renewed_at = None

    # --- decisions -------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """True from the first accepted write until the release."""
        return self._renewed_at is not None

    @property
    def deadline(self) -> float | None:
        """The time until which this process may work without a renewal; None: it is not the holder."""
        if self._renewed_at is None:
            return None
        return self._renewed_at + self.times.renew_deadline_s

    def leads(self, now: float) -> bool:
        """True if this process may write. Check before each write: the process may have been frozen."""
        deadline = self.deadline
        return deadline is not None and not self._is_lost and now < deadline

    def is_lost(self, now: float) -> bool:
        """True if this process led and may no longer: it has to exit at once."""
        return self.holds and not self.leads(now)

    def next_step(self, now: float) -> LeaseStep:
        """Return the next action on the Lease as it was last seen."""
        lease = self.observed
        if lease is not None and lease.holder == self.identity:
            return LeaseStep.RENEW  # it may be ours by a write whose response was lost
        was_ours = lease is None and self.holds
        if now < self._free_at and not was_ours:
            return LeaseStep.WAIT
        return LeaseStep.CREATE if lease is None else LeaseStep.TAKE

    def free_in_s(self, now: float) -> float:
        """Return the seconds until another holder's Lease expires; infinite if that is in the past."""
        return self._free_at - now if now < self._free_at else math.inf

    def _lasts_s(self, lease: LeaseView | None) -> float:
        """Return the duration of a Lease in seconds: the configured one by default, 0 without a holder."""
        if lease is None or not lease.holder:
            return 0.0
        return float(lease.duration_s) if lease.duration_s > 0 else self.times.duration_s

    def try_lasts_s(self, now: float) -> float:
        """Return the timeout of one request, in seconds, so that it ends before the renew deadline."""
        if self.deadline is None:
            return 2 * self.times.retry_s
        # Short enough that a dead connection leaves time for another try before the deadline.
        return max(min(self.times.retry_s, self.deadline - now), 0.0)

    # --- documents to write ------------------------------------------------------------------------

    def held_spec(self, wall: datetime) -> dict[str, Any]:
        """Return the `spec` of the Lease with this process as its holder.

        Args:
            wall: the wall-clock time, for people and for other implementations.
        """
        lease = self.observed
        moment = wall.strftime(MICRO_TIME)
        is_ours = lease is not None and lease.holder == self.identity
        transitions = lease.transitions if lease is not None else 0
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": round(self.times.duration_s),
            "acquireTime": lease.acquire_time if is_ours and lease is not None else moment,
            "renewTime": moment,
            "leaseTransitions": transitions if is_ours or lease is None else transitions + 1,
        }

    def released_spec(self, wall: datetime) -> dict[str, Any]:
        """Return the `spec` of a released Lease: without a holder, so that another can take it at once."""
        return self.held_spec(wall) | {"holderIdentity": "", "leaseDurationSeconds": _RELEASED_S}
