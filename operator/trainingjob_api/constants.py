"""Public constants of the API: group, labels, annotations, conditions, reasons and limits.

Other programs rely on them. Rename nothing without a new API version.
"""

from typing import Final

GROUP: Final = "trainingjob.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

KIND_TRAINING_JOB: Final = "TrainingJob"
PLURAL_TRAINING_JOBS: Final = "trainingjobs"
KIND_RETENTION_POLICY: Final = "RetentionPolicy"
PLURAL_RETENTION_POLICIES: Final = "retentionpolicies"

POLICY_NAME: Final = "default"
"""The only name that a RetentionPolicy can have: one per namespace."""

# --- labels and annotations ------------------------------------------------------------------

LABEL_JOB_NAME: Final = f"{GROUP}/job-name"
"""On pods and Services: the name of the job they belong to. The pod watch selects on it."""

LABEL_JOB_UID: Final = f"{GROUP}/job-uid"
"""On pods: the uid of the job. Names can be reused, uids cannot."""

LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
"""On pods: the attempt they belong to, counted from 0."""

LABEL_INDEX: Final = f"{GROUP}/index"
"""On pods: the rank of the pod among the job's nodes, counted from 0."""

ANNOTATION_TEMPLATE_HASH: Final = f"{GROUP}/template-hash"
"""On pods: a digest of their manifest; an existing pod is adopted only if its digest is equal."""

ANNOTATION_MAIN_CONTAINER: Final = f"{GROUP}/main-container"
"""On pods: the name of the template's main container. Webhooks may insert containers before it."""

ANNOTATION_KEEP: Final = f"{GROUP}/keep"
"""On a job: keeps the job and its files, whatever the retention policies say."""

ANNOTATION_DISCARD_RECORD: Final = f"{GROUP}/discard-record"
"""On a job, with the value `true`: give up its record if it is not stored yet."""

ANNOTATION_PROGRESS: Final = f"{GROUP}/progress"
"""On a job, set by its trainer: completed and total steps, such as `1200/5000`. The console shows it;
the operator neither reads nor writes it."""

ANNOTATION_NAMESPACES: Final = f"{GROUP}/namespaces"
"""On the operator's Lease: the namespaces that its holder serves, comma-separated, or `*`."""

FINALIZER_RECORD: Final = f"{GROUP}/record"
"""On a job: blocks its deletion until its record is stored or given up."""

ORPHAN_FINALIZER: Final = "orphan"
"""On an object deleted with `--cascade=orphan`: its dependents stay. Removed by the garbage collector."""

FINALIZER_RETENTION: Final = f"{GROUP}/retention"
"""On policies of earlier versions: an uninstall removes it, and nothing adds it any more."""

# --- the pod template ------------------------------------------------------------------------

MAIN_CONTAINER: Final = "trainer"
"""Name of the container whose exit decides; a single container may have any name."""

JOB_DIR_MOUNT: Final = "/training"
"""Mount path of the job's own directory if `spec.logs.volume` is true."""

RENDEZVOUS_PORT: Final = 29500
"""Default port on which rank 0 listens; it is torch.distributed's own default."""

# --- limits of the API -----------------------------------------------------------------------

MAX_NODES: Final = 1000
MAX_PORT: Final = 65535
MAX_NAME_LENGTH: Final = 63
"""Maximum length of a job's name: an RFC 1035 label, because pod and Service names contain it."""

MAX_CONDITIONS: Final = 32
MAX_CONDITIONS_OF_OTHERS: Final = 16
"""Maximum number of conditions of other controllers; the rest is reserved for the operator's own."""

MAX_UNREAD_ATTEMPTS: Final = 8
"""Maximum number of attempts in `status.logs.unread`; the logs of older ones are given up."""

MAX_MESSAGE_BYTES: Final = 1024
"""Messages of conditions and Events are truncated to this many bytes of UTF-8."""

# --- conditions ------------------------------------------------------------------------------

CONDITION_PODS_READY: Final = "PodsReady"
CONDITION_SUSPENDED: Final = "Suspended"
CONDITION_RESTARTING: Final = "Restarting"
CONDITION_COMPLETE: Final = "Complete"
CONDITION_FAILED: Final = "Failed"
CONDITION_CANCELLED: Final = "Cancelled"
CONDITION_FINISHED: Final = "Finished"

CONDITION_PERSISTED: Final = "Persisted"
CONDITION_LOGS_ARCHIVED: Final = "LogsArchived"

CONDITION_VALID: Final = "Valid"
"""On a RetentionPolicy: its spec is valid. An invalid policy is ignored."""

JOB_CONDITIONS: Final = (
    CONDITION_PODS_READY,
    CONDITION_SUSPENDED,
    CONDITION_RESTARTING,
    CONDITION_COMPLETE,
    CONDITION_FAILED,
    CONDITION_CANCELLED,
    CONDITION_FINISHED,
    CONDITION_PERSISTED,
    CONDITION_LOGS_ARCHIVED,
)
"""On a TrainingJob: the types that the operator writes. It leaves other types unchanged."""

TERMINAL_CONDITIONS: Final = (CONDITION_COMPLETE, CONDITION_FAILED, CONDITION_CANCELLED)
"""Exactly one of them becomes true, once, and stays true."""

# --- reasons ---------------------------------------------------------------------------------

REASON_PODS_READY: Final = "PodsReady"
REASON_PODS_NOT_READY: Final = "PodsNotReady"
REASON_QUEUED: Final = "Queued"
REASON_UNSCHEDULABLE: Final = "Unschedulable"
REASON_SCHEDULING_GATED: Final = "SchedulingGated"
"""Also the reason that Kubernetes uses in a pod's own condition."""

REASON_IMAGE_PULL: Final = "ImagePull"
REASON_QUOTA_EXCEEDED: Final = "QuotaExceeded"
REASON_FORBIDDEN: Final = "Forbidden"
REASON_INVALID_POD: Final = "InvalidPod"
"""The API server rejects a pod as invalid, perhaps for a while: the job waits. `InvalidPodTemplate`
is permanent."""

REASON_POD_NAME_CONFLICT: Final = "PodNameConflict"
REASON_SERVICE_NAME_CONFLICT: Final = "ServiceNameConflict"

REASON_SUSPENDED: Final = "Suspended"
REASON_RESUMED: Final = "Resumed"

REASON_POD_FAILED: Final = "PodFailed"
REASON_EVICTED: Final = "Evicted"
REASON_NODE_LOST: Final = "NodeLost"
REASON_POD_LOST: Final = "PodLost"
REASON_POD_REJECTED: Final = "PodRejected"
"""The kubelet rejected the pod before any of its containers ran."""
REASON_PARTLY_REFUSED: Final = "PartlyRefused"
"""Not every pod could be created in time: the others were deleted, and all ranks are retried later."""
REASON_RESTARTED: Final = "Restarted"
"""The next attempt has started, so the condition `Restarting` became false."""

REASON_COMPLETIONS_REACHED: Final = "CompletionsReached"
REASON_BACKOFF_LIMIT_EXCEEDED: Final = "BackoffLimitExceeded"
REASON_DISRUPTION_LIMIT_EXCEEDED: Final = "DisruptionLimitExceeded"
REASON_DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
REASON_PRE_RUNNING_DEADLINE_EXCEEDED: Final = "PreRunningDeadlineExceeded"
REASON_POD_FAILURE_POLICY: Final = "PodFailurePolicy"
REASON_INVALID_POD_TEMPLATE: Final = "InvalidPodTemplate"
REASON_INVALID_SPEC: Final = "InvalidSpec"
"""The spec is invalid although the schema let it pass: an old CRD, or an edit in etcd."""

REASON_STOPPED: Final = "Stopped"
REASON_TERMINATED: Final = "Terminated"
REASON_DELETED: Final = "Deleted"

REASON_VALID: Final = "Valid"

REASON_EXPIRED: Final = "Expired"
"""Event: the job was deleted because its TTL expired or it exceeded a history limit."""

REASON_FINALIZER_REFUSED: Final = "FinalizerRefused"
"""Event: an admission webhook or policy denies adding or removing our finalizer."""

REASON_NOT_DELETED: Final = "NotDeleted"
"""Event: the job's TTL has expired, but it is kept because a GitOps tool would recreate it."""

REASON_MEMORY_PRESSURE: Final = "MemoryPressure"
REASON_MEMORY_PRESSURE_OVER: Final = "MemoryPressureOver"
"""Events of the default RetentionPolicy: the operator's memory usage is high, or normal again."""

REASON_RECORD_PENDING: Final = "Pending"
REASON_RECORD_STORED: Final = "Stored"
REASON_RECORD_UNAVAILABLE: Final = "Unavailable"
REASON_RECORD_REJECTED: Final = "Rejected"
REASON_RECORD_NOT_REQUIRED: Final = "NotRequired"
REASON_RECORD_DISCARDED: Final = "Discarded"

CONDITION_VOLUME_HEALTHY: Final = "VolumeHealthy"
"""On a RetentionPolicy: the log volume can be swept and accepts logs."""

POLICY_CONDITIONS: Final = (CONDITION_VALID, CONDITION_VOLUME_HEALTHY)
"""On a RetentionPolicy: the types that the operator writes."""

REASON_VOLUME_HEALTHY: Final = "Healthy"
REASON_SENTINEL_MISSING: Final = "SentinelMissing"
REASON_FOREIGN_VOLUME: Final = "ForeignVolume"
REASON_PERMISSION_DENIED: Final = "PermissionDenied"
REASON_READ_ONLY: Final = "ReadOnly"
REASON_VOLUME_UNAVAILABLE: Final = "Unavailable"
REASON_UNSAFE_ROOT: Final = "UnsafeRoot"
REASON_UNSAFE_LAYOUT: Final = "UnsafeLayout"
REASON_CLOCK_STEPPED: Final = "ClockStepped"
REASON_VOLUME_LOCKED: Final = "Locked"
REASON_JOBS_UNKNOWN: Final = "JobsUnknown"
"""Not all jobs could be listed: no files are removed, because their jobs may still exist."""
REASON_IDENTITY_UNKNOWN: Final = "IdentityUnknown"
"""The uid of the operator's namespace could not be read, so a volume's owner cannot be checked."""

REASON_LOGS_PENDING: Final = "Pending"
"""The job has finished and its logs are still to be archived: it must not be deleted before."""
REASON_LOGS_ARCHIVED: Final = "Archived"
REASON_LOGS_TRUNCATED: Final = "Truncated"
REASON_LOGS_UNAVAILABLE: Final = "VolumeUnavailable"
