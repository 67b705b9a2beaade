"""Tests of the checks for a real node: a machine that cannot run one says why before anything starts."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack.cluster.node import preconditions
from hack.cluster.node.preconditions import PROBE, missing
from tests.support.repository import ROOT

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose rights it takes away")
has_programs = pytest.mark.skipif(
    shutil.which("containerd") is None or shutil.which("iptables") is None,
    reason="needs the programs of a node, else these are the reason",
)
COMMAND = [sys.executable, "-m", "hack.cluster", "can"]
CAN, CANNOT = 0, 3
MARKER = "a real node cannot be had on this machine: "

# Bridges and chains of its own, and an empty /var/lib: what is left there is no other test's.
APART = ["unshare", "--net", "--mount", "bash", "-euc"]
IN_AN_EMPTY_STATE = "mount -t tmpfs -o size=8g none /var/lib"
SERVICES_OF_A_NODE = "iptables --table nat --new-chain KUBE-SERVICES"
NOTED_BY_OURS = "mkdir /var/lib/trainingjob-node; echo '{}' >/var/lib/trainingjob-node/before.json"
PROBE_THAT_WAS_KILLED = """
ip link add trainingjob9 type bridge
iptables --table nat --new-chain trainingjob-probe
iptables --table nat --append trainingjob-probe --jump RETURN
(
    cd $(mktemp --directory /var/lib/trainingjob-probeXXXX)
    mkdir l u w m
    mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w m
)
"""
WHAT_IS_LEFT = """
ip link show trainingjob9 || true
iptables --table nat --list trainingjob-probe || true
ls -d /var/lib/trainingjob-probe* || true
grep trainingjob-probe /proc/mounts || true
"""


@contextmanager
def no_probe_runs() -> Iterator[None]:
    """Keep others from probing this machine: a node may be started beside these tests."""
    with preconditions._LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def asked(*before: str) -> tuple[int, list[str]]:
    """The exit code and the reasons of a process that is started so."""
    done = subprocess.run(
        [*before, *COMMAND], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    lines = done.stderr.splitlines()
    assert all(MARKER in line for line in lines), done.stderr
    return done.returncode, [line.partition(MARKER)[2] for line in lines]


def asked_apart(*steps: str, then: str = "") -> tuple[int, list[str], str]:
    """The exit code and the reasons after these steps, and what the last step prints."""
    asking = f'code=0\n"$@" >/dev/null || code=$?\n{then}\nexit $code'
    script = "\n".join((IN_AN_EMPTY_STATE, *steps, asking if then else 'exec "$@"'))
    command = [*APART, script, "apart", *COMMAND]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    lines = [line for line in done.stderr.splitlines() if MARKER in line]
    return done.returncode, [line.partition(MARKER)[2] for line in lines], done.stdout


@root_only
def test_who_is_not_root_is_told_only_that() -> None:
    unprivileged = ("setpriv", "--reuid=65534", "--clear-groups")
    assert asked(*unprivileged) == (CANNOT, ["it takes root on Linux"])


@root_only
@has_programs
def test_a_container_without_rights_of_its_own_is_told_each_thing_that_it_may_not() -> None:
    code, reasons = asked("setpriv", "--bounding-set=-net_admin,-sys_admin")
    assert code == CANNOT
    for words in ("type bridge", "iptables --table nat", "no overlayfs can be mounted"):
        assert [reason for reason in reasons if words in reason], reasons
    with no_probe_runs():
        assert not list(Path("/var/lib").glob("trainingjob-probe*")), "it leaves nothing"


@root_only
@has_programs
def test_the_rules_of_another_kubernetes_are_a_reason_and_those_that_a_killed_run_left_are_none() -> (
    None
):
    code, reasons, _ = asked_apart(SERVICES_OF_A_NODE)
    assert (
        len([reason for reason in reasons if "the chain KUBE-SERVICES of iptables" in reason]) == 1
    )
    assert code == CANNOT

    code, reasons, _ = asked_apart(NOTED_BY_OURS, SERVICES_OF_A_NODE)
    assert not [reason for reason in reasons if "KUBE-SERVICES" in reason]
    assert code == (CANNOT if reasons else CAN)


@root_only
@has_programs
def test_what_a_killed_probe_has_left_is_no_reason_and_is_removed() -> None:
    _, without, _ = asked_apart()
    code, reasons, left = asked_apart(PROBE_THAT_WAS_KILLED, then=WHAT_IS_LEFT)
    assert lasting(reasons) == lasting(without)
    assert (code, left) == (CANNOT if reasons else CAN, "")


def lasting(reasons: list[str]) -> list[str]:
    """Those that do not come and go with what else runs here: a node of another test, and what is in memory."""
    passing = ("runs a Kubernetes of its own", "MiB of memory are free")
    return [reason for reason in reasons if not any(words in reason for words in passing)]


@root_only
@has_programs
def test_a_cgroup_that_a_killed_probe_has_left_is_removed() -> None:
    root = Path("/sys/fs/cgroup")
    cgroup = (root if (root / "cgroup.controllers").exists() else root / "memory") / PROBE
    try:
        with no_probe_runs():
            cgroup.mkdir(exist_ok=True)
    except OSError as error:
        pytest.skip(f"no cgroup can be made here, which is a reason of its own: {error}")
    _, reasons, _ = asked_apart()
    assert not [reason for reason in reasons if "cgroup can be made" in reason]
    with no_probe_runs():
        assert not cgroup.exists()


def test_a_crash_is_no_reason(tmp_path: Path) -> None:
    """So that nobody takes it for a machine that cannot."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.platform = None")
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode not in {CAN, CANNOT}
    assert "Traceback" in done.stderr
    assert MARKER not in done.stderr


@root_only
def test_programs_that_are_missing_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preconditions, "PROGRAMS", ("sh", "no-such-program"))
    [reason] = missing(Path("/var/lib/trainingjob-node"))
    assert reason.startswith("no-such-program")
    assert "apt-get install containerd" in reason
