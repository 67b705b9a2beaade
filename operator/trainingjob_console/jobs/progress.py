"""The progress of a job, as its trainer says it in an annotation: steps that are done, and steps in all.

Whoever may patch the job writes it, so it is not trusted: what is not two numbers is no progress.
"""

import re
from typing import Final

_PROGRESS: Final = re.compile(r"(0|[1-9][0-9]{0,14})/([1-9][0-9]{0,14})")
"""Numbers that JavaScript reads exactly; the text has 31 characters at most."""


def read_progress(value: object) -> str:
    """Return the progress as `done/total`; empty: there is none, or none that can be understood."""
    match = _PROGRESS.fullmatch(value) if isinstance(value, str) else None
    return match[0] if match is not None and int(match[1]) <= int(match[2]) else ""


def progress_row(progress: str) -> dict[str, int] | None:
    """Return what a page gets of a progress that was read; None: there is none."""
    if not progress:
        return None
    done, _, total = progress.partition("/")
    return {"done": int(done), "total": int(total)}
