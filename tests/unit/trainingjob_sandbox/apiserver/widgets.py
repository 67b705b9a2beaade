"""A small custom resource, and the store that the tests of this folder share."""

from typing import Any

from trainingjob_sandbox.apiserver.builtin import builtin_resources
from trainingjob_sandbox.apiserver.controllers import Controllers
from trainingjob_sandbox.apiserver.registry import Registry
from trainingjob_sandbox.apiserver.storage import Event, Storage
from trainingjob_sandbox.apiserver.store import Store

Object = dict[str, Any]

SCHEMA: Object = {
    "type": "object",
    "description": "A widget.",
    "required": ["spec"],
    "x-kubernetes-validations": [
        {"rule": "self.metadata.name.size() <= 20", "message": "name too long"}
    ],
    "properties": {
        "spec": {
            "type": "object",
            "description": "What is wanted.",
            "required": ["template"],
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.mode) || self.mode != 'bad'",
                    "message": "mode is bad",
                    "reason": "FieldValueForbidden",
                    "fieldPath": ".mode",
                },
                {"rule": "self.numNodes == oldSelf.numNodes", "message": "numNodes is immutable"},
                {"rule": "self.numNodes < 900", "messageExpression": "'too many'"},
            ],
            "properties": {
                "numNodes": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 1000,
                    "default": 1,
                    "description": "How many.",
                },
                "mode": {"type": "string", "enum": ["A", "B", "bad"]},
                "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 5},
                "small": {"type": "integer", "format": "int32", "not": {"enum": [7]}},
                "either": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                    "anyOf": [{"required": ["a"]}, {"required": ["c"]}],
                },
                "port": {"x-kubernetes-int-or-string": True},
                "when": {"type": "string", "format": "date-time"},
                "maybe": {"type": "string", "nullable": True},
                "flag": {"type": "boolean"},
                "ratio": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMinimum": True,
                    "multipleOf": 0.5,
                },
                "args": {
                    "type": "array",
                    "items": {"type": "string"},
                    "minItems": 1,
                    "maxItems": 3,
                },
                "set": {
                    "type": "array",
                    "items": {"type": "string"},
                    "x-kubernetes-list-type": "set",
                },
                "labels": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "maxProperties": 2,
                },
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "x-kubernetes-validations": [
                            {
                                "rule": "self.value >= oldSelf.value",
                                "message": "value may only grow",
                                "fieldPath": ".value",
                            }
                        ],
                        "properties": {
                            "name": {"type": "string"},
                            "value": {"type": "integer", "default": 7},
                        },
                    },
                },
                "template": {"type": "object", "properties": {"image": {"type": "string"}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "phase": {"type": "string"},
                "doneTime": {"type": "string", "format": "date-time"},
                "conditions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"type": {"type": "string"}, "reason": {"type": "string"}},
                    },
                },
            },
        },
    },
}

CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.dev"},
    "spec": {
        "group": "example.dev",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".status.phase"}],
                "additionalPrinterColumns": [
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                    {
                        "name": "Why",
                        "type": "string",
                        "jsonPath": '.status.conditions[?(@.type=="Finished")].reason',
                    },
                    {"name": "Nodes", "type": "integer", "jsonPath": ".spec.numNodes"},
                    {"name": "Done", "type": "date", "jsonPath": ".status.doneTime"},
                    {
                        "name": "Mode",
                        "type": "string",
                        "jsonPath": ".spec.mode",
                        "priority": 1,
                    },
                ],
                "schema": {"openAPIV3Schema": SCHEMA},
            }
        ],
    },
}

WIDGETS = "/apis/example.dev/v1/namespaces/default/widgets"
PODS = "/api/v1/namespaces/default/pods"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"


def widget(name: str = "w", /, **spec: Any) -> Object:
    """Return a widget; valid unless the spec is not."""
    return {
        "apiVersion": "example.dev/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"template": {}, **spec},
    }


def pod(name: str = "p", /, *, metadata: Object | None = None, **spec: Any) -> Object:
    """Return a pod; valid unless the spec is not."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"containers": [{"name": "c", "image": "x"}], **spec},
    }


def config_map(name: str = "cm", /, **metadata: Any) -> Object:
    """Return a ConfigMap."""
    return {"metadata": {"name": name, **metadata}, "data": {"a": "b"}}


def owned_by(owner: Object, **fields: Any) -> Object:
    """Return the metadata of an object that another one owns."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **fields,
    }
    return {"ownerReferences": [reference]}


class Cluster:
    """A store with its controllers, without HTTP; `settle` runs the controllers."""

    def __init__(self, history: int = 1000) -> None:
        self.storage = Storage(history)
        self.registry = Registry(builtin_resources())
        self.store = Store(self.storage, self.registry)
        self.controllers = Controllers(self.store, lambda step: None)
        self.events: list[tuple[str, str]] = []
        self.store.create("namespaces", {"metadata": {"name": "default"}})
        self.store.create("customresourcedefinitions", CRD)
        self.settle()
        self.storage.observers.append(self._record)

    def _record(self, where: object, event: Event) -> None:
        self.events.append((event.type, event.new.key.name))

    def settle(self) -> None:
        """Run the controllers until they have no work."""
        self.controllers.run_all()
