"""Writes archives of jobs in the format of the operator, without an operator."""

from pathlib import Path
from uuid import uuid4

from trainingjob_api.log_sections import Prefixer, Section


def section_of(
    log: bytes,
    *,
    attempt: int = 0,
    rank: int = 0,
    container: str = "",
    cut: int = 0,
    pod: str | None = None,
) -> bytes:
    """Return a complete section with this log, of a pod with this uid."""
    pod = pod or str(uuid4())
    section = Section(attempt=attempt, rank=rank, pod=pod, container=container)
    prefixer = Prefixer(rank)
    body = prefixer.feed(log) + prefixer.end()
    return section.header + body + section.trailer(len(body), cut, running=False)


def write_archive(root: Path, *parts: bytes, uid: str | None = None) -> str:
    """Write an archive of these bytes, and return the uid of its job."""
    uid = uid or str(uuid4())
    (root / f"job_{uid}.log").write_bytes(b"".join(parts))
    return uid
