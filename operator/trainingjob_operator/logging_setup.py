"""How the process logs: one JSON object a line for machines, or plain lines for people."""

import logging
import sys
from dataclasses import dataclass
from typing import Final

from trainingjob_web.logs import JsonFormatter

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


LINES: Final = 60
"""Lines that a library's logger writes in a minute at most."""
_MINUTE_S: Final = 60.0
_LOGGERS: Final = 256
_OURS: Final = "trainingjob_operator"


class LibraryLimit(logging.Filter):
    """Lets each library's logger write `LINES` lines a minute, and counts the others.

    What makes a library log is often in the hand of whoever talks to the process, and it may log
    the same fault thousands of times in a second. Our own lines are never left out: some are all
    that is left of a record.

    Bound: `_LOGGERS` loggers; at the limit all are forgotten, and each may write `LINES` again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._minutes: Final[dict[str, _Minute]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written; the last one before a gap, and the next, say so."""
        if record.name.split(".", 1)[0] == _OURS:
            return True
        minute = self._minutes.get(record.name)
        if minute is None and len(self._minutes) >= _LOGGERS:
            self._minutes.clear()
        if minute is None or abs(record.created - minute.began_at) >= _MINUTE_S:
            if minute is not None and minute.left_out:
                _append(record, f"({minute.left_out} lines of {record.name} were left out)")
            minute = self._minutes[record.name] = _Minute(record.created)
        minute.lines += 1
        minute.left_out = max(0, minute.lines - LINES)
        if minute.lines == LINES:
            _append(record, f"(further lines of {record.name} are left out for a minute)")
        return not minute.left_out


@dataclass(slots=True)
class _Minute:
    began_at: float
    lines: int = 0
    left_out: int = 0


def _append(record: logging.LogRecord, note: str) -> None:
    record.msg, record.args = f"{record.getMessage()} {note}", ()


def configure_logging(format_name: str | None, level: str) -> None:
    """Send all logs to standard error, ours from `level` up, those of libraries from warning up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(LibraryLimit())
    if format_name == "json" or (format_name is None and not sys.stderr.isatty()):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(_LEVELS[level])
    if level == "debug":
        logging.getLogger("kopf").setLevel(logging.INFO)
