"""`python -m hack.newcomer`: tests the first steps of a user who has only a clone, Python and make.

On a temporary machine it runs and times `make` and `make demo`, also where nothing can be mounted, as in
a container, and checks the message if Python's venv is missing. It runs the last commit, not the working tree.
"""

import sys
import time
from pathlib import Path
from typing import Final

from hack.image.base import BaseError
from hack.newcomer.machine import Machine, MachineError

ROOT: Final = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the steps; return 1 if something differs from the README."""
    try:
        with Machine() as machine:
            machine.clone(ROOT)
            return _demo(machine) or _without_venv(machine)
    except (BaseError, MachineError) as error:
        say(str(error))
        return 1


def _demo(machine: Machine) -> int:
    say("make, and make demo, on a machine with Python, venv and make")
    if machine.run("make").returncode != 0:
        return _failed("`make` does not show what there is")
    begun = time.monotonic()
    if machine.run("make demo").returncode != 0:
        return _failed("`make demo` failed")
    say(f"make demo took {time.monotonic() - begun:.0f} s with nothing there")
    say("make demo again, where user namespaces are refused")
    begun = time.monotonic()
    if machine.run("make demo", confined=True).returncode != 0:
        return _failed("`make demo` failed")
    say(f"make demo took {time.monotonic() - begun:.0f} s the second time")
    return 0


def _without_venv(machine: Machine) -> int:
    say("make demo where python3-venv is missing")
    machine.without("usr/lib/python3*/ensurepip", "home/*/trainingjob-operator/.venv")
    done = machine.run("make demo")
    if done.returncode == 0 or "apt-get install python3 python3-venv" not in done.stdout:
        return _failed("`make demo` does not say what is missing")
    return 0


def _failed(sentence: str) -> int:
    say(sentence)
    return 1


def say(line: str) -> None:
    """Print a line of progress."""
    print(f"newcomer: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
