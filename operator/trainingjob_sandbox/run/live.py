"""The live view on a terminal: output scrolls above, the job and its ranks stay below."""

from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainingjob_sandbox.run.view import JobView, RankView

_MAX_ROWS: Final = 16
"""Ranks that are shown one by one; a table longer than the window could not be drawn."""

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
    """Draws on a rich console. `close` leaves the last picture where it is, and may come twice."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view: JobView | None = None
        # Refreshed by our own loop: rich's thread would draw a view while it is being replaced.
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def say(self, text: str) -> None:
        """A sentence of ours."""
        style = "dim" if self._live.is_started else ""  # the last words are not an aside
        self._console.print(Text(text, style=style), soft_wrap=True)

    def log(self, rank: int, line: str) -> None:
        """A line that a rank has written."""
        style = _RANK_STYLES[rank % len(_RANK_STYLES)]
        self._console.print(Text.assemble((f"[{rank}] ", style), line), soft_wrap=True)

    def show(self, view: JobView) -> None:
        """The job as it is now."""
        self._view = view
        self.tick()

    def tick(self) -> None:
        """Draw the ages anew."""
        if self._view is not None:
            self._live.update(picture(self._view, now=datetime.now(UTC)), refresh=True)

    def close(self) -> None:
        """Leave the terminal as a shell expects it; sentences may still follow."""
        self.tick()
        self._view = None
        self._live.stop()


def picture(view: JobView, *, now: datetime) -> Group:
    """The job, what keeps it from running, and its ranks."""
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
