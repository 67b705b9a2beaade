"""The Lease by which one of several operators works: who holds it, and what to do next.

The rules are those of client-go's `leaderelection`, and the names of the times are its own. Purely a
decision: `kube.lease` talks to the API server, and `leadership` brings both together.
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
"""In place of the list of the namespaces that a holder serves."""

_RELEASED_S: Final = 1
"""The duration of a Lease without a holder, as client-go writes it."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The times of an election, in seconds.

    Attributes:
        duration_s: for so long others leave the Lease alone after its last renewal.
        renew_deadline_s: for so long its holder works after its last renewal; less than the duration.
        retry_s: between two tries to take or renew it; less than the deadline.
    """

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A Lease as it was read. What another writer left out or spoilt is as if it were empty.

    Attributes:
        serves: the namespaces whose jobs its holder works on, as a comma list; `*`: all; empty: none;
            None: it does not say so.
    """

    holder: str = ""
    duration_s: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0
    serves: str | None = field(default=None, compare=False)
    # A change of labels alone is no renewal: only `spec` is compared.
    resource_version: str = field(default="", compare=False)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> "LeaseView":
        """Read a Lease as the API server answered it."""
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
    """True if the holder of a Lease says that it serves namespaces that are to be left.

    Args:
        lease: the Lease.
        only: these namespaces are to be left; empty: all are.
        spared: but for these.
    """
    if not lease.holder or not lease.serves:
        return False
    if lease.serves == ALL_NAMESPACES:
        return True
    served = set(lease.serves.split(",")) - set(spared)
    return bool(served & set(only)) if only else bool(served)


class LeaseStep(Enum):
    """The next thing to do with the Lease."""

    CREATE = auto()
    """There is none: create it, with us as its holder."""
    TAKE = auto()
    """Its holder released it, or has not renewed it for its duration: replace the holder."""
    RENEW = auto()
    """It is ours: write a new time of renewal."""
    WAIT = auto()
    """Another one holds it: read it again later."""


class LeaseState:
    """One candidate's knowledge of the Lease.

    Every `now` is monotonic seconds of this process. Times that others wrote are never compared with
    a clock of ours: another holder's Lease has expired when it has not changed for its duration, as
    seen from here.

    Attributes:
        identity: our own name in the Lease; no other process ever has it.
        observed: the Lease as it was last read or written; None: there is none, or it is not known.
    """

    def __init__(self, identity: str, times: LeaseTimes) -> None:
        """Begin as a candidate that has not read the Lease."""
        self.identity: Final = identity
        self.times: Final = times
        self.observed: LeaseView | None = None
        self._free_at = 0.0  # unless it changes before, or is ours
        self._renewed_at: float | None = None
        self._is_lost = False

    # --- what is seen ---------------------------------------------------------------------------

    def read(self, lease: LeaseView | None, now: float) -> None:
        """Take in what a read was answered with; None: there is no Lease.

        Args:
            lease: the answer.
            now: after the answer came.
        """
        if lease != self.observed:
            # Of one that was deleted by hand: whom we saw last works on until its next renewal fails.
            self._free_at = now + self._lasts_s(lease or self.observed)
        self.observed = lease
        if self._renewed_at is not None and lease is not None and lease.holder != self.identity:
            self._is_lost = True

    def written(self, lease: LeaseView, sent_at: float) -> None:
        """Take in that our own write was accepted: the Lease is ours.

        Args:
            lease: the answer.
            sent_at: the moment before the request was sent. The API server accepted it at that
                moment or later, so that the others wait for longer than we work.
        """
        self.observed = lease
        self._renewed_at = sent_at

    def release(self) -> None:
        """Stop leading, before the Lease is given back."""
        self._renewed_at = None

    # --- what follows from it -------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """True from our first write that was accepted until the release."""
        return self._renewed_at is not None

    @property
    def deadline(self) -> float | None:
        """The moment until which we may work, if the Lease is not renewed; None: it is not ours."""
        if self._renewed_at is None:
            return None
        return self._renewed_at + self.times.renew_deadline_s

    def leads(self, now: float) -> bool:
        """True if we may write. A process that was frozen has to ask before each write."""
        deadline = self.deadline
        return deadline is not None and not self._is_lost and now < deadline

    def is_lost(self, now: float) -> bool:
        """True if we led and may not any more: the process has to end at once."""
        return self.holds and not self.leads(now)

    def next_step(self, now: float) -> LeaseStep:
        """Return what to do with the Lease as it was last seen."""
        lease = self.observed
        if lease is not None and lease.holder == self.identity:
            return LeaseStep.RENEW  # perhaps of a write whose answer was lost
        was_ours = lease is None and self.holds
        if now < self._free_at and not was_ours:
            return LeaseStep.WAIT
        return LeaseStep.CREATE if lease is None else LeaseStep.TAKE

    def free_in_s(self, now: float) -> float:
        """Return for how long the Lease stays another one's, in seconds; infinite: until it changes."""
        return self._free_at - now if now < self._free_at else math.inf

    def _lasts_s(self, lease: LeaseView | None) -> float:
        """Return for how long a Lease keeps others away; one that does not say so as long as ours."""
        if lease is None or not lease.holder:
            return 0.0
        return float(lease.duration_s) if lease.duration_s > 0 else self.times.duration_s

    def try_lasts_s(self, now: float) -> float:
        """Return the deadline of one request, in seconds: no answer may come after ours is due."""
        if self.deadline is None:
            return 2 * self.times.retry_s
        # So short that a connection which is dead leaves time for others before the deadline.
        return max(min(self.times.retry_s, self.deadline - now), 0.0)

    # --- what is written ------------------------------------------------------------------------

    def held_spec(self, wall: datetime) -> dict[str, Any]:
        """Return the `spec` of the Lease with us as its holder.

        Args:
            wall: the time, for people and for other implementations.
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
        """Return the `spec` of the Lease without a holder: the next one takes it at once."""
        return self.held_spec(wall) | {"holderIdentity": "", "leaseDurationSeconds": _RELEASED_S}
