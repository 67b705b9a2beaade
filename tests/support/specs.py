"""Table of objects that the API server must accept or reject, with the expected messages.

It is checked by the CRD's rules in Python, the sandbox's API server and a real one.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.support.builders import make_job
from trainingjob_api.constants import API_VERSION, KIND_RETENTION_POLICY
from trainingjob_api.rules import RESERVED_VARIABLES

Manifest = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One object, or one change of an object.

    Attributes:
        id: description of the case.
        new: the object to create, or what `old` is replaced by.
        old: the object as it is before a change, with its status; None: `new` is created.
        refusal: a part of the refusal's message; empty: the object is accepted.
        by_rule: whether a CEL rule refuses it; otherwise a type, bound or pattern does, in the
            words of Kubernetes.
    """

    id: str
    new: Manifest
    old: Manifest | None = None
    refusal: str = ""
    by_rule: bool = True


def make_policy(name: str = "default", **spec: Any) -> Manifest:
    """A RetentionPolicy's manifest."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND_RETENTION_POLICY,
        "metadata": {"name": name, "namespace": "ml"},
        "spec": spec,
    }


def make_template(*names: str, init: dict[str, Any] | None = None, **pod_spec: Any) -> Manifest:
    """A pod template with containers of these names."""
    containers = [{"name": name, "image": "example/image:1"} for name in names]
    spec: dict[str, Any] = {"containers": containers, **pod_spec}
    if init is not None:
        spec["initContainers"] = [{"name": "prepare", "image": "example/image:1", **init}]
    return {"spec": spec}


def _restarted(main: dict[str, Any], side: dict[str, Any] | None = None) -> Manifest:
    """A job whose main container and another container have these additional fields."""
    containers = [{"name": "trainer", "image": "example/image:1", **main}]
    if side is not None:
        containers.append({"name": "proxy", "image": "example/image:1", **side})
    return make_job(template={"spec": {"containers": containers}})


_ON_CODE_3: Final = {
    "action": "Restart",
    "exitCodes": {"operator": "In", "values": [3]},
}


def _with_env(name: str) -> Manifest:
    return make_job(env={name: "1"})


def _failure_rule(**rule: Any) -> Manifest:
    return make_job(podFailurePolicy={"rules": [rule]})


_TAKEN: Final = {
    "a minimal job": make_job(),
    "a template and nothing else": {
        **make_job(),
        "spec": {"template": make_template("anything")},
    },
    "a name of 63 characters": make_job("a" * 63),
    "the last port": make_job(rendezvousPort=65535),
    "restartPolicy Never": make_job(template=make_template("main", restartPolicy="Never")),
    "a side container that is restarted": _restarted({}, {"restartPolicy": "Always"}),
    "a main container that is never restarted": _restarted({"restartPolicy": "Never"}),
    "several containers with a trainer": make_job(template=make_template("sidecar", "trainer")),
    "a variable whose name only resembles a reserved one": _with_env("MY_RANK"),
    "a TRAININGJOB_ variable that is not ours": _with_env("TRAININGJOB_DATASET"),
    "whole numbers as quantities": make_job(
        template={
            "spec": {
                "containers": [
                    {"name": "trainer", "image": "i", "resources": {"limits": {"cpu": 2}}}
                ]
            }
        }
    ),
    "a volume with its claim": make_job(logs={"volume": True, "claimName": "training-logs"}),
    "logs switched off": make_job(logs={"volume": False}),
    "a failure rule on exit codes": _failure_rule(
        action="FailJob", onExitCodes={"operator": "In", "values": [1, 42]}
    ),
    "a failure rule on zero and NotIn": _failure_rule(
        action="Count", onExitCodes={"operator": "NotIn", "values": [0, 1]}
    ),
    "a failure rule on pod conditions": _failure_rule(
        action="Ignore", onPodConditions=[{"type": "DisruptionTarget"}]
    ),
    "every scalar at its upper bound": make_job(
        nodes=1000,
        numProcPerNode=1024,
        backoff_limit=100,
        activeDeadlineSeconds=2147483647,
        preRunningDeadlineSeconds=2147483647,
        ttlSecondsAfterFinished=2147483647,
    ),
    "a job of another controller": make_job(managedBy="kueue.x-k8s.io/multikueue"),
    "the default policy": make_policy(),
    "a full policy": make_policy(
        ttlSecondsAfterFinished=0,
        byOutcome={"complete": 60, "failed": 3600, "cancelled": 0},
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=0,
        logs={"maxAgeSeconds": 604800},
    ),
}

_REFUSED_BY_RULE: Final = {
    "a name of 64 characters": (make_job("a" * 64), "at most 63 characters"),
    "a name that starts with a digit": (make_job("1st"), "must start with a lower-case letter"),
    "a name with a dot": (make_job("a.b"), "only lower-case letters"),
    "restartPolicy OnFailure": (
        make_job(template=make_template("main", restartPolicy="OnFailure")),
        "restartPolicy must be Never or absent",
    ),
    "a main container with a restartPolicy of its own": (
        _restarted({"restartPolicy": "OnFailure"}, {}),
        "remove restartPolicy and restartPolicyRules from the main container",
    ),
    "a main container with rules for its restart": (
        _restarted({"restartPolicy": "Never", "restartPolicyRules": [_ON_CODE_3]}),
        "remove restartPolicy and restartPolicyRules from the main container",
    ),
    "several containers without a trainer": (
        make_job(template=make_template("one", "two")),
        "one must be called trainer",
    ),
    "a reserved variable of an init container": (
        make_job(template=make_template("main", init={"env": [{"name": "WORLD_SIZE"}]})),
        "remove this variable",
    ),
    "a volume without its claim": (make_job(logs={"volume": True}), "set claimName"),
    "a failure rule that matches nothing": (
        _failure_rule(action="Count"),
        "either onExitCodes or onPodConditions",
    ),
    "a failure rule with both kinds of match": (
        _failure_rule(
            action="Count",
            onExitCodes={"operator": "In", "values": [1]},
            onPodConditions=[{"type": "DisruptionTarget"}],
        ),
        "either onExitCodes or onPodConditions",
    ),
    "a failure rule on zero and In": (
        _failure_rule(action="Count", onExitCodes={"operator": "In", "values": [0]}),
        "remove 0 from values",
    ),
    "a policy of another name": (make_policy("mine"), "metadata.name must be default"),
} | {
    f"the reserved variable {name}": (_with_env(name), "remove this variable")
    for name in (*RESERVED_VARIABLES, "PET_NNODES", "PET_ANYTHING")
}

_REFUSED_BY_SCHEMA: Final = {
    "no spec": ({**make_job(), "spec": {}}, "spec.template: Required value"),
    "no containers": (make_job(template={"spec": {}}), "containers: Required value"),
    "an empty list of containers": (
        make_job(template=make_template()),
        "should have at least 1 items",
    ),
    "seventeen containers": (
        make_job(template=make_template("trainer", *(f"c{i}" for i in range(16)))),
        "must have at most 16 items",
    ),
    "no nodes": (make_job(nodes=0), "greater than or equal to 1"),
    "too many nodes": (make_job(nodes=1001), "less than or equal to 1000"),
    "half a node": (make_job(numNodes=1.5), "spec.numNodes in body must be of type"),
    "nodes as text": (make_job(numNodes="2"), "spec.numNodes in body must be of type"),
    "a framework nobody knows": (make_job(framework="MPI"), "Unsupported value"),
    "a framework in lower case": (make_job(framework="torch"), "Unsupported value"),
    "a negative backoff limit": (make_job(backoff_limit=-1), "greater than or equal to 0"),
    "a deadline of nothing": (make_job(activeDeadlineSeconds=0), "greater than or equal to 1"),
    "a shutdown nobody knows": (make_job(shutdown="Now"), "Unsupported value"),
    "a manager without a domain": (make_job(managedBy="me"), "should match"),
    "a quantity that is none": (
        make_job(
            template={
                "spec": {
                    "containers": [
                        {"name": "trainer", "image": "i", "resources": {"limits": {"cpu": "two"}}}
                    ]
                }
            }
        ),
        "should match",
    ),
    "a failure rule without exit codes": (
        _failure_rule(action="Count", onExitCodes={"operator": "In", "values": []}),
        "should have at least 1 items",
    ),
    "a time to live before the end": (
        make_policy(ttlSecondsAfterFinished=-1),
        "greater than or equal to 0",
    ),
}


def _suspended(*, said: bool = True, active: int = 0, terminating: int = 0) -> Manifest:
    """A job with `suspend: true`, with its status."""
    condition = {
        "type": "Suspended",
        "status": "True" if said else "False",
        "reason": "Suspended" if said else "Resumed",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"conditions": [condition], "active": active, "terminating": terminating}
    return make_job(nodes=2, suspend=True) | {"status": status}


def _changed(old: Manifest, **spec: Any) -> Manifest:
    """The object with fields of its spec replaced, or removed where the value is None."""
    new = copy.deepcopy(old)
    new.pop("status", None)
    new["spec"] = {k: v for k, v in (new["spec"] | spec).items() if v is not None}
    return new


_RUNNING: Final = make_job(nodes=2) | {"status": {"active": 2, "ready": 2}}
_FRESH: Final = make_job(nodes=2)
_SHAPE: Final[dict[str, Any]] = {
    "template": make_template("another"),
    "numNodes": 3,
    "numProcPerNode": 4,
    "framework": "JAX",
}
_FROZEN: Final = "only while the job is suspended and none of its pods is left"


def _update(
    what: str, old: Manifest, change: Callable[[Manifest], Manifest], refusal: str = ""
) -> Case:
    return Case(id=what, old=old, new=change(old), refusal=refusal)


def _set(**spec: Any) -> Callable[[Manifest], Manifest]:
    return lambda old: _changed(old, **spec)


def _set_with_status(**spec: Any) -> Callable[[Manifest], Manifest]:
    """The same, together with a status of which an update can bring nothing along."""
    status = _suspended()["status"] | {"phase": "Suspended"}
    return lambda old: _changed(old, **spec) | {"status": status}


def _shape_cases() -> list[Case]:
    """Every field that pods are made from, in every state of the old object."""
    states = {
        "a running job": (_RUNNING, f"{{field}} can change {_FROZEN}"),
        "a job without a status": (_FRESH, f"{{field}} can change {_FROZEN}"),
        "a job that is about to suspend": (_suspended(said=False), _FROZEN),
        "a suspended job with active pods": (_suspended(active=1), _FROZEN),
        "a suspended job with terminating pods": (_suspended(terminating=1), _FROZEN),
        "a suspended job": (_suspended(), ""),
    }
    return [
        _update(f"{field} of {state}", old, _set(**{field: value}), refusal.format(field=field))
        for state, (old, refusal) in states.items()
        for field, value in _SHAPE.items()
    ]


_UPDATES: Final = (
    *_shape_cases(),
    *(
        _update(
            f"{field} of {state}, with a status that says otherwise",
            old,
            _set_with_status(**{field: value}),
            _FROZEN,
        )
        for state, old in (
            ("a running job", _RUNNING),
            ("a job without a status", make_job(nodes=2, suspend=True)),
        )
        for field, value in _SHAPE.items()
    ),
    _update("new nodes while resuming", _suspended(), _set(numNodes=3, suspend=False)),
    _update("new nodes while suspending", _RUNNING, _set(numNodes=3, suspend=True), _FROZEN),
    _update("suspending", _RUNNING, _set(suspend=True)),
    _update("a new backoff limit", _RUNNING, _set(backoffLimit=5)),
    _update(
        "numProcPerNode removed", make_job(numProcPerNode=2), _set(numProcPerNode=None), _FROZEN
    ),
    _update("Stop", _RUNNING, _set(shutdown="Stop")),
    _update("Terminate", _RUNNING, _set(shutdown="Terminate")),
    _update("Stop to Terminate", make_job(shutdown="Stop"), _set(shutdown="Terminate")),
    _update("Stop removed", make_job(shutdown="Stop"), _set(shutdown=None)),
    _update("Terminate removed", make_job(shutdown="Terminate"), _set(shutdown=None)),
    _update(
        "Terminate to Stop",
        make_job(shutdown="Terminate"),
        _set(shutdown="Stop"),
        "cannot go back from Terminate to Stop",
    ),
    _update(
        "managedBy set", _FRESH, _set(managedBy="example.com/mine"), "managedBy cannot be changed"
    ),
    _update(
        "managedBy changed",
        make_job(managedBy="example.com/mine"),
        _set(managedBy="example.com/yours"),
        "managedBy cannot be changed",
    ),
    _update(
        "managedBy removed",
        make_job(managedBy="example.com/mine"),
        _set(managedBy=None),
        "managedBy cannot be changed",
    ),
    *(
        _update(
            f"rendezvousPort {what}",
            make_job(rendezvousPort=before, suspend=True),
            _set(rendezvousPort=after),
            "rendezvousPort cannot be changed",
        )
        for what, before, after in (("set", None, 3333), ("changed", 1, 2), ("removed", 1, None))
    ),
    _update(
        "managedBy of a suspended job",
        _suspended(),
        _set(managedBy="example.com/mine"),
        "managedBy cannot be changed",
    ),
)

CASES: Final[tuple[Case, ...]] = (
    *(Case(id=what, new=new) for what, new in _TAKEN.items()),
    *(
        Case(id=what, new=new, refusal=refusal)
        for what, (new, refusal) in _REFUSED_BY_RULE.items()
    ),
    *(
        Case(id=what, new=new, refusal=refusal, by_rule=False)
        for what, (new, refusal) in _REFUSED_BY_SCHEMA.items()
    ),
    *_UPDATES,
)
