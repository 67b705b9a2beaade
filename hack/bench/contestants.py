"""The contestants: the built-in Job controller (default and tuned), JobSet, Kubeflow Trainer, ours, none."""

from dataclasses import dataclass
from typing import Final, Literal

from hack.bench.manifests import Kind

Operator = Literal["operator", "jobset", "trainer"]
"""An operator that is started beside the control plane: ours, or another project's."""

MANAGER: Final = "controller-manager"
"""Name of the process of the built-in controllers."""

_ACCOUNTS: Final[dict[Operator, str]] = {
    "operator": "trainingjob-operator",
    "jobset": "jobset",
    "trainer": "kubeflow-trainer",
}
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
        job_controller: True if the built-in Job controller takes part, so that it is charged for
            its requests, and its kube-controller-manager for memory and CPU.
        operators: further programs of the contestant, in the order in which they are started.
        flags: of kube-controller-manager; the controllers that work around a job (namespaces,
            service accounts, garbage) run beside every contestant and are charged to none.
    """

    name: str
    kind: Kind
    job_controller: bool = False
    operators: tuple[Operator, ...] = ()
    flags: tuple[str, ...] = _TUNED

    @property
    def users(self) -> frozenset[str]:
        """Return the users whose requests it is charged for."""
        users = {user_of(each) for each in self.operators}
        if self.job_controller:
            users.add(_ACCOUNT + "job-controller")
        return frozenset(users)

    @property
    def processes(self) -> tuple[str, ...]:
        """Return the names of the processes whose memory and CPU it is charged for."""
        return (MANAGER,) * self.job_controller + self.operators

    def controllers(self, *, nodes: bool) -> tuple[str, ...]:
        """Return all flags of its kube-controller-manager, with or without nodes."""
        names = [*_AROUND]
        if self.job_controller:
            names.append("job-controller")
        if nodes:  # removes the taint of a new node when it is ready
            names.append("node-lifecycle-controller")
        return (f"--controllers={','.join(names)}", *self.flags)


def account_of(operator: Operator) -> str:
    """Return the name of an operator's service account, in the namespace `default`."""
    return _ACCOUNTS[operator]


def user_of(operator: Operator) -> str:
    """Return the user name of an operator's service account."""
    return f"system:serviceaccount:default:{account_of(operator)}"


OURS: Final = Contestant(name="ours", kind="TrainingJob", operators=("operator",))
JOB_TUNED: Final = Contestant(name="job-tuned", kind="Job", job_controller=True)
JOB_DEFAULT: Final = Contestant(name="job-default", kind="Job", job_controller=True, flags=())
JOBSET: Final = Contestant(
    name="jobset", kind="JobSet", job_controller=True, operators=("jobset",)
)
TRAINER: Final = Contestant(
    name="trainer", kind="TrainJob", job_controller=True, operators=("jobset", "trainer")
)
RAW: Final = Contestant(name="raw", kind="Pod")
"""Pods without a controller: the ceiling of the API server, the submitter and the completer."""

ALL: Final = {each.name: each for each in (OURS, JOB_TUNED, JOB_DEFAULT, JOBSET, TRAINER, RAW)}
