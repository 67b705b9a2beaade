"""Shows a run on a terminal: logs scroll above a live table of the job and its ranks."""

from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainingjob_sandbox.run.view import JobView, RankView

_MAX_ROWS: Final = 16
"""Rows of the table: one higher than the window could not be drawn."""

_RANK_STYLES: Final = ("cyan", "magenta", "yellow", "green", "blue", "bright_cyan")
_PHASE_STYLES: Final = {
    "Running": "blue",
    "Succeeded": "green",
    "Failed": "red",
    "Cancelled": "yellow",
    "Restarting": "yellow",
    "Stopping": "yellow",
    "Terminating": "yellow",
}


class LiveScreen:
    """The `Screen` of a terminal, drawn with rich. `close` leaves the last table on the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view: JobView | None = None
        # Refreshed by our event loop: rich's own thread would draw a view while it is being replaced.
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def say(self, text: str) -> None:
        """Print a message of `trainingjob run` itself."""
        style = "dim" if self._live.is_started else ""  # the final summary is not dimmed
        self._console.print(Text(text, style=style), soft_wrap=True)

    def log(self, rank: int, line: str) -> None:
        """Print a line of a rank's log."""
        style = _RANK_STYLES[rank % len(_RANK_STYLES)]
        self._console.print(Text.assemble((f"[{rank}] ", style), line), soft_wrap=True)

    def show(self, view: JobView) -> None:
        """Show the current state of the job."""
        self._view = view
        self.tick()

    def tick(self) -> None:
        """Redraw the table, for the ages."""
        if self._view is not None:
            self._live.update(picture(self._view, now=datetime.now(UTC)), refresh=True)

    def close(self) -> None:
        """Stop the live display and restore the terminal; `say` still works."""
        self.tick()
        self._view = None
        self._live.stop()


def picture(view: JobView, *, now: datetime) -> Group:
    """Render the job, the problems that keep it from running, and its ranks."""
    head = Text.assemble(
        (view.name, "bold"),
        "  ",
        (view.phase, _PHASE_STYLES.get(view.phase, "")),
        f"  attempt {view.attempt}",
        f"  restarts {view.restarts}" if view.restarts else "",
    )
    troubles = [Text(trouble, style="yellow") for trouble in view.troubles]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("rank", "pod", "phase", "exit", "age"):
        table.add_column(column, justify="right" if column in {"rank", "exit", "age"} else "left")
    for rank in view.ranks[:_MAX_ROWS]:
        table.add_row(*_cells(rank, now))
    rest = len(view.ranks) - _MAX_ROWS
    more = [Text(f"and {rest} more ranks", style="dim")] if rest > 0 else []
    return Group(Text(), head, *troubles, table, *more)


def _cells(rank: RankView, now: datetime) -> tuple[Text, ...]:
    age = ""
    if rank.started is not None:
        age = f"{max(0, round(((rank.ended or now) - rank.started).total_seconds()))} s"
    return (
        Text(str(rank.rank), style=_RANK_STYLES[rank.rank % len(_RANK_STYLES)]),
        Text(rank.pod),
        Text(rank.phase, style=_PHASE_STYLES.get(rank.phase, "")),
        Text("" if rank.exit_code is None else str(rank.exit_code)),
        Text(age),
    )
