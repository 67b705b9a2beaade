"""One program of the control plane: started with its log in a file, stopped for sure."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

SPARING: Final = {"GOGC": "400", "GOMEMLIMIT": "800MiB"}
"""Variables by which a Go program collects its garbage less often: for some 300 MB more an API server takes
a sixth less CPU, and kubectl and Helm a fifth. Above the limit (which is soft) it collects as often as it needs to."""

_TAIL_BYTES: Final = 2000


class StartError(Exception):
    """A program did not come up. The message has the end of its log."""


class Program:
    """A child process that does not outlive the thread that started it (on Linux)."""

    def __init__(
        self, argv: Sequence[str | Path], log: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        """Start it.

        Args:
            argv: the program's path, and its arguments.
            log: gets its standard output and error; an earlier log is continued.
            variables: what its environment has beside, or in place of, ours.
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
                # A Ctrl-C at the terminal reaches every process of its group; the order is ours.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until(self, holds: Callable[[], bool], *, patience_s: float) -> None:
        """Wait until it is up.

        Raises:
            StartError: it has ended, or is not up after `patience_s` seconds.
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
        """SIGTERM, and after `patience_s` seconds SIGKILL."""
        self._process.terminate()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        return self._log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")


def tether(signal: str = "KILL") -> list[str]:
    """Return what a command begins with, so that it gets this signal when its starter dies.

    The kernel sends it when the thread that started the program ends, however that ends.
    """
    return ["setpriv", "--pdeathsig", signal] if shutil.which("setpriv") else []
