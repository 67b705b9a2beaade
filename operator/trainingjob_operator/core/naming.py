"""Names of what a job owns: deterministic, so that the API server's uniqueness is the lock.

A pod's name is made of the job's uid, the attempt and the rank. Whatever crashes in between, two
pods for one rank of one attempt cannot exist, and the pods of a job's namesake have other names.
"""

from trainingjob_api.constants import LABEL_JOB_NAME

_NAME_PART = 40
_UID_PART = 8


def owner_prefix(job_name: str, uid: str) -> str:
    """`<first 40 of the job's name>-<first 8 of its uid>`; at most 49 characters.

    Also the name of the job's headless Service. A cut that ends in `-` loses the dash, because
    the result is a DNS label's part.
    """
    return f"{job_name[:_NAME_PART].rstrip('-')}-{uid[:_UID_PART]}"


def pod_name(job_name: str, uid: str, attempt: int, index: int) -> str:
    """The name, and host name, of one rank in one attempt; at most 63 characters."""
    return f"{owner_prefix(job_name, uid)}-{attempt}-{index}"


def job_directory(uid: str) -> str:
    """The name of a job's own directory on the log volume; with `.log` that of its archived logs."""
    return f"job_{uid}"


def pod_selector(job_name: str) -> str:
    """The label selector that finds all pods of the jobs of this name."""
    return f"{LABEL_JOB_NAME}={job_name}"
