"""Folders are removed whatever permissions a program has left in them."""

import subprocess
import sys
from pathlib import Path

LEAVE_AND_REMOVE = """
import os
from pathlib import Path
from trainingjob_sandbox.folders import remove_tree

if os.geteuid() == 0:  # root may remove everything anyway
    os.chown(".", 65534, 65534)
    os.setuid(65534)
Path("outside").mkdir(mode=0o500)
cache = Path("tree/cache/module")
cache.mkdir(parents=True)
(cache / "file").touch(mode=0o400)
(cache / "link").symlink_to(Path("outside").absolute())
for folder in (cache, cache.parent, cache.parent.parent):
    folder.chmod(0o000)
remove_tree(Path("tree"))
print(Path("tree").exists(), oct(Path("outside").stat().st_mode & 0o777))
"""


def test_a_read_only_folder_is_removed_and_the_targets_of_its_links_are_not(
    tmp_path: Path,
) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", LEAVE_AND_REMOVE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.split() == ["False", "0o500"]
