"""Determines the rendezvous address of a job: the ranks' host names and the port of rank 0.

Each pod must be able to resolve the names. That depends on its `hostname`, `subdomain`, `hostNetwork`
and `dnsPolicy`:

- With two or more ranks, the operator sets `hostname` and `subdomain`, and the headless Service gives
  each rank a record in the cluster DNS, also with `hostNetwork`.
- A job with one rank has no Service. Its pod finds its own host name in /etc/hosts, whatever name the
  template sets. With `hostNetwork` there is no such entry, so it uses 127.0.0.1.
- With `hostNetwork` a pod uses the cluster DNS only under `ClusterFirstWithHostNet`.
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
"""Number of ports for jobs with `hostNetwork`, below NodePorts (from 30000) and the kernel's ephemeral
ports (from 32768). If each rank has its own port, up to a thousand more follow."""

_FOLLOWS_THE_CLUSTER: Final = ("", "ClusterFirst")
"""DNS policies that are replaced with `hostNetwork`: an absent one, and the API server's default, which
would use the node's resolver."""


def rendezvous_port(spec: TrainingJobSpec, uid: str) -> int:
    """Return the rendezvous port, on which rank 0 listens.

    It is `spec.rendezvousPort`, by default 29500. With `hostNetwork`, where pods share the ports of
    their node, the default is derived from the job's uid. It never changes in the life of a job, so
    that the Service and all attempts agree. Two jobs get the same port in 1 of `HOST_PORTS` cases.
    """
    if spec.rendezvous_port is not None:
        return spec.rendezvous_port
    if not on_host_network(spec):
        return RENDEZVOUS_PORT
    digest = hashlib.sha256(uid.encode("utf-8", "backslashreplace")).digest()
    return FIRST_HOST_PORT + int.from_bytes(digest[:8]) % HOST_PORTS


def has_port_for_each_rank(spec: TrainingJobSpec) -> bool:
    """True if rank n listens on the n-th port after the job's port, because ranks may share a node.

    It matters only if every rank listens (TensorFlow), and is false if the user has set the port.
    """
    return on_host_network(spec) and spec.rendezvous_port is None


def on_host_network(spec: TrainingJobSpec) -> bool:
    """True if the job's pods use the network of their nodes."""
    return as_dict(spec.template.get("spec")).get("hostNetwork") is True


def host_names(job: JobView, spec: TrainingJobSpec) -> tuple[str, ...]:
    """Return the host name of every rank, in rank order, relative to the job's namespace.

    The DNS search list of the pods completes `<pod>.<service>`. The names are short because TF_CONFIG
    lists all ranks in one variable, and Linux limits a variable to less than 128 KiB.
    """
    key, attempt = job.key, job.status.attempt
    names = [pod_name(key.name, job.uid, attempt, i) for i in range(spec.num_nodes)]
    if spec.num_nodes == 1:
        return (_own_name(spec, names[0]),)
    service = owner_prefix(key.name, job.uid)
    return tuple(f"{name}.{service}" for name in names)


def first_host(job: JobView, spec: TrainingJobSpec) -> str:
    """Return the host name of rank 0; with namespace and `svc` if the job has a Service."""
    first = pod_name(job.key.name, job.uid, job.status.attempt, 0)
    if spec.num_nodes == 1:
        return _own_name(spec, first)
    return f"{first}.{owner_prefix(job.key.name, job.uid)}.{job.key.namespace}.svc"


def _own_name(spec: TrainingJobSpec, name: str) -> str:
    """Return the host name of a single rank's pod, as it is in its own /etc/hosts."""
    pod_spec = as_dict(spec.template.get("spec"))
    if on_host_network(spec):
        return LOOPBACK
    return as_str(pod_spec.get("hostnameOverride")) or as_str(pod_spec.get("hostname")) or name


def set_names(pod_spec: dict[str, Any], job: JobView, spec: TrainingJobSpec, name: str) -> None:
    """Set a pod's host name, subdomain and DNS policy, so that ranks can resolve each other.

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
