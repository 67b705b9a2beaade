"""Builds the detail view of one job from the objects of the API server, or from its record."""

from typing import Any, Final

import yaml

from trainingjob_api import constants
from trainingjob_console.jobs.summary import (
    MAX_TEXT,
    Object,
    as_count,
    as_dict,
    as_dicts,
    as_number,
    as_seconds,
    as_text,
    summarize,
    time_text,
)

MAX_EVENTS: Final = 200
MAX_RANKS: Final = constants.MAX_NODES
_Dumper: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_NOT_SHOWN: Final = ("managedFields",)
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_WORDS: Final = {"Running": "Running", "Pending": "Waiting", "Unknown": "Waiting"}


def manifest(job: Object) -> str:
    """Return the object as YAML, without `managedFields` and last-applied. Slow for large objects."""
    metadata = {k: v for k, v in as_dict(job.get("metadata")).items() if k not in _NOT_SHOWN}
    annotations = as_dict(metadata.get("annotations"))
    if _LAST_APPLIED in annotations:
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    order = ("apiVersion", "kind", "metadata", "spec", "status")
    shown = {name: job[name] for name in order if name in job} | {"metadata": metadata}
    text: str = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def conditions(job: Object) -> list[Object]:
    """Return the conditions, sorted by the time of their last transition."""
    found = as_dicts(as_dict(job.get("status")).get("conditions"))[: constants.MAX_CONDITIONS]
    names = ("type", "status", "reason", "message", "lastTransitionTime")
    return sorted(
        ({name: as_text(each.get(name), 1024) for name in names} for each in found),
        key=lambda each: each["lastTransitionTime"],
    )


def of_job(job: Object, max_age_s: float) -> Object:
    """Return the parts of the detail view that the job object alone determines. Slow for large objects.

    `current` is the input of `attempts`.

    Args:
        job: the object.
        max_age_s: seconds without a change after which the operator removes files.
    """
    return {
        "uid": as_text(as_dict(job.get("metadata")).get("uid")),
        "summary": summarize(job),
        "current": _current(as_dict(job.get("status"))),
        "parts": {
            "conditions": conditions(job),
            "manifest": manifest(job),
            "files": files(job, max_age_s),
        },
    }


def of_pod(pod: Object) -> Object:
    """Return the row of a pod's rank, and its attempt."""
    return {"attempt": _label(pod, constants.LABEL_ATTEMPT), "row": _rank(pod)}


def ranks(pods: list[Object]) -> list[Object]:
    """Return the rows of the newest attempt that has pods, sorted by rank.

    Args:
        pods: the results of `of_pod`.
    """
    newest = max((pod["attempt"] for pod in pods), default=0)
    of_attempt = [pod["row"] for pod in pods if pod["attempt"] == newest]
    return sorted(of_attempt, key=lambda rank: int(rank["rank"]))[:MAX_RANKS]


def attempts(current: Object | None, pods: list[Object]) -> list[Object]:
    """Return the known attempts: those that have pods, and the current one of the job's status.

    Args:
        current: the `current` of `of_job`.
        pods: the results of `of_pod`.
    """
    found: dict[int, Object] = {}
    for pod in pods:
        number, rank = pod["attempt"], pod["row"]
        entry = found.setdefault(
            number, {"attempt": number, "from": None, "to": None, "outcome": None}
        )
        begun, ended = rank["started"], rank["finished"]
        entry["from"] = min(filter(None, (entry["from"], begun)), default=None)
        entry["to"] = max(filter(None, (entry["to"], ended)), default=None)
        if rank["state"] == "Failed":
            entry["outcome"] = "Failed"
    if current is not None:
        entry = found.setdefault(current["attempt"], {"from": None})
        begun = current["from"] or entry["from"] or current["jobFrom"]
        found[current["attempt"]] = {
            "attempt": current["attempt"],
            "from": begun or None,
            "to": current["to"],
            "outcome": current["outcome"],
        }
    return [found[number] for number in sorted(found)]


def _current(status: Object) -> Object | None:
    """Return the newest attempt according to the status; None: there is no status yet."""
    if not status:
        return None
    return {
        "attempt": as_count(status.get("attempt")),
        "from": as_text(status.get("attemptStartTime")),
        "jobFrom": as_text(status.get("startTime")),
        "to": as_text(status.get("completionTime")) or None,
        "outcome": as_text(status.get("phase")) or None,
    }


def of_event(event: Object) -> Object:
    """Return the fields of an event that the page shows."""
    about = as_dict(event.get("involvedObject"))
    return {
        "time": as_text(event.get("lastTimestamp"))
        or as_text(event.get("eventTime"))
        or as_text(as_dict(event.get("metadata")).get("creationTimestamp")),
        "type": as_text(event.get("type")),
        "reason": as_text(event.get("reason")),
        "message": as_text(event.get("message"), 1024),
        "object": "/".join(as_text(about.get(name)) for name in ("kind", "name")),
        "count": as_count(event.get("count"), 1),
    }


def events(items: list[Object]) -> list[Object]:
    """Return the newest `MAX_EVENTS` events, sorted by time.

    Args:
        items: the results of `of_event`.
    """
    return sorted(items, key=lambda each: str(each["time"]))[-MAX_EVENTS:]


def files(job: Object, max_age_s: float) -> Object | None:
    """Return the path, size and removal time of the job's files on the log volume; None: it has none.

    Args:
        job: the object.
        max_age_s: seconds without a change after which the operator removes files.
    """
    status = as_dict(job.get("status"))
    annotations = as_dict(as_dict(job.get("metadata")).get("annotations"))
    kept = annotations.get(constants.ANNOTATION_KEEP, "false") != "false"
    removed_at = None if kept else _earliest_removal(status.get("completionTime"), max_age_s)
    return _files(as_dict(status.get("logs")), removed_at, kept=kept)


def _earliest_removal(ended: object, max_age_s: float) -> str | None:
    """Return the earliest time at which the files can be removed for their age; None: the job has not ended.

    They last change when the job ends, or a little later, when its logs are archived. They are kept for as
    long as the job itself is in the cluster.
    """
    seconds = as_seconds(ended)
    return time_text(int(seconds + max_age_s)) if seconds is not None else None


def _files(logs: Object, removed_at: str | None, *, kept: bool) -> Object | None:
    if not (path := as_text(logs.get("path"))):
        return None
    return {
        "path": path,
        "bytes": as_number(logs.get("bytes")),
        "goesAt": removed_at,
        "kept": kept,
    }


def _label(pod: Object, name: str) -> int:
    text = as_text(as_dict(as_dict(pod.get("metadata")).get("labels")).get(name))
    return int(text) if text.isdecimal() and len(text) < 10 else 0  # noqa: PLR2004 - digits


def _rank(pod: Object) -> Object:
    metadata, status = as_dict(pod.get("metadata")), as_dict(pod.get("status"))
    state, reason = _state(metadata, status)
    main = _main(pod, metadata, status)
    ended = as_dict(as_dict(main.get("state")).get("terminated"))
    waits = as_dict(as_dict(main.get("state")).get("waiting"))
    reason = reason or as_text(ended.get("reason")) or as_text(waits.get("reason"))
    return {
        "rank": _label(pod, constants.LABEL_INDEX),
        "pod": as_text(metadata.get("name")),
        "node": as_text(as_dict(pod.get("spec")).get("nodeName")) or None,
        "state": state,
        "reason": reason or _condition_reason(status) or None,
        "exitCode": as_number(ended.get("exitCode")),
        "restarts": as_count(main.get("restartCount")),
        "started": as_text(status.get("startTime")) or None,
        "finished": as_text(ended.get("finishedAt")) or None,
    }


def _state(metadata: Object, status: Object) -> tuple[str, str]:
    phase = as_text(status.get("phase"))
    if phase in ("Succeeded", "Failed"):
        return phase, as_text(status.get("reason"))
    if metadata.get("deletionTimestamp"):
        return "Terminating", as_text(status.get("reason"))
    return _WORDS.get(phase, "Waiting"), as_text(status.get("reason"))


def _main(pod: Object, metadata: Object, status: Object) -> Object:
    statuses = as_dicts(status.get("containerStatuses"))
    annotations = as_dict(metadata.get("annotations"))
    name = as_text(annotations.get(constants.ANNOTATION_MAIN_CONTAINER))
    named = [
        each for each in statuses if as_text(each.get("name")) in (name, constants.MAIN_CONTAINER)
    ]
    found = named or statuses
    return found[0] if found else {}


def _condition_reason(status: Object) -> str:
    for each in as_dicts(status.get("conditions")):
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return as_text(each.get("message"), MAX_TEXT) or as_text(each.get("reason"))
    return ""


def of_record(record: Object, max_age_s: float) -> dict[str, Any]:
    """Return the parts of the detail view of a deleted job, from its record.

    Args:
        record: the record.
        max_age_s: seconds without a change after which the operator removes files.
    """
    spec: str = yaml.dump(
        {"spec": record.get("spec")}, Dumper=_Dumper, sort_keys=False, allow_unicode=True
    )
    return {
        "conditions": [],
        "attempts": [
            {
                "attempt": as_count(record.get("attempt")),
                "from": as_text(record.get("startedAt")) or None,
                "to": as_text(record.get("completedAt")) or None,
                "outcome": as_text(record.get("phase")) or None,
            }
        ],
        "ranks": [],
        "events": [],
        "manifest": spec,
        "files": _files(
            as_dict(record.get("logs")),
            _earliest_removal(record.get("completedAt"), max_age_s),
            kept=False,
        ),
        "record": {
            "revision": as_count(record.get("revision")),
            "cluster": as_text(record.get("cluster")) or None,
        },
    }
