"""Builds the settings of a run's console process, and reads its URL from its log."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from trainingjob_sandbox.run.records import RecordService

_SHARED: Final = {"TRAININGJOB_VOLUME__MAX_AGE": "TRAININGJOB_CONSOLE_LOG_MAX_AGE"}
_MODULES: Final = ("starlette", "trainingjob_console", "uvicorn", "websockets")
_OPERATOR: Final = re.compile(r"probes are served on ([^\s\"]+)")
_ADDRESS: Final = re.compile(r"the console is on (http://[^/\s\"]+/)")


def is_installed() -> bool:
    """True if the console and its dependencies can be imported."""
    return all(find_spec(name) is not None for name in _MODULES)


def operator_in(log: str) -> str:
    """Return the address of the operator's metrics from its log; empty if it is not logged yet."""
    found = _OPERATOR.search(log)
    return found[1] if found else ""


def operator_settings(log: str) -> dict[str, str]:
    """Return the console's setting for the operator's metrics, read from the operator's log."""
    return {"TRAININGJOB_CONSOLE_OPERATOR_METRICS": f"http://{operator_in(log)}/metrics"}


def console_settings(
    kubeconfig: Path,
    records: RecordService | None,
    volume: Path | None,
    operator: Mapping[str, str],
) -> dict[str, str]:
    """Return the console's environment variables. It listens on loopback only, so it needs no log-in.

    Args:
        kubeconfig: the sandbox's kubeconfig.
        records: the record service, for the history; None if there is none.
        volume: the log volume; None if there is none.
        operator: the operator's settings; those of `_SHARED` apply to the console too.
    """
    settings = {
        "TRAININGJOB_CONSOLE_ADDRESS": "127.0.0.1:0",
        "TRAININGJOB_CONSOLE_AUTH": "none",
        "TRAININGJOB_CONSOLE_KUBECONFIG": str(kubeconfig),
        "TRAININGJOB_CONSOLE_LOG_FORMAT": "json",
    }
    for theirs, ours in _SHARED.items():
        if theirs in operator:
            settings[ours] = operator[theirs]
    if volume is not None:
        settings["TRAININGJOB_CONSOLE_LOG_VOLUME"] = str(volume)
    if records is not None:
        settings["TRAININGJOB_CONSOLE_RECORDS_URL"] = records.url
        settings["TRAININGJOB_CONSOLE_RECORDS_TOKEN_FILE"] = str(records.token_file)
    return settings


def address_in(log: str) -> str:
    """Return the console's URL from its log; empty if it is not logged yet."""
    found = _ADDRESS.search(log)
    return found[1] if found else ""
