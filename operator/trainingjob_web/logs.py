"""Logging: one JSON object a line for machines, or plain lines for people."""

import json
import logging
import sys
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

_LINES: Final = 10
_WINDOW_S: Final = 60.0


class JsonFormatter(logging.Formatter):
    """One JSON object a line: control characters are escaped, so no text can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class RateLimitFilter(logging.Filter):
    """Lets ten warnings or errors a minute through from each line of code, and counts the others.

    Any client that can reach the port can cause some of them, as often as it likes. The memory is bounded
    by the code that logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: Final[dict[tuple[str, int], tuple[float, int]]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be logged."""
        if record.levelno < logging.WARNING:
            return True
        place = (record.pathname, record.lineno)
        now = perf_counter()
        begun, count = self._windows.get(place, (now, 0))
        left_out = 0
        if now - begun >= _WINDOW_S:
            left_out = max(count - _LINES, 0)
            begun, count = now, 0
        self._windows[place] = (begun, count + 1)
        if count >= _LINES:
            return False
        if left_out:
            record.msg = (
                f"{record.getMessage()} (and {left_out} more like it, which were left out)"
            )
            record.args = None
        return True


def configure_logging(package: str, format_name: str | None, level: str) -> None:
    """Send all logs to standard error, the package's from `level` up, all others from warning up.

    Nothing that a library logs below a warning can be trusted to leave out what a request carried.
    """
    handler = logging.StreamHandler(sys.stderr)
    if format_name == "json" or (format_name is None and not sys.stderr.isatty()):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        )
    handler.addFilter(RateLimitFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(package).setLevel(level.upper())
