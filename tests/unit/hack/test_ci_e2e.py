"""Tests of CI's result of `make e2e`: passed, skipped or FAILED; only the last one fails a change."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

UNPRIVILEGED = ("setpriv", "--bounding-set=-net_admin,-sys_admin")
ASKS = "import sys; sys.stderr.write({said!r}); sys.exit({code})"


def clone(folder: Path, *, can: str, e2e: str = "true") -> Path:
    """A tree with CI's script, in which this answers for `hack.cluster`, and this is `make e2e`."""
    for name in ("hack/ci", "hack/cluster", ".venv/bin"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "hack/ci/e2e.sh", folder / "hack/ci/e2e.sh")
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    (folder / "hack/cluster/__main__.py").write_text(can)
    (folder / "Makefile").write_text(f"e2e:\n\t@{e2e}\n")
    return folder


def verdict(folder: Path, *before: str, seconds: int = 60) -> tuple[str, int]:
    """The verdict that CI's script prints there, and its exit status."""
    done = subprocess.run(
        [*before, folder / "hack/ci/e2e.sh"],
        env=os.environ | {"E2E_SECONDS": str(seconds)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout.partition("== make e2e ")[2], done.returncode


@pytest.mark.parametrize(
    ("can", "e2e", "said", "code"),
    [
        ("", "true", "has passed", 0),
        ("", "exit 1", "has FAILED with 2", 1),
        (ASKS.format(said="no bridge", code=3), "exit 1", "has been skipped: no bridge", 0),
        (ASKS.format(said="", code=1), "true", "has FAILED: hack.cluster can ended with 1", 1),
        ("1 / 0", "true", "has FAILED: hack.cluster can ended with 1: Traceback", 1),
        # Tests that find no node would be skipped, and look as if they had passed.
        ("", 'test -n "$$TRAININGJOB_TEST_REQUIRE_NODE"', "has passed", 0),
    ],
)
def test_ci_says_what_has_become_of_it_and_fails_with_it(
    tmp_path: Path, can: str, e2e: str, said: str, code: int
) -> None:
    found, status = verdict(clone(tmp_path / "clone", can=can, e2e=e2e))
    assert (found.startswith(said), status) == (True, code), found


def test_what_does_not_end_in_time_has_failed(tmp_path: Path) -> None:
    found, status = verdict(clone(tmp_path / "c", can="", e2e="sleep 60"), seconds=1)
    assert ("FAILED with 124" in found, status) == (True, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose rights it takes away")
def test_a_machine_that_cannot_is_said_to_be_skipped_with_the_real_reason(tmp_path: Path) -> None:
    """The clone's own `hack.cluster`, asked where no bridge may be made."""
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip("CI's script asks the Python of `make`'s own virtual environment")
    said, status = verdict(ROOT, *UNPRIVILEGED)
    assert status == 0
    assert "has been skipped: " in said
    assert "a real node cannot be had on this machine: " in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose rights it takes away")
@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 2)])
def test_make_says_that_it_is_skipped(required: str, code: int) -> None:
    """By its exit status it is a failure only for who requires a node."""
    if not (ROOT / ".venv/.ready-dev").exists():
        pytest.skip("`make` would make its virtual environment first")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        [*UNPRIVILEGED, "make", "--old-file=.venv/.ready-dev", "e2e"],
        cwd=ROOT,
        env=environment | ({"TRAININGJOB_TEST_REQUIRE_NODE": required} if required else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert "make e2e is skipped" in done.stdout
