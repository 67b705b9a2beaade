"""What the tests do to a real cluster before they use it."""

import subprocess
import sys
from pathlib import Path

KUBECTL = Path(sys.executable).with_name("kubectl")
"""The PyPI package's, which the development dependencies bring."""

_CRDS = Path(__file__).parents[2] / "manifests" / "crds"


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as a user does; what it prints.

    Raises:
        AssertionError: it failed; the message has its own words.
    """
    done = subprocess.run(
        [KUBECTL, "--kubeconfig", kubeconfig, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return done.stdout


def install_crds(kubeconfig: Path) -> None:
    """Apply both CRDs as the README says, and wait until they are served."""
    kubectl(kubeconfig, "apply", "-f", str(_CRDS))
    kubectl(kubeconfig, "wait", "--for=condition=Established", "-f", str(_CRDS), "--timeout=60s")
