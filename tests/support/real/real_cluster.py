"""Prepares a real cluster for tests: kubectl, control planes and CRDs."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hack.cluster import assets
from hack.cluster.control_plane import ControlPlane, Options
from tests.support.repository import ROOT
from trainingjob_api.constants import (
    API_VERSION,
    PLURAL_RETENTION_POLICIES,
    PLURAL_TRAINING_JOBS,
)

REAL_KUBECONFIG = "TRAININGJOB_TEST_KUBECONFIG"
"""Names a cluster that is there already; the tests are guests in it."""

_BESIDE = Path(sys.executable).with_name("kubectl")
KUBECTL = _BESIDE if _BESIDE.exists() else Path(shutil.which("kubectl") or _BESIDE)
"""The PyPI package's, which the development dependencies bring where there is one, or PATH's."""

CRDS = ROOT / "manifests" / "crds"
_PATIENCE_S = 60.0
_LIMIT_S = 300.0
"""More than any `--timeout` that kubectl is told: it is to say itself what it has waited for."""


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as a user does; return its output.

    Raises:
        AssertionError: it failed; the message has its output.
    """
    done = subprocess.run(
        [KUBECTL, "--kubeconfig", kubeconfig, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return done.stdout


@contextmanager
def new_control_plane(root: Path, options: Options | None = None) -> Iterator[ControlPlane]:
    """Start a separate control plane without our CRDs.

    The test is skipped if an existing cluster is to be used instead.
    """
    if REAL_KUBECONFIG in os.environ:
        pytest.skip(f"needs a control plane of its own, not the cluster of {REAL_KUBECONFIG}")
    built = assets.find()
    if built is None:
        pytest.fail("the control plane is not built: `make cluster-build` does it, once")
    with ControlPlane(built, root, options) as plane:
        yield plane


class Kubectl:
    """kubectl as a user runs it."""

    def __init__(self, kubeconfig: Path, cache: Path, namespace: str | None = None) -> None:
        """Prepare it.

        Args:
            kubeconfig: server and user.
            cache: keeps what it discovers; its own, because servers share ports over time.
            namespace: where its objects are; None: it is not said.
        """
        self.kubeconfig = kubeconfig
        where = [] if namespace is None else ["--namespace", namespace]
        files = ["--kubeconfig", str(kubeconfig), "--cache-dir", str(cache)]
        self._command = [str(KUBECTL), *files, *where]

    def run(self, *words: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        """Run it to completion, with or without an object as its standard input."""
        return subprocess.run(
            [*self._command, *words],
            input=None if stdin is None else json.dumps(stdin),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )

    def __call__(self, *words: str, stdin: Any = None) -> str:
        """Run it, and return its output.

        Raises:
            AssertionError: it failed or printed a warning.
        """
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        assert not done.stderr, f"kubectl {' '.join(words)} warned: {done.stderr}"
        return done.stdout.strip()

    def refusal(self, *words: str, stdin: Any = None) -> str:
        """Run it, expect a failure, and return its error message."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 1, f"kubectl {' '.join(words)} was not refused: {done.stdout}"
        return done.stderr.strip()


def install_crds(kubeconfig: Path) -> None:
    """Apply both CRDs as the README says, and wait until they are served."""
    kubectl(kubeconfig, "apply", "-f", str(CRDS))
    wait_until_established(partial(kubectl, kubeconfig))
    wait_until_served(kubeconfig)


def wait_until_established(run: Callable[..., str]) -> None:
    """Wait until the API server has taken both CRDs, which were just applied.

    Args:
        run: runs kubectl with these words.

    Raises:
        AssertionError: it has not within a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            run("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
        except AssertionError as error:
            # kubectl does not wait for objects without conditions.
            if "accessor error" not in str(error) or time.monotonic() > deadline:
                raise
        else:
            return


def wait_until_served(kubeconfig: Path) -> None:
    """Wait until the API server lists the objects of both kinds.

    Established it may be seconds before its storage is there. A CRD that is deleted in between is
    looked at again only after five minutes.
    """
    deadline = time.monotonic() + _PATIENCE_S
    for plural in (PLURAL_TRAINING_JOBS, PLURAL_RETENTION_POLICIES):
        while True:
            try:
                kubectl(kubeconfig, "get", "--raw", f"/apis/{API_VERSION}/{plural}")
            except AssertionError:
                assert time.monotonic() < deadline, f"{plural} are not served"
                time.sleep(0.1)
            else:
                break
