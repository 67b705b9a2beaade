"""Builds the command that runs a module of this package as an isolated Python process."""

import sys
from pathlib import Path
from typing import Final

_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
"""The folder that contains the package `trainingjob_sandbox`."""

_RUN: Final = (
    "import sys; sys.path.append(sys.argv.pop(1)); import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package; it can import only that and the standard library.

    It is isolated (`-I -S`), because it runs in a pod's folder and with the pod's HOME, and must not
    import anything from there. Isolation also hides the user's site-packages and PYTHONPATH, where
    this package may be installed, so its path is passed as an argument. Without site-packages the
    process also starts faster.
    """
    return [sys.executable, "-I", "-S", "-c", _RUN, _PACKAGES, module, *arguments]
