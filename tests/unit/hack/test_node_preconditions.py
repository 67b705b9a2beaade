"""A machine that can run no real node says why, in words, before anything is started."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hack.cluster.node import preconditions
from hack.cluster.node.preconditions import missing
from tests.support.tree import ROOT

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose rights it takes away")
COMMAND = [sys.executable, "-m", "hack.cluster", "can"]


def asked(*before: str) -> tuple[int, list[str]]:
    """The exit code and the reasons of a process that is started so."""
    done = subprocess.run(
        [*before, *COMMAND], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    marker = "a real node cannot be had on this machine: "
    lines = done.stderr.splitlines()
    assert all(marker in line for line in lines), done.stderr
    return done.returncode, [line.partition(marker)[2] for line in lines]


@root_only
def test_who_is_not_root_is_told_only_that() -> None:
    assert asked("setpriv", "--reuid=65534", "--clear-groups") == (1, ["it takes root on Linux"])


@root_only
@pytest.mark.skipif(
    shutil.which("containerd") is None or shutil.which("iptables") is None,
    reason="needs the programs of a node, else these are the reason",
)
def test_a_container_without_rights_of_its_own_is_told_each_thing_that_it_may_not() -> None:
    code, reasons = asked("setpriv", "--bounding-set=-net_admin,-sys_admin")
    assert code == 1
    for words in ("type bridge", "iptables --table nat", "no overlayfs can be mounted"):
        assert [reason for reason in reasons if words in reason], reasons
    assert not list(Path("/var/lib").glob("trainingjob-probe*")), "it leaves nothing"


@root_only
def test_programs_that_are_missing_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preconditions, "PROGRAMS", ("sh", "no-such-program"))
    [reason] = missing(Path("/var/lib"))
    assert reason.startswith("no-such-program")
    assert "apt-get install containerd" in reason
