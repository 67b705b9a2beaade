"""Wire types of `trainingjob.dev/v1alpha1`, and the CRDs generated from them.

`validation` reads what came from the API server; `crd` makes what the API server is given, and is
imported on demand because it loads the schema of the pod template.
"""

from trainingjob_operator.api.meta import Condition
from trainingjob_operator.api.retention_policy import (
    RetentionPolicy,
    RetentionPolicySpec,
    RetentionPolicyStatus,
)
from trainingjob_operator.api.training_job import (
    Logs,
    OnExitCodes,
    OnPodCondition,
    PodFailurePolicy,
    PodFailurePolicyRule,
    TrainingJob,
    TrainingJobSpec,
)
from trainingjob_operator.api.training_job_status import (
    LogsStatus,
    ShutdownStatus,
    TrainingJobStatus,
)

__all__ = [
    "Condition",
    "Logs",
    "LogsStatus",
    "OnExitCodes",
    "OnPodCondition",
    "PodFailurePolicy",
    "PodFailurePolicyRule",
    "RetentionPolicy",
    "RetentionPolicySpec",
    "RetentionPolicyStatus",
    "ShutdownStatus",
    "TrainingJob",
    "TrainingJobSpec",
    "TrainingJobStatus",
]
