"""The operator's memory of a pod: half a kilobyte, and little that a user can make grow."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from trainingjob_operator.core.fast_replace import copy_with, differing_fields
from trainingjob_operator.core.message_text import cut

LONG_TEXT: Final = 128
"""Bytes of a text about a pod from which on it counts as long."""


class PodPhase(StrEnum):
    """`status.phase` of a pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerExit:
    """The end of one container of a pod."""

    container: str
    exit_code: int


TERMINAL: Final = frozenset({PodPhase.SUCCEEDED, PodPhase.FAILED})
"""Phases after which there is no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """A pod as it was last seen.

    Attributes:
        owner_uid: uid of its controller; a pod without one, or with another's, is not ours.
        held_by: names of the finalizers that keep a pod of which nothing runs, and nothing will,
            after its deletion was requested; else "".
        node: name of the node that it is bound to, else "".
        grace_s: seconds that its deletion gives it; None while it is not being deleted.
        stop_requested_at: when its deletion or disruption was requested; None: it was not.
        finished_at: when its main container ended, or its last one if that never ran; None before.
        disruption: reason of its true `DisruptionTarget` condition, else "".
        rejected: its node took it back before any container of it ran; `reason` says why.
        exit_code: of the container that decides (the main one, if it has run), once its rank is
            over; None where the pod ended as a whole.
        exits: how its containers ended, for the failure policy; empty unless its rank failed.
        reason, message: why its rank failed, of the same container, or of the pod as a whole.
        waiting_reason: why a container waits (`ImagePullBackOff`, ...) or the pod itself does
            (`SchedulingGated`), with `waiting_message`.
        unschedulable: the scheduler's message while it finds no node, else "".
        gated: scheduling gates keep the scheduler from looking for a node.
        conditions: pairs of (type, status) of its conditions, for the failure policy; empty unless
            its rank failed, or ended after it was disrupted.
        container: name of the main container, whose log is the rank's.
        has_begun: the main container runs or has run, as far as is known.
        failed_in: the container that `exit_code` is of, in words; "" if it is the main one.
        failed_beside: names of the other containers that failed, of a pod that failed.
        side_containers: names of those that have not ended, though the main container has.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    job_name: str
    owner_uid: str
    attempt: int
    index: int
    phase: PodPhase = PodPhase.PENDING
    ready: bool = False
    deleting: bool = False
    held_by: str = ""
    node: str = ""
    grace_s: int | None = None
    stop_requested_at: datetime | None = None
    finished_at: datetime | None = None
    disruption: str = ""
    rejected: bool = False
    exit_code: int | None = None
    exits: tuple[ContainerExit, ...] = ()
    reason: str = ""
    message: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    gated: bool = False
    conditions: tuple[tuple[str, str], ...] = ()
    template_hash: str = ""
    container: str = ""
    has_begun: bool = True
    failed_in: str = ""
    failed_beside: tuple[str, ...] = ()
    side_containers: tuple[str, ...] = ()

    @property
    def has_long_text(self) -> bool:
        """True if one of the texts about it is long. How long they are, its trainer decides."""
        return max(map(len, (self.message, self.waiting_message, self.unschedulable))) > LONG_TEXT

    def with_short_texts(self) -> Self:
        """Return the pod with the beginnings of what is said about it."""
        return copy_with(
            self,
            message=cut(self.message, LONG_TEXT),
            waiting_message=cut(self.waiting_message, LONG_TEXT),
            unschedulable=cut(self.unschedulable, LONG_TEXT),
        )

    def sharing_names_of(self, known: "PodView") -> Self:
        """Return the pod with the very texts of an earlier view that name it."""
        return copy_with(self, name=known.name, uid=known.uid)

    def equals_except_version(self, known: "PodView") -> bool:
        """True if nothing but the version of the pod is another one."""
        return differing_fields(self, known) <= {"resource_version"}

    @property
    def is_terminal(self) -> bool:
        """True if its phase is final: nothing of it runs, nothing will."""
        return self.phase in TERMINAL

    @property
    def has_ended(self) -> bool:
        """True if its rank is over: its main container has ended, whatever else of it runs on."""
        return self.is_terminal or self.exit_code is not None

    @property
    def has_failed(self) -> bool:
        """True if its rank is over and did not succeed."""
        return self.has_ended and not self._has_succeeded

    @property
    def needs_a_stop(self) -> bool:
        """True if something of it runs that does not end with its main container.

        When all but native sidecars have ended, the kubelet stops those and ends the pod.
        """
        return not self.is_terminal and (not self.has_ended or bool(self.side_containers))

    @property
    def _has_succeeded(self) -> bool:
        return self.phase is PodPhase.SUCCEEDED or self.exit_code == 0

    @property
    def is_over(self) -> bool:
        """True if nothing of it runs and nothing will, though its phase may not say so yet."""
        return self.is_terminal or bool(self.held_by)

    @property
    def is_ending(self) -> bool:
        """True if it was taken away and something of it may run yet: how it ends is to be seen."""
        return self.is_disrupted and not self.is_over

    @property
    def has_log(self) -> bool:
        """True if a container of it has run whose log is to be archived."""
        return self.has_begun or bool(self.failed_beside)

    @property
    def has_completed(self) -> bool:
        """True if its main container exited with 0 before anybody asked the pod to stop.

        A trainer that traps SIGTERM and exits 0 did not complete its rank. The API's times are
        whole seconds; within the same second the doubt goes against success, because a rank that
        runs twice loses time, and one that is taken for done loses the training.
        """
        if not self._has_succeeded:
            return False
        if self.stop_requested_at is None:
            return True
        return self.finished_at is not None and self.finished_at < self.stop_requested_at

    @property
    def is_disrupted(self) -> bool:
        """True if it was taken away (deletion, eviction, preemption, a lost node) or rejected."""
        taken = self.deleting or bool(self.disruption) or self.rejected
        return taken and not self.has_completed
