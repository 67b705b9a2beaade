"""The filter of the job list, shared by pages, counts and the subscriptions of sockets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.summary import Summary, as_seconds

MAX_LABELS: Final = 8
MAX_TEXT: Final = 100
_MAX_NAME: Final = 253
_MAX_LABEL: Final = 381

Visible = Callable[[str], bool]
"""A predicate that is True for a namespace whose jobs the user may list."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The conditions that a listed job meets; empty and None match every job.

    Attributes:
        namespace: the job's namespace.
        phase: the job's phase.
        labels: `key=value` pairs, all of which the job has.
        since: seconds since 1970; the job ended at that time or later, or has not ended.
        until: seconds since 1970; the job ended before that time or, if it has not ended, was created before.
        text: a substring of the name, namespace, reason, message or reason for waiting; case-insensitive.
    """

    namespace: str = ""
    phase: str = ""
    labels: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    text: str = ""

    def matches(self, job: Summary, *, any_phase: bool = False) -> bool:
        """Return True if the job matches.

        Args:
            job: the job.
            any_phase: ignore the filter's phase: for the counts by phase.
        """
        if self.namespace and job.namespace != self.namespace:
            return False
        if self.phase and job.phase != self.phase and not any_phase:
            return False
        return self._in_time(job) and self._labelled(job) and self._mentions(job)

    def _in_time(self, job: Summary) -> bool:
        if self.since is not None and job.completed is not None and job.completed < self.since:
            return False
        if self.until is None:
            return True
        return (job.completed if job.completed is not None else job.created) < self.until

    def _labelled(self, job: Summary) -> bool:
        return all(label in job.labels for label in self.labels)

    def _mentions(self, job: Summary) -> bool:
        if not self.text:
            return True
        wanted = self.text.casefold()
        return any(
            wanted in text.casefold()
            for text in (job.name, job.namespace, job.reason, job.message, job.waiting)
        )


def read_filter(
    *,
    namespace: str = "",
    phase: str = "",
    labels: Sequence[str] = (),
    since: str = "",
    until: str = "",
    text: str = "",
) -> Filter:
    """Parse the filter of a query or of a subscription.

    Raises:
        BadRequestError: a parameter is invalid; the message names it.
    """
    if max(len(namespace), len(phase)) > _MAX_NAME:
        raise BadRequestError("namespace, phase: longer than a name can be")
    if len(text) > MAX_TEXT:
        raise BadRequestError(f"text: at most {MAX_TEXT} characters")
    if len(labels) > MAX_LABELS:
        raise BadRequestError(f"label: at most {MAX_LABELS}")
    for label in labels:
        key, equals, _ = label.partition("=")
        if not key or not equals or len(label) > _MAX_LABEL:
            raise BadRequestError("label: must be KEY=VALUE")
    return Filter(
        namespace=namespace,
        phase=phase,
        labels=tuple(labels),
        since=_time("since", since),
        until=_time("until", until),
        text=text.strip(),
    )


def _time(name: str, text: str) -> int | None:
    if not text:
        return None
    seconds = as_seconds(text)
    if seconds is None:
        raise BadRequestError(f"{name}: must be a time like 2026-01-31T12:00:00Z")
    return seconds
