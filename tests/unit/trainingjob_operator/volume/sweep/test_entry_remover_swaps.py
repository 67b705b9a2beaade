"""Directories become links to elsewhere and directories again, ten thousand times while it is swept.

A hundred thousand times with TRAININGJOB_TEST_MILLION.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import Final

import pytest

from tests.support.markers import quick
from tests.support.volume.symlink_swapper import PARTS
from tests.support.volume.volume import Volume, moment, new_uid

SWAPS: Final = 100_000 if os.environ.get("TRAININGJOB_TEST_MILLION") else 10_000
REMOVED: Final = 20
HOUR_NS: Final = 3600 * 10**9
PATIENCE_S: Final = 300


def plant(volume: Volume, name: str) -> None:
    """A tree in which directories can be swapped without its top being changed by that."""
    building = volume.path.parent / "building"
    for number in range(PARTS):
        part = building / "deep" / f"part-{number}"
        part.mkdir(parents=True)
        for file in ("canary", "other"):  # named like what the links lead to
            (part / file).write_text("may go")
    building.rename(volume.path / name)


@pytest.mark.parametrize("swaps", quick([1000, SWAPS], in_quick=[1000]))
def test_a_directory_swapped_for_a_link_again_and_again_leads_nowhere(
    volume: Volume, swaps: int
) -> None:
    """The race of CVE-2018-6954 and its kin, in the walk and in the removal."""
    names = [f"job_{new_uid()}" for _ in range(4)]
    outside = volume.path.parent / "outside"
    enough = (str(swaps), str(REMOVED))
    command = [
        sys.executable,
        "-m",
        "tests.support.volume.symlink_swapper",
        str(volume.path),
        str(outside),
    ]
    skipped: Counter[str] = Counter()
    removed, until = 0, time.monotonic() + PATIENCE_S
    racer = subprocess.Popen([*command, *enough, *names], stdout=subprocess.PIPE, text=True)
    try:
        while racer.poll() is None:
            assert time.monotonic() < until, f"the race is not met: {skipped}, {removed} removed"
            for name in names:
                if not (volume.path / name).exists():
                    plant(volume, name)
            # What changes within the next hour is old, too: the swaps do not save the tree.
            volume.border_ns = moment(volume.path.parent) + HOUR_NS
            report = volume.sweep()
            assert (outside / "canary").read_text() == "alive"
            removed += report.directories_removed
            skipped.update(report.skipped)
        out, _ = racer.communicate()
    finally:
        racer.kill()
        racer.wait()
    counts = json.loads(out)
    assert counts["swaps"] >= swaps
    assert counts["removed"] >= REMOVED, "of its links, by sweeps that met them in the race"
    volume.border_ns = moment(volume.path.parent) + HOUR_NS
    last = volume.sweep()
    assert (last.healthy, last.errors) == (True, 0), last
    assert removed + last.directories_removed > PARTS
    assert volume.names() == set()
    assert volume.trash() == []
