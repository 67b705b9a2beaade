"""How the service logs: one JSON object a line for machines, or plain lines for people."""

import json
import logging
import sys
from datetime import UTC, datetime


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


def configure_logging(format_name: str | None, level: str) -> None:
    """Send all logs to standard error, ours from `level` up, those of libraries from warning up.

    Nothing that a library logs below a warning can be trusted to leave out what a request carried.
    """
    handler = logging.StreamHandler(sys.stderr)
    if format_name == "json" or (format_name is None and not sys.stderr.isatty()):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("trainingjob_console").setLevel(level.upper())
