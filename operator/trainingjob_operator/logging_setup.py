"""Configures logging: JSON lines or plain text to standard error, with a rate limit for libraries."""

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
"""The most lines that a library's logger writes in a minute."""
_MINUTE_S: Final = 60.0
_LOGGERS: Final = 256
_OURS: Final = "trainingjob_operator"


class LibraryLimit(logging.Filter):
    """Rate limit: each library's logger writes `LINES` lines a minute; further ones are counted.

    Clients of the process can often make a library log, maybe the same error thousands of times in
    a second. Our own lines are never dropped: some are the only copy of a record.

    Bound: `_LOGGERS` loggers; at the limit all counts are reset, and each may write `LINES` again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._minutes: Final[dict[str, _Minute]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True to write the line; the last one before a gap and the first one after say so."""
        if record.name.split(".", 1)[0] == _OURS:
            return True
        minute = self._minutes.get(record.name)
        if minute is None and len(self._minutes) >= _LOGGERS:
            self._minutes.clear()
        if minute is None or abs(record.created - minute.began_at) >= _MINUTE_S:
            if minute is not None and minute.left_out:
                _append(record, f"({minute.left_out} lines of {record.name} were dropped)")
            minute = self._minutes[record.name] = _Minute(record.created)
        minute.lines += 1
        minute.left_out = max(0, minute.lines - LINES)
        if minute.lines == LINES:
            _append(record, f"(further lines of {record.name} are dropped for a minute)")
        return not minute.left_out


@dataclass(slots=True)
class _Minute:
    began_at: float
    lines: int = 0
    left_out: int = 0


def _append(record: logging.LogRecord, note: str) -> None:
    record.msg, record.args = f"{record.getMessage()} {note}", ()


def configure_logging(format_name: str | None, level: str) -> None:
    """Send all logs to standard error: ours from `level` on, those of libraries from warning on."""
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
