"""The screens that show a run: what each of them can do, and the one without a terminal."""

import sys
import time
from io import TextIOWrapper
from typing import Protocol, TextIO

from trainingjob_sandbox.run.view import JobView, changes


class Screen(Protocol):
    """Shows a run while it goes on."""

    def say(self, text: str) -> None:
        """A sentence of ours."""

    def log(self, rank: int, line: str) -> None:
        """A line that a rank has written."""

    def show(self, view: JobView) -> None:
        """The job as it is now."""

    def tick(self) -> None:
        """Some time has passed: what shows ages may show them anew."""

    def close(self) -> None:
        """The job is not shown any more; sentences may still follow. May come twice."""


class PlainScreen:
    """Lines of text: changes with the seconds since the start, output with its rank."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._started = time.monotonic()
        self._view: JobView | None = None

    def say(self, text: str) -> None:
        """A sentence of ours."""
        self._write(f"{time.monotonic() - self._started:6.1f} s  {text}")

    def log(self, rank: int, line: str) -> None:
        """A line that a rank has written."""
        self._write(f"[{rank}] {line}")

    def show(self, view: JobView) -> None:
        """Show what is new about the job, if anything."""
        before = self._view or JobView(view.name, phase="")
        self._view = view
        for change in changes(before, view):
            self.say(f"{view.name}: {change}")

    def tick(self) -> None:
        """Time alone changes nothing here."""

    def close(self) -> None:
        """Nothing is pending."""

    def _write(self, line: str) -> None:
        # Flushed line by line: whoever reads a pipe wants to see it as it comes.
        print(line, file=self._out, flush=True)


def open_screen() -> Screen:
    """A live view on a terminal that can draw one, else lines."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A rank may write what the user's terminal cannot show: no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - lines need no rich

        from trainingjob_sandbox.run.live import LiveScreen  # noqa: PLC0415

        console = Console(highlight=False)
        if not console.is_dumb_terminal:
            return LiveScreen(console)
    return PlainScreen(sys.stdout)
