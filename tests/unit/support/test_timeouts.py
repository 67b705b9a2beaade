"""A test that hangs fails by its name and says where; the others go on."""

import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT

TESTS = """
import asyncio
import time

import pytest

@pytest.mark.timeout(1)
async def test_of_a_task():
    await asyncio.create_task(asyncio.Event().wait(), name="the one that hangs")

@pytest.mark.timeout(1)
def test_of_a_thread():
    time.sleep(600)

def test_that_ends(request):
    assert request.node.get_closest_marker("timeout").args == (900,)

@pytest.mark.long
def test_that_takes_long(request):
    assert request.node.get_closest_marker("timeout").args == (2700,)
"""


def test_a_test_that_hangs_fails_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "test_hanging.py"
    path.write_text(TESTS)
    options = ("-p", "tests.conftest", "-p", "no:cacheprovider", "-q", f"--rootdir={ROOT}")
    command = (sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options)
    done = subprocess.run(
        [*command, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "2 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "Task pending name='the one that hangs'" in done.stdout
    assert 'asyncio.create_task(asyncio.Event().wait(), name="the one that hangs")' in done.stdout
    assert "time.sleep(600)" in done.stdout
