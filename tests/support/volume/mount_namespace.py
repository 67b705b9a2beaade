"""Runs scenarios that mount file systems, each in its own process and mount namespace.

A module of scenarios ends with `print_scenario(SCENARIOS)`, and a test calls `scenario` with its name.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import ROOT

Outcome = dict[str, Any]
Scenario = Callable[[Path], Outcome]
"""Stages something in a folder, and says what came of it."""


def scenario(module: str, name: str, folder: Path) -> Outcome:
    """Run a scenario and return its outcome. Skips the test if this machine permits no mounts."""
    if os.getuid() != 0:
        pytest.skip("mounting takes root")
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    may = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if may.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {may.stderr.strip()}")
    program = [sys.executable, "-m", f"tests.support.{module}", name, str(folder)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome: Outcome = json.loads(done.stdout)
    if "skip" in outcome:
        pytest.skip(outcome["skip"])
    return outcome


def print_scenario(scenarios: Mapping[str, Scenario]) -> None:
    """Run the scenario named on the command line, and print its outcome as JSON."""
    name, folder = sys.argv[1:3]
    sys.stdout.write(json.dumps(scenarios[name](Path(folder))) + "\n")


def mount(*arguments: str | Path) -> None:
    """Run `mount` with these arguments."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def tmpfs(path: Path, options: str = "size=16m") -> Path:
    """Mount a tmpfs."""
    path.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", options, "tmpfs", path)
    return path
