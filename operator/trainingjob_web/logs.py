"""Configures logging: one JSON object a line, or plain text on a terminal; rate-limits warnings."""

import json
import logging
import sys
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

_LINES: Final = 10
_WINDOW_S: Final = 60.0


class JsonFormatter(logging.Formatter):
    """One JSON object a line. Control characters are escaped, so a message cannot forge a log line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a log record as JSON."""
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
    """Passes ten warnings or errors a minute from each line of code, and counts the suppressed ones.

    Any client that can reach the port can cause some of them without limit. The memory is bounded by
    the number of log calls in the code.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: Final[dict[tuple[str, int], tuple[float, int]]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be logged."""
        if record.levelno < logging.WARNING:
            return True
        call = (record.pathname, record.lineno)
        now = perf_counter()
        begun, count = self._windows.get(call, (now, 0))
        suppressed = 0
        if now - begun >= _WINDOW_S:
            suppressed = max(count - _LINES, 0)
            begun, count = now, 0
        self._windows[call] = (begun, count + 1)
        if count >= _LINES:
            return False
        if suppressed:
            record.msg = f"{record.getMessage()} (and {suppressed} more like it were suppressed)"
            record.args = None
        return True


def configure_logging(package: str, format_name: str | None, level: str) -> None:
    """Log to standard error: the package's messages from `level` up, all others from warning up.

    Messages of libraries below a warning could contain the content of requests, such as tokens.
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
