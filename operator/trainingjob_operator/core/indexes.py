"""Sets of ranks as text: `0,2-5`, the format of batch/v1's `completedIndexes`."""

from collections.abc import Iterable

from trainingjob_api.constants import MAX_NODES


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

    Status can be edited by whoever may patch it: a part that is not understood is passed over
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
