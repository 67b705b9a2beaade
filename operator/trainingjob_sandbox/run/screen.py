"""The output of a run: the interface `Screen`, and its implementation in plain lines of text."""

import sys
import time
from io import TextIOWrapper
from typing import Protocol, TextIO

from trainingjob_sandbox.run.view import JobView, changes


class Screen(Protocol):
    """Shows a run in progress."""

    def say(self, text: str) -> None:
        """Print a message of `trainingjob run` itself."""

    def log(self, rank: int, line: str) -> None:
        """Print a line of a rank's log."""

    def show(self, view: JobView) -> None:
        """Show the current state of the job."""

    def tick(self) -> None:
        """Redraw what depends on the current time; called periodically."""

    def close(self) -> None:
        """Stop showing the job; `say` still works. May be called more than once."""


class PlainScreen:
    """Prints lines of text: messages with the seconds since the start, log lines with their rank."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._started = time.monotonic()
        self._view: JobView | None = None

    def say(self, text: str) -> None:
        """Print a message of `trainingjob run` itself."""
        self._write(f"{time.monotonic() - self._started:6.1f} s  {text}")

    def log(self, rank: int, line: str) -> None:
        """Print a line of a rank's log."""
        self._write(f"[{rank}] {line}")

    def show(self, view: JobView) -> None:
        """Print what has changed since the last view."""
        before = self._view or JobView(view.name, phase="")
        self._view = view
        for change in changes(before, view):
            self.say(f"{view.name}: {change}")

    def tick(self) -> None:
        """Do nothing: no line depends on the current time."""

    def close(self) -> None:
        """Do nothing: every line is already written."""

    def _write(self, line: str) -> None:
        # Flush each line, so that the reader of a pipe sees it at once.
        print(line, file=self._out, flush=True)


def open_screen() -> Screen:
    """Return a `LiveScreen` on a terminal that supports it, else a `PlainScreen`."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A log may have characters that the terminal's encoding lacks: replace them, do not fail.
        sys.stdout.reconfigure(errors="replace")
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - lines need no rich

        from trainingjob_sandbox.run.live import LiveScreen  # noqa: PLC0415

        console = Console(highlight=False)
        if not console.is_dumb_terminal:
            return LiveScreen(console)
    return PlainScreen(sys.stdout)
