"""Parses DeleteOptions and `dryRun`, and checks the preconditions of a deletion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from trainingjob_sandbox.apiserver import errors
from trainingjob_sandbox.apiserver.names import Identity
from trainingjob_sandbox.apiserver.storage import JsonObject, Stored

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"

_FINALIZERS: Final = {"Foreground": (FOREGROUND,), "Orphan": (ORPHAN,)}
_POLICIES: Final = ("Foreground", "Background", "Orphan", "nil")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """A client's options for a deletion.

    Attributes:
        grace_seconds: grace period of a pod; None: from its spec.
        policy: propagation policy: `Background`, `Foreground` or `Orphan`.
        uid: precondition on the uid.
        resource_version: precondition on the resourceVersion.
        dry_run: change nothing.
    """

    grace_seconds: int | None = None
    policy: str = "Background"
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False

    @classmethod
    def read(cls, body: Mapping[str, Any], query: Mapping[str, str]) -> "DeleteOptions":
        """Parse options from the body, or, for options not in it, from the query.

        Raises:
            ApiError: 400 or 422, an option is not valid.
        """
        preconditions = body.get("preconditions") or {}
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        policy = body.get("propagationPolicy") or query.get("propagationPolicy")
        if policy not in (None, *_POLICIES[:3]):
            raise errors.invalid_options(
                "DeleteOptions", errors.unsupported("propagationPolicy", policy, _POLICIES)
            )
        if body.get("orphanDependents") or query.get("orphanDependents") == "true":
            policy = "Orphan"
        try:
            seconds = None if grace is None else int(grace)
        except (TypeError, ValueError) as error:
            raise errors.bad_request(f"gracePeriodSeconds: {grace!r} is no integer") from error
        return cls(
            grace_seconds=seconds,
            policy=policy or "Background",
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
            dry_run=is_dry_run(body.get("dryRun") or query.get("dryRun"), "DeleteOptions"),
        )

    def finalizers(self) -> tuple[str, ...]:
        """Return the finalizers that the propagation policy adds to the object."""
        return _FINALIZERS.get(self.policy, ())

    def check(self, identity: Identity, stored: Stored) -> None:
        """Check the preconditions.

        Raises:
            ApiError: 409, one does not.
        """
        name, what = stored.key.name, identity.qualified_kind
        if self.uid and self.uid != stored.uid:
            message = (
                f"the UID in the precondition ({self.uid}) does not match the UID in record "
                f"({stored.uid}). The object might have been deleted and then recreated"
            )
            raise errors.conflict(identity, name, message, what=what)
        if self.resource_version and self.resource_version != str(stored.revision):
            message = (
                f"the ResourceVersion in the precondition ({self.resource_version}) does not "
                f"match the ResourceVersion in record ({stored.revision}). The object might have "
                "been modified"
            )
            raise errors.conflict(identity, name, message, what=what)


class Deletion(NamedTuple):
    """The result of a deletion.

    Attributes:
        obj: the object's last state; or its current state if it still exists.
        removed: True if the object was removed; False if finalizers or its grace period keep it.
    """

    obj: JsonObject
    removed: bool


def is_dry_run(value: str | list[str] | None, options: str) -> bool:
    """Parse the option `dryRun`.

    Raises:
        ApiError: 422, it has a value other than `All`.
    """
    values = [value] if isinstance(value, str) else list(value or ())
    if not values:
        return False
    if values != ["All"]:
        raise errors.invalid_options(options, errors.unsupported("dryRun", values, ["All"]))
    return True
