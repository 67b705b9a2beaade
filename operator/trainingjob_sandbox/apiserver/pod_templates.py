"""PodTemplates: a pod's template on its own, judged as a pod is."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from trainingjob_sandbox.apiserver.errors import ApiError, Cause, bad_request
from trainingjob_sandbox.apiserver.pods import PodStrategy
from trainingjob_sandbox.apiserver.resources import Strategy, copy_json
from trainingjob_sandbox.apiserver.storage import JsonObject

_UNREADABLE_POD: Final = 'Pod in version "v1" cannot be handled as a Pod'
_UNREADABLE: Final = 'PodTemplate in version "v1" cannot be handled as a PodTemplate'


class PodTemplateStrategy(Strategy):
    """Reads, completes and judges the pod in `template`, which is all that there is to it."""

    def __init__(self) -> None:
        self._pods: Final = PodStrategy()

    def decode(self, obj: Mapping[str, Any], unknown: list[str]) -> JsonObject:
        """Return a copy; what cannot be read as a pod's cannot be read here."""
        copied: JsonObject = copy_json(obj)
        try:
            copied["template"] = self._pods.decode(copied.get("template") or {}, unknown)
        except ApiError as error:
            raise bad_request(str(error).replace(_UNREADABLE_POD, _UNREADABLE)) from None
        return copied

    def prepare_create(self, obj: JsonObject) -> None:
        """Fill in the defaults of the pod's spec."""
        self._pods.prepare_create(obj["template"])
        del obj["template"]["status"]

    def validate(self, new: JsonObject, old: JsonObject | None) -> list[Cause]:
        """Judge the pod; the names of its fields begin with `template`."""
        causes = self._pods.validate(new["template"], None)
        return [replace(cause, field=f"template.{cause.field}") for cause in causes]
