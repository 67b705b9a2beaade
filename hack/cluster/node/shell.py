"""Runs this machine's programs that a node needs, and reports their output on a failure."""

import subprocess
from pathlib import Path
from typing import Final

DEBIAN: Final = "containerd runc containernetworking-plugins iptables iproute2 podman"
"""The Debian packages that a node needs."""


class NodeError(Exception):
    """A real node cannot run here. The message says what to do."""


def run(*argv: str | Path) -> str:
    """Run a program to its end; return what it prints.

    Raises:
        NodeError: it is not installed, or it failed; the message has its output.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    except FileNotFoundError as error:
        raise NodeError(f"{words[0]} is missing: on Debian, apt-get install {DEBIAN}") from error
    if done.returncode != 0:
        raise NodeError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
