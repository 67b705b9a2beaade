"""A process that swaps directories for symbolic links as fast as it can, to provoke races in a sweep.

Run as `python -m tests.support.volume.symlink_swapper ROOT TARGET SWAPS REMOVED NAME...`. In each NAME below ROOT,
and in each entry of the trash, it replaces the directories `deep/part-*` by links to TARGET, and then
restores them. It ends after SWAPS swaps, once the sweep has removed REMOVED of its links, and prints
both numbers.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PARTS = 20
_AT_ONCE = 10


class Swapper:
    """Counts its swaps, and the links that the sweep removed in place of directories."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.swaps = 0
        self.removed = 0

    def swap(self, place: Path) -> None:
        """Swap the directories of an entry, which may meanwhile be moved or removed."""
        try:
            fd = os.open(place, os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            for _ in range(_AT_ONCE):
                planted = [part for part in range(PARTS) if self._plant(part, fd)]
                for part in planted:
                    self._take_back(part, fd)
        finally:
            os.close(fd)

    def _plant(self, part: int, fd: int) -> bool:
        try:
            os.rename(f"part-{part}", f"aside-{part}", src_dir_fd=fd, dst_dir_fd=fd)
            os.symlink(self._target, f"part-{part}", dir_fd=fd)
        except OSError:
            return False  # the sweep removed it first
        return True

    def _take_back(self, part: int, fd: int) -> None:
        try:
            os.unlink(f"part-{part}", dir_fd=fd)
        except FileNotFoundError:
            self.removed += 1
        with suppress(OSError):
            os.rename(f"aside-{part}", f"part-{part}", src_dir_fd=fd, dst_dir_fd=fd)
            self.swaps += 1


def _places(root: Path, names: list[str]) -> Iterator[Path]:
    for name in names:
        yield root / name / "deep"
    for entry in (root / ".trash").iterdir():
        yield entry / "deep"


def main(root: str, target: str, swaps: str, removed: str, *names: str) -> None:
    """Swap until both numbers are reached."""
    swapper = Swapper(target)
    while swapper.swaps < int(swaps) or swapper.removed < int(removed):
        for place in _places(Path(root), list(names)):
            swapper.swap(place)
    json.dump({"swaps": swapper.swaps, "removed": swapper.removed}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
