"""A pod as the index keeps it (half a kilobyte), and whether it completed, failed or was disrupted."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from trainingjob_operator.core.fast_replace import copy_with, differing_fields
from trainingjob_operator.core.message_text import truncate

LONG_TEXT: Final = 128
"""Length from which a text about a pod counts as long, in bytes."""


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
"""Phases that never change again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """A pod as it was last seen.

    Attributes:
        owner_uid: uid of its controller; a pod of another controller does not belong to the job.
        held_by: finalizers that keep a deleted pod in which nothing runs or will run; else "".
        node: name of the node that it is bound to, else "".
        grace_s: grace period of its deletion, in seconds; None while it is not being deleted.
        stop_requested_at: time at which its deletion or disruption was requested; None if neither.
        finished_at: time at which its main container ended, or the last container if the main one
            never ran; None before.
        disruption: reason of its true `DisruptionTarget` condition, else "".
        rejected: the kubelet rejected it before any of its containers ran; `reason` tells why.
        exit_code: exit code of the container that decides (the main one, if it has run) once the rank
            has ended; None if the node ended the pod as a whole.
        exits: exit codes of its containers, for the failure policy; empty unless its rank failed.
        reason, message: cause of the rank's failure, of the deciding container or of the whole pod.
        waiting_reason: reason why a container waits (`ImagePullBackOff`, ...) or the pod itself does
            (`SchedulingGated`); the text is in `waiting_message`.
        unschedulable: the scheduler's message while it finds no node, else "".
        gated: scheduling gates prevent the pod from being scheduled.
        conditions: (type, status) pairs of its conditions, for the failure policy; empty unless its
            rank failed, or ended after a disruption.
        container: name of the main container, whose log is the rank's.
        has_begun: the main container runs or has run, as far as is known.
        failed_in: description of the container that `exit_code` is from; "" for the main one.
        failed_beside: names of the other containers that failed, if the pod failed.
        side_containers: names of the containers that run on after the main one has ended.
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
        """True if one of its texts, which users control, is longer than `LONG_TEXT`."""
        return max(map(len, (self.message, self.waiting_message, self.unschedulable))) > LONG_TEXT

    def with_short_texts(self) -> Self:
        """Return the pod with its texts truncated to `LONG_TEXT`."""
        return copy_with(
            self,
            message=truncate(self.message, LONG_TEXT),
            waiting_message=truncate(self.waiting_message, LONG_TEXT),
            unschedulable=truncate(self.unschedulable, LONG_TEXT),
        )

    def sharing_names_of(self, known: "PodView") -> Self:
        """Return the pod with the name and uid objects of an earlier view, to share their memory."""
        return copy_with(self, name=known.name, uid=known.uid)

    def equals_except_version(self, known: "PodView") -> bool:
        """True if the pod differs from an earlier view in its resourceVersion at most."""
        return differing_fields(self, known) <= {"resource_version"}

    @property
    def is_terminal(self) -> bool:
        """True if its phase is final: none of its containers runs or will run."""
        return self.phase in TERMINAL

    @property
    def has_ended(self) -> bool:
        """True if its rank has ended: its main container has, even if other containers still run."""
        return self.is_terminal or self.exit_code is not None

    @property
    def has_failed(self) -> bool:
        """True if its rank has ended and did not succeed."""
        return self.has_ended and not self._has_succeeded

    @property
    def needs_a_stop(self) -> bool:
        """True if the pod has to be deleted to end: not only native sidecars still run.

        When all other containers have ended, the kubelet stops native sidecars and ends the pod.
        """
        return not self.is_terminal and (not self.has_ended or bool(self.side_containers))

    @property
    def _has_succeeded(self) -> bool:
        return self.phase is PodPhase.SUCCEEDED or self.exit_code == 0

    @property
    def is_over(self) -> bool:
        """True if none of its containers runs or will run, even if its phase is not final yet."""
        return self.is_terminal or bool(self.held_by)

    @property
    def is_ending(self) -> bool:
        """True if it was disrupted and may still be running, so that its exit is not known yet."""
        return self.is_disrupted and not self.is_over

    @property
    def has_log(self) -> bool:
        """True if one of its containers has run whose log is to be archived."""
        return self.has_begun or bool(self.failed_beside)

    @property
    def has_completed(self) -> bool:
        """True if its main container exited with 0 before the pod was asked to stop.

        A trainer that traps SIGTERM and exits with 0 did not complete its rank. The API's times are
        whole seconds; within the same second the rank counts as not completed. Running a rank twice
        costs time, but taking an unfinished rank for complete loses the training.
        """
        if not self._has_succeeded:
            return False
        if self.stop_requested_at is None:
            return True
        return self.finished_at is not None and self.finished_at < self.stop_requested_at

    @property
    def is_disrupted(self) -> bool:
        """True if it was deleted, evicted, preempted, lost with its node, or rejected by the kubelet."""
        taken = self.deleting or bool(self.disruption) or self.rejected
        return taken and not self.has_completed
