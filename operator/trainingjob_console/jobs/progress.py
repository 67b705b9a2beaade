"""Parses a job's progress annotation, which its trainer writes: `done/total` steps.

Anyone who may patch the job can write it, so it is not trusted: invalid values are ignored.
"""

import re
from typing import Final

_PROGRESS: Final = re.compile(r"(0|[1-9][0-9]{0,14})/([1-9][0-9]{0,14})")
"""Only numbers that JavaScript represents exactly; the text has at most 31 characters."""


def read_progress(value: object) -> str:
    """Return the progress as `done/total`; empty: there is none, or it is invalid."""
    match = _PROGRESS.fullmatch(value) if isinstance(value, str) else None
    return match[0] if match is not None and int(match[1]) <= int(match[2]) else ""


def progress_row(progress: str) -> dict[str, int] | None:
    """Return the JSON form of the result of `read_progress`; None: there is none."""
    if not progress:
        return None
    done, _, total = progress.partition("/")
    return {"done": int(done), "total": int(total)}
