"""Implements the pod subresources `binding` and `eviction`."""

from trainingjob_sandbox.apiserver import errors, request_body
from trainingjob_sandbox.apiserver.deletion import DeleteOptions
from trainingjob_sandbox.apiserver.pods import is_finished, set_condition
from trainingjob_sandbox.apiserver.requests import Call
from trainingjob_sandbox.apiserver.resources import copy_json
from trainingjob_sandbox.apiserver.store import Store


def bind(store: Store, call: Call) -> None:
    """Bind a pod to a node; a bound pod cannot be bound again."""
    body, _ = request_body.parse_body(call.body, call.content_type, "Binding")
    node = ((body or {}).get("target") or {}).get("name")
    if not node:
        raise errors.bad_request("target.name: Required value")
    stored = store.find(call.resource, call.path.name, call.path.namespace)
    bound = stored.obj["spec"].get("nodeName")
    if bound or stored.metadata.get("deletionTimestamp"):
        problem = (
            f'already assigned to node "{bound}"' if bound else "being deleted, cannot be bound"
        )
        raise errors.conflict(
            call.resource.identity,
            stored.key.name,
            f"pod {stored.key.name} is {problem}",
            what="pods/binding",
        )
    pod = copy_json(stored.obj)
    pod["spec"]["nodeName"] = node
    set_condition(pod, "PodScheduled")
    store.update_unvalidated(call.resource, stored, pod)


def evict(store: Store, call: Call) -> None:
    """Delete a pod, after setting its condition DisruptionTarget."""
    body, _ = request_body.parse_body(call.body, call.content_type, "Eviction")
    options = DeleteOptions.read((body or {}).get("deleteOptions") or {}, call.query)
    name, namespace = call.path.name, call.path.namespace
    stored = store.find(call.resource, name, namespace)
    options.check(call.resource.identity, stored)
    if not options.dry_run and not is_finished(stored.obj):
        pod = copy_json(stored.obj)
        set_condition(pod, "DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting")
        store.update_unvalidated(call.resource, stored, pod)
    store.delete(
        call.resource,
        name,
        namespace,
        DeleteOptions(grace_seconds=options.grace_seconds, dry_run=options.dry_run),
    )
