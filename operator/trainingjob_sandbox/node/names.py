"""Names by which the node, its starter and the API server know each other, and which pods are ours."""

from typing import Any, Final

from trainingjob_api.constants import GROUP, KIND_TRAINING_JOB, LABEL_JOB_UID

TAINT: Final = "trainingjob.dev/sandbox"
"""Keeps a real scheduler's ordinary pods away. Also the label of the Node object."""

ANNOTATION_KUBELET_SCHEME: Final = "trainingjob.dev/sandbox-kubelet-scheme"
"""On the Node object: `http` or `https`, how the log endpoint is spoken to."""

LOOPBACK: Final = "127.0.0.1"
NONCE_VARIABLE: Final = "TRAININGJOB_SANDBOX_NONCE"
"""Hands the mark's nonce to the node: `ps` shows command lines to everybody, environments not."""

Object = dict[str, Any]


def refusal(pod: Object) -> str:
    """Return why this node may not run the pod; "" if it may.

    It runs what a template names with its user's own rights, so it takes nothing but the pods of
    TrainingJobs: labelled with the job's uid, and controlled by the job of that very uid.
    """
    metadata = pod.get("metadata") or {}
    uid = (metadata.get("labels") or {}).get(LABEL_JOB_UID)
    if not uid:
        return f"this node runs pods of TrainingJobs only: the label {LABEL_JOB_UID} is missing"
    for owner in metadata.get("ownerReferences") or []:
        is_job = owner.get("kind") == KIND_TRAINING_JOB and str(
            owner.get("apiVersion")
        ).startswith(f"{GROUP}/")
        if owner.get("controller") and is_job and owner.get("uid") == uid:
            return ""
    return f"this node runs pods of TrainingJobs only: no TrainingJob {uid} controls this one"
