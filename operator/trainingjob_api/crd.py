"""Generates the two CustomResourceDefinitions from the models."""

import copy
from typing import Any, Final

import yaml
from pydantic import BaseModel

from trainingjob_api.constants import (
    CONDITION_FINISHED,
    GROUP,
    KIND_RETENTION_POLICY,
    KIND_TRAINING_JOB,
    PLURAL_RETENTION_POLICIES,
    PLURAL_TRAINING_JOBS,
    VERSION,
)
from trainingjob_api.pod_template import pod_template_schema
from trainingjob_api.retention_policy import RetentionPolicy
from trainingjob_api.structural import structural_schema
from trainingjob_api.training_job import TrainingJob

_CATEGORY: Final = "training"


def _column(
    name: str, path: str, description: str, *, type_: str = "string", wide: bool = False
) -> dict[str, Any]:
    column = {"name": name, "type": type_, "jsonPath": path, "description": description}
    return column | ({"priority": 1} if wide else {})


_JOB_COLUMNS: Final = (
    _column("Phase", ".status.phase", "The state of the job in one word."),
    _column("Nodes", ".spec.numNodes", "Number of nodes (ranks).", type_="integer"),
    _column("Ready", ".status.ready", "Pods that are running and ready.", type_="integer"),
    _column("Restarts", ".status.restarts", "Restarts after failures.", type_="integer"),
    _column(
        "Record",
        ".status.recordState",
        "State of the record: Pending, Stored, Rejected or NotRequired.",
    ),
    _column("Completed", ".status.completionTime", "Time since the job finished.", type_="date"),
    _column(
        "Framework",
        ".spec.framework",
        "Framework whose environment variables the ranks get.",
        wide=True,
    ),
    _column(
        "Attempt",
        ".status.attempt",
        "Number of the current attempt, from 0.",
        type_="integer",
        wide=True,
    ),
    _column(
        "Reason",
        f'.status.conditions[?(@.type=="{CONDITION_FINISHED}")].reason',
        "Reason why the job finished.",
        wide=True,
    ),
    _column("Age", ".metadata.creationTimestamp", "Time since creation.", type_="date"),
)

_POLICY_COLUMNS: Final = (
    _column(
        "TTL",
        ".status.ttlSecondsAfterFinished",
        "Seconds for which finished jobs are kept.",
        type_="integer",
    ),
    _column("Last", ".status.lastSweepTime", "Time since the last sweep.", type_="date"),
    _column("Jobs", ".status.jobsDeleted", "Jobs deleted by the last sweep.", type_="integer"),
    _column("Files", ".status.filesRemoved", "Files removed by the last sweep.", type_="integer"),
    _column("Freed", ".status.bytesFreed", "Bytes freed by the last sweep.", type_="integer"),
    _column("Errors", ".status.errors", "Errors of the last sweep.", type_="integer"),
    # A string: kubectl shows a date as an age, and a future one as <invalid>.
    _column("Next", ".status.nextSweepTime", "Time of the next sweep."),
)


def _root_schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = copy.deepcopy(structural_schema(model))
    properties = schema["properties"]
    for name in ("apiVersion", "kind"):
        properties[name] = {"description": properties[name]["description"], "type": "string"}
    # The API server has its own schema for metadata and allows only `name` and `generateName` here.
    # Without this entry a rule's `fieldPath` could not refer to the name.
    properties["metadata"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    return schema


def _crd(
    kind: str,
    plural: str,
    short_name: str,
    *,
    schema: dict[str, Any],
    columns: tuple[dict[str, Any], ...],
    selectable: tuple[str, ...] = (),
) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": list(columns),
    }
    if selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": [_CATEGORY],
            },
            "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
        },
    }


def training_job_crd() -> dict[str, Any]:
    """Return the CRD of TrainingJob, as a new copy each time."""
    schema = _root_schema(TrainingJob)
    spec = schema["properties"]["spec"]["properties"]
    description = spec["template"]["description"]
    spec["template"] = {**pod_template_schema(), "description": description}
    return _crd(
        KIND_TRAINING_JOB,
        PLURAL_TRAINING_JOBS,
        "tj",
        schema=schema,
        columns=_JOB_COLUMNS,
        selectable=(".status.phase", ".status.recordState"),
    )


def retention_policy_crd() -> dict[str, Any]:
    """Return the CRD of RetentionPolicy, as a new copy each time."""
    return _crd(
        KIND_RETENTION_POLICY,
        PLURAL_RETENTION_POLICIES,
        "rp",
        schema=_root_schema(RetentionPolicy),
        columns=_POLICY_COLUMNS,
    )


class _Dumper(yaml.SafeDumper):
    """A YAML dumper without anchors and aliases: repeated values are written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(document: dict[str, Any]) -> str:
    """Return an object as YAML, with keys in insertion order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=99)


def render_yaml() -> str:
    """Return both CRDs as YAML documents for `kubectl apply -f -`."""
    return "---\n".join(to_yaml(crd) for crd in (training_job_crd(), retention_policy_crd()))
