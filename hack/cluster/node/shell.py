"""Programs of this machine that a node needs: run to their end, with their own words on a failure."""

import subprocess
from pathlib import Path
from typing import Final

DEBIAN: Final = "containerd runc containernetworking-plugins iptables iproute2 podman"
"""The packages that a node takes."""


class NodeError(Exception):
    """A real node cannot be had here. The message says what to do."""


def run(*argv: str | Path) -> str:
    """Run a program to its end; return what it prints.

    Raises:
        NodeError: it is not there, or it failed; the message has its own words.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    except FileNotFoundError as error:
        raise NodeError(f"{words[0]} is missing: on Debian, apt-get install {DEBIAN}") from error
    if done.returncode != 0:
        raise NodeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
