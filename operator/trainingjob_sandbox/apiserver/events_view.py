"""One store of events, two ways to write them: `v1` and `events.k8s.io/v1`."""

from collections.abc import Mapping
from typing import Any, Final

from trainingjob_sandbox.apiserver.resources import View
from trainingjob_sandbox.apiserver.storage import JsonObject

_RENAMED: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
"""Fields of the core's events, and what they are called in the other group."""

_BACK: Final = {new: old for old, new in _RENAMED.items()}


def _rename(event: Mapping[str, Any], names: Mapping[str, str], version: str) -> JsonObject:
    renamed = {names.get(name, name): value for name, value in event.items()}
    return {**renamed, "apiVersion": version}


VIEW: Final = View(
    encode=lambda event: _rename(event, _RENAMED, "events.k8s.io/v1"),
    decode=lambda event: _rename(event, _BACK, "v1"),
)
