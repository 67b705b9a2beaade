"""A container's termination message: the file it wrote, or the end of its log."""

from pathlib import Path
from typing import Final

from trainingjob_sandbox.node.log_file import LogFile
from trainingjob_sandbox.node.names import Object

_MAX_FILE: Final = 4096
_MAX_LOG: Final = 2048
_MAX_LOG_LINES: Final = 80


def termination_message(container: Object, exit_code: int, file: Path | None, log: LogFile) -> str:
    """At most 4096 bytes of the file; with `FallbackToLogsOnError` the last 2048 of the log."""
    message = b""
    if file is not None and file.is_file():
        with file.open("rb") as written:
            message = written.read(_MAX_FILE)
    policy = container.get("terminationMessagePolicy")
    if not message and exit_code and policy == "FallbackToLogsOnError":
        start = max(log.tail(_MAX_LOG_LINES), log.end - _MAX_LOG)
        message, _ = log.read(start, _MAX_LOG)
    return message.decode("utf-8", "replace")
