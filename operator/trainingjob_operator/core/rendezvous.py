"""The place where ranks meet: the host names that they will really have, and the port.

A name is of use only if the pod can resolve it. What Kubernetes makes of a pod's `hostname`,
`subdomain`, `hostNetwork` and `dnsPolicy` decides that:

- With two ranks or more, `hostname` and `subdomain` are ours, and the headless Service gives each
  rank a record in the cluster's DNS, on the host's network, too.
- A job of one rank has no Service. Its pod finds its own host name in /etc/hosts, whatever name
  the template gives it; on the host's network it has none there, and meets itself at 127.0.0.1.
- On the host's network a pod asks the cluster's DNS only under `ClusterFirstWithHostNet`.
"""

import hashlib
from typing import Any, Final

from trainingjob_api.constants import RENDEZVOUS_PORT
from trainingjob_api.training_job import TrainingJobSpec
from trainingjob_operator.core.job import JobView
from trainingjob_operator.core.naming import owner_prefix, pod_name
from trainingjob_operator.core.untyped_json import as_dict, as_str

LOOPBACK: Final = "127.0.0.1"

FIRST_HOST_PORT: Final = 20_000
HOST_PORTS: Final = 9_000
"""Ports for jobs on the host's network, below NodePorts (from 30000) and the kernel's own choice
(from 32768). Where each rank has its own, a thousand further ones follow the last."""

_FOLLOWS_THE_CLUSTER: Final = ("", "ClusterFirst")
"""DNS policies that are changed on the host's network: none, and the default of the API server,
which means the node's resolver there."""


def rendezvous_port(spec: TrainingJobSpec, uid: str) -> int:
    """Return the port on which rank 0 is met.

    It is what the job says; else 29500, and on the host's network, where pods share the ports of
    their node, one that is made from the job's uid. It never changes in the life of a job, so that
    the Service and all attempts agree; two jobs get the same one in 1 of `HOST_PORTS` cases.
    """
    if spec.rendezvous_port is not None:
        return spec.rendezvous_port
    if not on_host_network(spec):
        return RENDEZVOUS_PORT
    digest = hashlib.sha256(uid.encode("utf-8", "backslashreplace")).digest()
    return FIRST_HOST_PORT + int.from_bytes(digest[:8]) % HOST_PORTS


def has_port_for_each_rank(spec: TrainingJobSpec) -> bool:
    """True if rank n listens on the n-th port after the job's own: ranks may share a node's ports.

    Only where every rank listens (TensorFlow), and the port is not one that the user has chosen.
    """
    return on_host_network(spec) and spec.rendezvous_port is None


def on_host_network(spec: TrainingJobSpec) -> bool:
    """True if the job's pods use the network of their nodes."""
    return as_dict(spec.template.get("spec")).get("hostNetwork") is True


def host_names(job: JobView, spec: TrainingJobSpec) -> tuple[str, ...]:
    """Return the host name of every rank, in rank order, relative to the job's namespace.

    The search list of the pods completes `<pod>.<service>`. The form is short because TF_CONFIG
    names all ranks in one variable, and Linux takes no string of 128 KiB or more.
    """
    key, attempt = job.key, job.status.attempt
    names = [pod_name(key.name, job.uid, attempt, i) for i in range(spec.num_nodes)]
    if spec.num_nodes == 1:
        return (_own_name(spec, names[0]),)
    service = owner_prefix(key.name, job.uid)
    return tuple(f"{name}.{service}" for name in names)


def first_host(job: JobView, spec: TrainingJobSpec) -> str:
    """Return the host name of rank 0, with namespace and `svc` where it is one of the cluster's."""
    first = pod_name(job.key.name, job.uid, job.status.attempt, 0)
    if spec.num_nodes == 1:
        return _own_name(spec, first)
    return f"{first}.{owner_prefix(job.key.name, job.uid)}.{job.key.namespace}.svc"


def _own_name(spec: TrainingJobSpec, name: str) -> str:
    """Return what the only rank's pod calls itself, as its own /etc/hosts has it."""
    pod_spec = as_dict(spec.template.get("spec"))
    if on_host_network(spec):
        return LOOPBACK
    return as_str(pod_spec.get("hostnameOverride")) or as_str(pod_spec.get("hostname")) or name


def set_names(pod_spec: dict[str, Any], job: JobView, spec: TrainingJobSpec, name: str) -> None:
    """Give a pod the names under which the others look for it, and a resolver that knows theirs.

    Args:
        pod_spec: the pod's spec, which is changed.
        job: the job.
        spec: its spec.
        name: the pod's name.
    """
    if spec.num_nodes > 1:
        pod_spec["hostname"] = name
        pod_spec["subdomain"] = owner_prefix(job.key.name, job.uid)
    if on_host_network(spec) and as_str(pod_spec.get("dnsPolicy")) in _FOLLOWS_THE_CLUSTER:
        pod_spec["dnsPolicy"] = "ClusterFirstWithHostNet"
