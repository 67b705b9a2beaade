"""Summaries of jobs in one line, for tests that need many."""

from typing import Any

from trainingjob_console.jobs.summary import Summary, summarize, time_text

BEGIN = 1_790_000_000
"""Seconds since 1970, in 2026."""


def make_raw(
    number: int,
    *,
    namespace: str = "ml",
    phase: str = "Running",
    completed: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A TrainingJob as the API server sends it, the later made the higher its number."""
    raw: dict[str, Any] = {
        "metadata": {
            "uid": f"{number:08x}-0000-4000-8000-{number:012x}",
            "name": f"job-{number}",
            "namespace": namespace,
            "creationTimestamp": time_text(BEGIN + number),
            "resourceVersion": str(1_000_000 + number),
            "labels": {"team": f"t{number % 7}", "app.kubernetes.io/part-of": "training"},
        },
        "spec": {"numNodes": 4},
        "status": {
            "phase": phase,
            "attempt": 0,
            "restarts": 0,
            "startTime": time_text(BEGIN + number + 5),
            "completionTime": time_text(completed),
            "conditions": [
                {
                    "type": "PodsReady",
                    "status": "False",
                    "reason": "PodsNotReady",
                    "message": f"{number} ranks are missing",
                }
            ],
        },
    }
    raw["metadata"] |= more
    return raw


def make_summary(number: int, **keywords: Any) -> Summary:
    """The summary of such a job."""
    found = summarize(make_raw(number, **keywords))
    assert found is not None
    return found
