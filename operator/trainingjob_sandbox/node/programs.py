"""Starts modules of the node's own as processes."""

import sys
from pathlib import Path
from typing import Final

_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
"""The folder that our package lies in, wherever it was installed."""

_RUN: Final = (
    "import sys; sys.path.append(sys.argv.pop(1)); import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def own_program(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours; it may import the standard library and us.

    Isolated, because it runs in a pod's folder and with its HOME: nothing there may be imported.
    That would hide ourselves as well where we come from the user's own site-packages or from
    PYTHONPATH, so it is given the path of our package; without site-packages it starts sooner, too.
    """
    return [sys.executable, "-I", "-S", "-c", _RUN, _PACKAGES, module, *arguments]
