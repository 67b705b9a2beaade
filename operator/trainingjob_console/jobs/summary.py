"""The summary of a TrainingJob that the index keeps: the fields of a list row, of bounded size.

Raw objects are not trusted: a value of the wrong type is treated as absent.
"""

import sys
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from trainingjob_api import constants
from trainingjob_console.jobs.progress import progress_row, read_progress

Object = dict[str, Any]

MAX_TEXT: Final = 300
"""Characters kept of a message or a reason."""

MAX_LABEL_BYTES: Final = 1024
"""Bytes kept of a job's labels. Further labels are dropped, so no filter matches them."""

_SHARED: Final = 8192
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000
_LONGEST_TIME: Final = 40
_UNSEEN: Final = "Pending"


@dataclass(frozen=True, slots=True)
class Summary:
    """The fields of a job that lists show. Times are whole seconds since 1970.

    Attributes:
        reason: the reason of the condition that best explains the job's state; `message` is of the same one.
        ranks: the numbers of ready, active, succeeded and failed ranks, and `numNodes`.
        waiting: the reason why it does not run yet; empty: it does not wait.
        record: `recordState` of the status.
        progress: `done/total` in steps; empty: its trainer reports none, or the job has ended.
        labels: `key=value` pairs, sorted.
        version: the object's `resourceVersion`.
    """

    uid: str
    namespace: str
    name: str
    phase: str
    reason: str
    message: str
    ranks: tuple[int, int, int, int, int]
    restarts: int
    attempt: int
    created: int
    started: int | None
    completed: int | None
    exit_code: int | None
    suspended: bool
    shutdown: str
    waiting: str
    record: str
    progress: str
    labels: tuple[str, ...]
    version: str

    @property
    def is_finished(self) -> bool:
        """True if the job has ended."""
        return self.completed is not None

    def weight(self) -> int:
        """Return the maximum number of bytes it takes in memory, as if no string were shared."""
        texts = [getattr(self, name) for name in _TEXTS]
        return _FIXED + sum(map(sys.getsizeof, (*texts, *self.labels, self.labels)))

    def duration(self, now: int) -> int:
        """Return the seconds from the start to the end, or to now; 0: it has not started."""
        if self.started is None:
            return 0
        return max((self.completed if self.completed is not None else now) - self.started, 0)

    def row(self) -> Object:
        """Return the JSON row for the page."""
        ready, active, succeeded, failed, total = self.ranks
        return {
            "uid": self.uid,
            "namespace": self.namespace,
            "name": self.name,
            "source": "live",
            "phase": self.phase,
            "reason": self.reason or None,
            "message": self.message or None,
            "ranks": {
                "ready": ready,
                "active": active,
                "succeeded": succeeded,
                "failed": failed,
                "total": total,
            },
            "restarts": self.restarts,
            "attempt": self.attempt,
            "created": time_text(self.created),
            "started": time_text(self.started),
            "completed": time_text(self.completed),
            "exitCode": self.exit_code,
            "suspended": self.suspended,
            "shutdown": self.shutdown or None,
            "waiting": self.waiting or None,
            "record": self.record or None,
            "progress": progress_row(self.progress),
            "labels": dict(_pair(label) for label in self.labels),
            "resourceVersion": self.version,
        }


_TEXTS: Final = tuple(field.name for field in fields(Summary) if field.type in (str, "str"))
_FIXED: Final = 600
"""Bytes of the object itself, its numbers, the tuple of ranks, and its entries in the index."""


def summarize(raw: Object) -> Summary | None:
    """Return the summary of a raw object; None: it has no uid, name or creation time."""
    metadata, spec, status = (as_dict(raw.get(part)) for part in ("metadata", "spec", "status"))
    uid, name = as_text(metadata.get("uid")), as_text(metadata.get("name"))
    created = as_seconds(metadata.get("creationTimestamp"))
    if not uid or not name or created is None:
        return None
    conditions = {
        as_text(each.get("type")): each
        for each in as_dicts(status.get("conditions"))[: constants.MAX_CONDITIONS]
    }
    completed = as_seconds(status.get("completionTime"))
    annotations = as_dict(metadata.get("annotations"))
    phase = shared(as_text(status.get("phase"), 64) or _UNSEEN)
    explanation = _explanation(conditions)
    return Summary(
        uid=uid,
        namespace=shared(as_text(metadata.get("namespace"))),
        name=name,
        phase=phase,
        reason=shared(as_text(explanation.get("reason"), MAX_TEXT)),
        message=shared(as_text(explanation.get("message"), MAX_TEXT)),
        ranks=_ranks(spec, status),
        restarts=as_count(status.get("restarts")),
        attempt=as_count(status.get("attempt")),
        created=created,
        started=as_seconds(status.get("startTime")),
        completed=completed,
        exit_code=as_number(status.get("exitCode")),
        suspended=spec.get("suspend") is True,
        shutdown=_shutdown(spec, status),
        waiting=shared(_waiting(phase, spec, status, conditions)),
        record=shared(as_text(status.get("recordState"), 64)),
        progress=""
        if completed is not None
        else read_progress(annotations.get(constants.ANNOTATION_PROGRESS)),
        labels=labels_within(as_dict(metadata.get("labels"))),
        version=as_text(metadata.get("resourceVersion")),
    )


def _explanation(conditions: dict[str, Object]) -> Object:
    """Return the condition that best explains the state: how the job ended, or why it does not run."""
    candidates = (*constants.TERMINAL_CONDITIONS, constants.CONDITION_RESTARTING)
    for kind in (*candidates, constants.CONDITION_SUSPENDED):
        if as_dict(conditions.get(kind)).get("status") == "True":
            return conditions[kind]
    return as_dict(conditions.get(constants.CONDITION_PODS_READY))


def _ranks(spec: Object, status: Object) -> tuple[int, int, int, int, int]:
    counted = (as_count(status.get(n)) for n in ("ready", "active", "succeeded", "failed"))
    return _same((*counted, as_count(spec.get("numNodes"), 1)))


@lru_cache(maxsize=_SHARED)
def _same(ranks: tuple[int, int, int, int, int]) -> tuple[int, int, int, int, int]:
    return ranks


def _shutdown(spec: Object, status: Object) -> str:
    asked = as_text(as_dict(status.get("shutdown")).get("mode")) or as_text(spec.get("shutdown"))
    return shared(asked[:64])


def _waiting(phase: str, spec: Object, status: Object, conditions: dict[str, Object]) -> str:
    """Return the reason why the job does not run; empty: it runs, has ended, or is suspended."""
    managed_by = as_text(spec.get("managedBy"))
    if not status:
        return f"managed by {managed_by}" if managed_by else "the operator has not seen it yet"
    if phase not in (_UNSEEN, "Running", "Restarting"):
        return ""
    ready = as_dict(conditions.get(constants.CONDITION_PODS_READY))
    if ready.get("status") == "True":
        return ""
    if phase == "Restarting":
        ready = as_dict(conditions.get(constants.CONDITION_RESTARTING)) or ready
    return as_text(ready.get("message"), MAX_TEXT) or as_text(ready.get("reason"), MAX_TEXT)


def labels_within(labels: Object) -> tuple[str, ...]:
    """Return the labels as `key=value`, sorted, up to `MAX_LABEL_BYTES`."""
    kept: list[str] = []
    room = MAX_LABEL_BYTES
    for key in sorted(key for key, value in labels.items() if isinstance(value, str)):
        label = f"{key}={labels[key]}"
        room -= len(label.encode("utf-8", "surrogatepass"))
        if room < 0:
            break
        kept.append(shared(label))
    return tuple(kept)


def _pair(label: str) -> tuple[str, str]:
    key, _, value = label.partition("=")
    return key, value


# --- reading --------------------------------------------------------------------------------------


def as_dict(value: object) -> Object:
    """Return the value if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_dicts(value: object) -> list[Object]:
    """Return the dicts among the value's items if it is a list, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_text(value: object, longest: int = 253) -> str:
    """Return the value, truncated, if it is a string, else the empty string."""
    return value[:longest] if isinstance(value, str) else ""


def as_number(value: object) -> int | None:
    """Return the value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_count(value: object, default: int = 0) -> int:
    """Return the value if it is a whole number that is not negative, else the default."""
    number = as_number(value)
    return default if number is None or not 0 <= number < 1 << 62 else number


def as_seconds(value: object) -> int | None:
    """Parse an RFC 3339 time to whole seconds since 1970; None: it is invalid."""
    return _seconds(value) if isinstance(value, str) and len(value) <= _LONGEST_TIME else None


@lru_cache(maxsize=1024)
def _seconds(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return int(time.timestamp()) if _FIRST_YEAR <= time.year < _LAST_YEAR else None
    except (ValueError, OverflowError):
        return None


def time_text(seconds: int | None) -> str | None:
    """Format seconds since 1970 as RFC 3339 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=_SHARED)
def shared(text: str) -> str:
    """Return a shared copy of the text (interning): the same texts occur in thousands of jobs.

    Bound: an LRU cache of 8,192 texts, usually of at most 400 characters each.
    """
    return text
