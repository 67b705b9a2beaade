"""The CEL validation rules of the CRDs, which the API server checks beyond types and bounds.

The rules use no Kubernetes extensions of CEL, so that any CEL evaluator can run them. Each rule is
placed as deep in the schema as possible. Then the API server names the exact path, estimates the cost
with the bounds around it, and accepts objects stored before the rule existed as long as that part
does not change (ratcheting).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from trainingjob_api.constants import (
    JOB_CONDITIONS,
    MAIN_CONTAINER,
    MAX_CONDITIONS_OF_OTHERS,
    MAX_NAME_LENGTH,
    POLICY_CONDITIONS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry of `x-kubernetes-validations`.

    Attributes:
        rule: the expression; `self` is the value at the rule's place in the schema, `oldSelf` the
            value before. A rule that uses `oldSelf` is checked on updates only.
        message: the error message, which tells how to fix the object.
        reason: the cause in the API server's response.
        field_path: the invalid field below `self`, such as `.spec.numNodes`.
    """

    rule: str
    message: str
    reason: Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"] = (
        "FieldValueInvalid"
    )
    field_path: str = ""

    def as_schema(self) -> dict[str, str]:
        """Return the rule as an entry of `x-kubernetes-validations`."""
        schema = {"rule": self.rule, "message": self.message, "reason": self.reason}
        if self.field_path:
            schema["fieldPath"] = self.field_path
        return schema


def extension(rules: Iterable[Rule]) -> dict[str, Any]:
    """Return the schema keyword with the rules; empty if there are none."""
    entries = [rule.as_schema() for rule in rules]
    return {"x-kubernetes-validations": entries} if entries else {}


# --- the TrainingJob as a whole --------------------------------------------------------------

JOB_NAME: Final = Rule(
    rule=(
        f"size(self.metadata.name) <= {MAX_NAME_LENGTH} && "
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    ),
    message=(
        "metadata.name must start with a lower-case letter, end with a letter or digit, and hold "
        f"only lower-case letters, digits and '-', at most {MAX_NAME_LENGTH} characters"
    ),
    field_path=".metadata.name",
)

_SETTLED: Final = (
    "has(oldSelf.spec.suspend) && oldSelf.spec.suspend && has(oldSelf.status) && "
    "has(oldSelf.status.conditions) && oldSelf.status.conditions.exists("
    "c, c.type == 'Suspended' && c.status == 'True') && "
    "(!has(oldSelf.status.active) || oldSelf.status.active == 0) && "
    "(!has(oldSelf.status.terminating) || oldSelf.status.terminating == 0)"
)
"""The old object is suspended, its status says so, and it has no pods left."""


def _unless_settled(field: str, unchanged: str) -> Rule:
    return Rule(
        rule=f"{unchanged} || ({_SETTLED})",
        message=(
            f"{field} can change only while the job is suspended and none of its pods is left: "
            "set suspend to true and wait for the condition Suspended, or create a new job"
        ),
        reason="FieldValueForbidden",
        field_path=f".spec.{field}",
    )


_STATUS_IS_WRITTEN: Final = (
    "has(self.status) != has(oldSelf.status) || "
    "(has(self.status) && self.status != oldSelf.status)"
)
"""True for a write of the status subresource, which cannot change the spec.

The API server ensures that before it evaluates the rules, and also that other writes do not change
the status. This test comes first because comparing two templates costs more than all other rules
together, and a job's status is written more often than its spec.
"""

SHAPE_IS_IMMUTABLE: Final = (
    _unless_settled(
        "template", f"{_STATUS_IS_WRITTEN} || self.spec.template == oldSelf.spec.template"
    ),
    _unless_settled("numNodes", "self.spec.numNodes == oldSelf.spec.numNodes"),
    _unless_settled(
        "numProcPerNode",
        "(has(self.spec.numProcPerNode) ? self.spec.numProcPerNode : 0) == "
        "(has(oldSelf.spec.numProcPerNode) ? oldSelf.spec.numProcPerNode : 0)",
    ),
    _unless_settled("framework", "self.spec.framework == oldSelf.spec.framework"),
)
"""Rules on the whole object, because a rule on `spec` cannot access `status`."""

# --- spec ------------------------------------------------------------------------------------

MANAGED_BY_IS_IMMUTABLE: Final = Rule(
    rule=(
        "(has(self.managedBy) ? self.managedBy : '') == "
        "(has(oldSelf.managedBy) ? oldSelf.managedBy : '')"
    ),
    message="managedBy cannot be changed after creation: create a new job instead",
    reason="FieldValueForbidden",
    field_path=".managedBy",
)

RENDEZVOUS_PORT_IS_IMMUTABLE: Final = Rule(
    rule=(
        "(has(self.rendezvousPort) ? self.rendezvousPort : 0) == "
        "(has(oldSelf.rendezvousPort) ? oldSelf.rendezvousPort : 0)"
    ),
    message="rendezvousPort cannot be changed after creation: create a new job instead",
    reason="FieldValueForbidden",
    field_path=".rendezvousPort",
)
"""The headless Service contains the port, and is created only once."""

SHUTDOWN_IS_NOT_WEAKENED: Final = Rule(
    rule=(
        "!has(oldSelf.shutdown) || oldSelf.shutdown != 'Terminate' || "
        "!has(self.shutdown) || self.shutdown == 'Terminate'"
    ),
    message="shutdown cannot go back from Terminate to Stop: leave it, or remove it",
    reason="FieldValueForbidden",
    field_path=".shutdown",
)

LOGS_NEED_A_CLAIM: Final = Rule(
    rule="!has(self.volume) || !self.volume || has(self.claimName)",
    message="set claimName to a PersistentVolumeClaim of the job's namespace, or volume to false",
    reason="FieldValueRequired",
    field_path=".claimName",
)

ONE_KIND_OF_MATCH: Final = Rule(
    rule="has(self.onExitCodes) != has(self.onPodConditions)",
    message="each rule needs either onExitCodes or onPodConditions, and not both",
)

ZERO_IS_NO_FAILURE: Final = Rule(
    rule="self.operator != 'In' || !(0 in self.values)",
    message="remove 0 from values: exit code 0 is a success and can never match In",
    field_path=".values",
)

# --- the pod template ------------------------------------------------------------------------

NEVER_RESTARTED: Final = Rule(
    rule="!has(self.restartPolicy) || self.restartPolicy == 'Never'",
    message=(
        "restartPolicy must be Never or absent: all ranks restart together, see spec.backoffLimit"
    ),
    field_path=".restartPolicy",
)

HAS_MAIN_CONTAINER: Final = Rule(
    rule=f"size(self.containers) == 1 || self.containers.exists(c, c.name == '{MAIN_CONTAINER}')",
    message=(
        f"with several containers one must be called {MAIN_CONTAINER}: its exit decides the job"
    ),
    field_path=".containers",
)

MAIN_IS_NEVER_RESTARTED: Final = Rule(
    rule=(
        f"self.containers.all(c, (size(self.containers) > 1 && c.name != '{MAIN_CONTAINER}') || "
        "((!has(c.restartPolicy) || c.restartPolicy == 'Never') && !has(c.restartPolicyRules)))"
    ),
    message=(
        "remove restartPolicy and restartPolicyRules from the main container: its exit decides the "
        "job, and all ranks restart together, see spec.backoffLimit"
    ),
    reason="FieldValueForbidden",
    field_path=".containers",
)

RESERVED_VARIABLES: Final = (
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
    "TF_CONFIG",
    "DMLC_TRACKER_URI",
    "DMLC_TRACKER_PORT",
    "DMLC_TASK_ID",
    "DMLC_NUM_WORKER",
    "TRAININGJOB_NAME",
    "TRAININGJOB_UID",
    "TRAININGJOB_ATTEMPT",
    "TRAININGJOB_DIR",
)
"""Environment variables that the operator sets for each rank, in addition to those with `PET_`."""

VARIABLE_IS_FREE: Final = Rule(
    rule=(
        "!self.startsWith('PET_') && "
        f"!(self in [{', '.join(repr(name) for name in RESERVED_VARIABLES)}])"
    ),
    message=(
        "remove this variable: the operator sets it for each rank (reserved are RANK, WORLD_SIZE, "
        "MASTER_ADDR, MASTER_PORT, TF_CONFIG and those of torchrun (PET_*), JAX, XGBoost (DMLC_*) "
        "and TrainingJob that ranks receive)"
    ),
    reason="FieldValueForbidden",
)

# --- status ----------------------------------------------------------------------------------

_OURS: Final = ", ".join(repr(kind) for kind in (*JOB_CONDITIONS, *POLICY_CONDITIONS))

ROOM_FOR_OUR_CONDITIONS: Final = Rule(
    rule=f"self.filter(c, !(c.type in [{_OURS}])).size() <= {MAX_CONDITIONS_OF_OTHERS}",
    message=(
        f"remove some: at most {MAX_CONDITIONS_OF_OTHERS} conditions can have types other than the "
        "operator's own, so that there is always room for its own"
    ),
)
"""If another controller fills the list, its write is rejected, and not the operator's next one."""

# --- RetentionPolicy -------------------------------------------------------------------------

POLICY_NAME: Final = Rule(
    rule="self.metadata.name == 'default'",
    message="metadata.name must be default: a namespace has one retention policy",
    field_path=".metadata.name",
)
