"""Defines the built-in resources that the sandbox serves, such as pods, events and leases."""

from collections.abc import Mapping
from typing import Any, Final

from trainingjob_sandbox.apiserver.builtin_strategies import (
    ClaimStrategy,
    DataStrategy,
    EventStrategy,
    LeaseStrategy,
    NamespaceStrategy,
    NodeStrategy,
    QuotaStrategy,
    ReturnedStrategy,
    SecretStrategy,
    ServiceStrategy,
)
from trainingjob_sandbox.apiserver.crds import CrdStrategy
from trainingjob_sandbox.apiserver.names import Identity
from trainingjob_sandbox.apiserver.pods import PodStrategy, PodTemplateStrategy
from trainingjob_sandbox.apiserver.resources import ALL_VERBS, Conversion, Resource
from trainingjob_sandbox.apiserver.selectors import FieldPaths
from trainingjob_sandbox.apiserver.storage import CollectionId, JsonObject

NAMESPACES: Final = CollectionId("", "namespaces")
PODS: Final = CollectionId("", "pods")
EVENTS: Final = CollectionId("", "events")
NODES: Final = CollectionId("", "nodes")
QUOTAS: Final = CollectionId("", "resourcequotas")
CRDS: Final = CollectionId("apiextensions.k8s.io", "customresourcedefinitions")

FIRST_NAMESPACES: Final = ("default", "kube-system")

_RENAMED: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
"""Fields of core/v1 Events, and their names in `events.k8s.io/v1`."""

_BACK: Final = {new: old for old, new in _RENAMED.items()}


def _rename(event: Mapping[str, Any], names: Mapping[str, str], version: str) -> JsonObject:
    renamed = {names.get(name, name): value for name, value in event.items()}
    return {**renamed, "apiVersion": version}


_EVENTS_CONVERSION: Final = Conversion(
    to_served=lambda event: _rename(event, _RENAMED, "events.k8s.io/v1"),
    to_stored=lambda event: _rename(event, _BACK, "v1"),
)
"""Events are stored as `v1`; this converts them to and from `events.k8s.io/v1`."""

_STATUS: Final = {"status": ("get", "patch", "update")}


def _paths(*fields: str, under: str = "", found_under: str = "") -> FieldPaths:
    return {
        f"{under}{field}": tuple(f"{found_under or under}{field}".split(".")) for field in fields
    }


_INVOLVED: Final = (
    "kind",
    "namespace",
    "name",
    "uid",
    "apiVersion",
    "resourceVersion",
    "fieldPath",
)
_EVENT_FIELDS: Final = {
    **_paths(*_INVOLVED, under="involvedObject."),
    **_paths("reason", "reportingComponent", "type"),
    "source": ("source", "component"),
}


def _only_name_and_namespace(field: str) -> str:
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _core(kind: str, plural: str, **features: object) -> Resource:
    return _builtin("", "v1", kind, plural, **features)


def _builtin(group: str, version: str, kind: str, plural: str, **features: object) -> Resource:
    return Resource(
        identity=Identity(group, version, kind, plural),
        singular=kind.lower(),
        **features,  # type: ignore[arg-type]
    )


def builtin_resources() -> list[Resource]:
    """Return new instances of the built-in resources, because some strategies have state."""
    return [
        _core(
            "Namespace",
            "namespaces",
            namespaced=False,
            short_names=("ns",),
            subresources=_STATUS,
            verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
            strategy=NamespaceStrategy(),
            field_paths=_paths("status.phase"),
            description="A scope for names.",
        ),
        _core(
            "Pod",
            "pods",
            short_names=("po",),
            categories=("all",),
            subresources={
                **_STATUS,
                "log": ("get",),
                "binding": ("create",),
                "eviction": ("create",),
            },
            strategy=PodStrategy(),
            field_paths=_paths(
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.phase",
                "status.podIP",
            ),
            description="Containers that run together on one node.",
        ),
        _core(
            "PodTemplate",
            "podtemplates",
            strategy=PodTemplateStrategy(),
            unknown_field=_only_name_and_namespace,
            description="What pods are made from. Nothing makes pods from it here.",
        ),
        _core(
            "Node",
            "nodes",
            namespaced=False,
            short_names=("no",),
            subresources=_STATUS,
            strategy=NodeStrategy(),
            field_paths=_paths("spec.unschedulable"),
            description="A machine that runs pods.",
        ),
        _core(
            "Event",
            "events",
            short_names=("ev",),
            strategy=EventStrategy(),
            field_paths=_EVENT_FIELDS,
            description="Something that happened to an object.",
        ),
        _builtin(
            "events.k8s.io",
            "v1",
            "Event",
            "events",
            short_names=("ev",),
            strategy=EventStrategy(),
            field_paths={
                **_EVENT_FIELDS,
                **_paths(*_INVOLVED, under="regarding.", found_under="involvedObject."),
                "reportingController": ("reportingComponent",),
            },
            conversion=_EVENTS_CONVERSION,
            stored_as=EVENTS,
            description="Something that happened to an object.",
        ),
        _core(
            "ConfigMap",
            "configmaps",
            short_names=("cm",),
            strategy=DataStrategy(),
            unknown_field=_only_name_and_namespace,
            description="Configuration, as keys and values.",
        ),
        _core(
            "Secret",
            "secrets",
            strategy=SecretStrategy(),
            field_paths=_paths("type"),
            description="Secret data, as keys and values in base64.",
        ),
        _core(
            "Service",
            "services",
            short_names=("svc",),
            categories=("all",),
            subresources=_STATUS,
            strategy=ServiceStrategy(),
            field_paths=_paths("spec.clusterIP", "spec.type"),
            description="A name for a set of pods.",
        ),
        _core(
            "ServiceAccount",
            "serviceaccounts",
            short_names=("sa",),
            strategy=ReturnedStrategy(),
            unknown_field=_only_name_and_namespace,
            description="An identity for pods.",
        ),
        _core(
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            short_names=("pvc",),
            subresources=_STATUS,
            strategy=ClaimStrategy(),
            unknown_field=_only_name_and_namespace,
            description="A claim to storage that outlives pods.",
        ),
        _core(
            "ResourceQuota",
            "resourcequotas",
            short_names=("quota",),
            subresources=_STATUS,
            strategy=QuotaStrategy(),
            unknown_field=_only_name_and_namespace,
            description="How much a namespace may use.",
        ),
        _builtin(
            "coordination.k8s.io",
            "v1",
            "Lease",
            "leases",
            strategy=LeaseStrategy(),
            unknown_field=_only_name_and_namespace,
            description="A right that one holder has for a time.",
        ),
        _builtin(
            CRDS.group,
            "v1",
            "CustomResourceDefinition",
            CRDS.plural,
            namespaced=False,
            short_names=("crd", "crds"),
            categories=("api-extensions",),
            subresources=_STATUS,
            strategy=CrdStrategy(),
            unknown_field=_only_name_and_namespace,
            description="A kind of objects that the cluster is taught.",
        ),
    ]
