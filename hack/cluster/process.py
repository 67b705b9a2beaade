"""Starts and reliably stops one program of the control plane, with its log in a file."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

SPARING: Final = {"GOGC": "400", "GOMEMLIMIT": "800MiB"}
"""Variables for less frequent garbage collection in Go programs: with about 300 MB more memory an API server uses
a sixth less CPU, and kubectl and Helm a fifth. Above the (soft) limit, garbage is collected as often as needed."""

_TAIL_BYTES: Final = 2000


class StartError(Exception):
    """A program did not become ready. The message has the end of its log."""


class Program:
    """A child process that does not outlive the thread that started it (on Linux)."""

    def __init__(
        self, argv: Sequence[str | Path], log: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            argv: the program's path, and its arguments.
            log: gets its standard output and error; an earlier log is continued.
            variables: added to our environment, or replacing its variables.
        """
        self._name: Final = Path(argv[0]).name
        self._log: Final = log
        with log.open("ab") as out:
            self._process: Final = subprocess.Popen(
                [*tether(), *(str(word) for word in argv)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | (variables or {}),
                # Its own process group: a Ctrl-C would reach all programs at once, and they must stop in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def wait_until(self, holds: Callable[[], bool], *, patience_s: float) -> None:
        """Wait until it is ready.

        Raises:
            StartError: it has ended, or is not ready after `patience_s` seconds.
        """
        deadline = time.monotonic() + patience_s
        while not holds():
            if (code := self._process.poll()) is not None:
                raise StartError(f"{self._name} ended with {code}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self._name} is not up after {patience_s:.0f} s: "
                                 f"{self._last_words()}")  # fmt: skip
            time.sleep(0.1)

    def stop(self, patience_s: float = 10.0) -> None:
        """Send SIGTERM, and after `patience_s` seconds SIGKILL."""
        self._process.terminate()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        return self._log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")


def tether(signal: str = "KILL") -> list[str]:
    """Return a command prefix by which the program gets this signal when its starter dies.

    The kernel sends it when the thread that started the program ends, however that ends.
    """
    return ["setpriv", "--pdeathsig", signal] if shutil.which("setpriv") else []
