"""Who races: the built-in Job controller as it comes and tuned, ours, and nobody at all."""

from dataclasses import dataclass
from typing import Final

from hack.bench.workload import Kind

OPERATOR_ACCOUNT: Final = "trainingjob-operator"
"""A service account, as in an install, and as the built-in controllers have them."""

OPERATOR_USER: Final = f"system:serviceaccount:default:{OPERATOR_ACCOUNT}"
_ACCOUNT: Final = "system:serviceaccount:kube-system:"

_AROUND: Final = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "ttl-after-finished-controller",
)
_TUNED: Final = (
    "--kube-api-qps=2000",
    "--kube-api-burst=4000",
    "--concurrent-job-syncs=50",
    "--concurrent-ttl-after-finished-syncs=50",
    "--concurrent-gc-syncs=50",
)


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to run jobs.

    Attributes:
        name: for the report.
        kind: what is submitted.
        users: whose requests it is charged for.
        flags: of kube-controller-manager; the controllers that work around a job (namespaces,
            service accounts, garbage) run beside every contestant and are charged to none.
        operator: whether our operator runs.
    """

    name: str
    kind: Kind
    users: frozenset[str]
    flags: tuple[str, ...] = _TUNED
    operator: bool = False

    def controllers(self, *, nodes: bool) -> tuple[str, ...]:
        """All flags of its kube-controller-manager, where there are nodes and where not."""
        names = [*_AROUND]
        if self.kind == "Job":
            names.append("job-controller")
        if nodes:  # takes the taint off a new node when it is ready
            names.append("node-lifecycle-controller")
        return (f"--controllers={','.join(names)}", *self.flags)


_JOB_CONTROLLER: Final = frozenset({_ACCOUNT + "job-controller"})

OURS: Final = Contestant(
    name="ours", kind="TrainingJob", users=frozenset({OPERATOR_USER}), operator=True
)
JOB_TUNED: Final = Contestant(name="job-tuned", kind="Job", users=_JOB_CONTROLLER)
JOB_DEFAULT: Final = Contestant(name="job-default", kind="Job", users=_JOB_CONTROLLER, flags=())
RAW: Final = Contestant(name="raw", kind="Pod", users=frozenset())
"""Pods without a controller: the ceiling of the API server, the submitter and the completer."""

ALL: Final = {each.name: each for each in (OURS, JOB_TUNED, JOB_DEFAULT, RAW)}
