"""Names of what a job owns, and of sets of its ranks.

Names are deterministic, so that the API server's uniqueness is the lock. A pod's name is made of
the job's uid, the attempt and the rank. Whatever crashes in between, two pods for one rank of one
attempt cannot exist, and the pods of a job's namesake have other names.

Sets of ranks are written as `0,2-5`, the format of batch/v1's `completedIndexes`.
"""

from collections.abc import Iterable

from trainingjob_api.constants import LABEL_JOB_NAME, MAX_NODES

_NAME_PART = 40
_UID_PART = 8


def owner_prefix(job_name: str, uid: str) -> str:
    """`<first 40 of the job's name>-<first 8 of its uid>`; at most 49 characters.

    Also the name of the job's headless Service. A cut that ends in `-` loses the dash, because
    the result is a DNS label's part.
    """
    return f"{job_name[:_NAME_PART].rstrip('-')}-{uid[:_UID_PART]}"


def pod_name(job_name: str, uid: str, attempt: int, index: int) -> str:
    """Return the name, and host name, of one rank in one attempt; at most 63 characters."""
    return f"{owner_prefix(job_name, uid)}-{attempt}-{index}"


def job_directory(uid: str) -> str:
    """Return the name of a job's directory on the log volume; with `.log` that of its logs."""
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
    """Read what `format_indexes` wrote.

    Status can be edited by all who may patch it: a part that is not understood is passed over
    (a rank taken as not done runs again, which loses time and nothing else), and no text makes
    the result larger than a job can be.
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
