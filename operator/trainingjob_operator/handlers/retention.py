"""RetentionPolicies: the watch that keeps the book of them."""

from typing import Any, Protocol

import kopf

from trainingjob_operator.constants import GROUP, PLURAL_RETENTION_POLICIES, VERSION


class PolicyIntake(Protocol):
    """Where news of policies go."""

    def policy_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        """A RetentionPolicy was listed (None), ADDED, MODIFIED or DELETED."""
        ...


def register_policies(registry: kopf.OperatorRegistry, intake: PolicyIntake) -> None:
    """Watch RetentionPolicies."""

    @kopf.on.event(GROUP, VERSION, PLURAL_RETENTION_POLICIES, registry=registry, id="policy")
    async def on_policy(event: kopf.RawEvent, **_: Any) -> None:
        intake.policy_event(event["type"], dict(event["object"]))
