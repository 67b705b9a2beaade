"""Builds the names of a job's pods, Service and log directory, and formats sets of ranks.

Names are deterministic, so that the API server's uniqueness of names acts as a lock. A pod's name
contains the job's uid, the attempt and the rank. So even after a crash there cannot be two pods for
one rank of one attempt, and a later job of the same name has other pod names.

Sets of ranks are written as `0,2-5`, the format of batch/v1's `completedIndexes`.
"""

from collections.abc import Iterable

from trainingjob_api.constants import LABEL_JOB_NAME, MAX_NODES

_NAME_PART = 40
_UID_PART = 8


def owner_prefix(job_name: str, uid: str) -> str:
    """Return `<first 40 of the job's name>-<first 8 of its uid>`; at most 49 characters.

    It is also the name of the job's headless Service. A dash at the end of the truncated name is
    removed.
    """
    return f"{job_name[:_NAME_PART].rstrip('-')}-{uid[:_UID_PART]}"


def pod_name(job_name: str, uid: str, attempt: int, index: int) -> str:
    """Return the name, and host name, of the pod of one rank in one attempt; at most 63 characters."""
    return f"{owner_prefix(job_name, uid)}-{attempt}-{index}"


def job_directory(uid: str) -> str:
    """Return the name of a job's directory on the log volume; with `.log` appended, its archive file."""
    return f"job_{uid}"


def pod_selector(job_name: str) -> str:
    """Return the label selector that finds all pods of the jobs of this name."""
    return f"{LABEL_JOB_NAME}={job_name}"


def format_indexes(indexes: Iterable[int]) -> str:
    """Write a set of ranks in its shortest form, in ascending order."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def parse_indexes(text: str) -> frozenset[int]:
    """Parse the format of `format_indexes`.

    Anybody who may patch the status can edit it. So invalid parts are skipped (a completed rank that
    is missing runs again, which costs only time), and the result never exceeds a job's maximum size.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            a = int(first)
            b = int(last) if last else a
        except ValueError:
            continue
        found.update(range(max(a, 0), min(b, MAX_NODES - 1) + 1))
    return frozenset(found)
