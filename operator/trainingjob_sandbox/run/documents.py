"""Parses the YAML or JSON file of `trainingjob run`: exactly one TrainingJob, and the objects it needs.

It does not validate the objects; the API server does.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

Object = dict[str, Any]

JOBS_PREFIX: Final = "/apis/trainingjob.dev/v1alpha1"
_JOB: Final = ("trainingjob.dev/v1alpha1", "TrainingJob")
_DEFAULT_NAMESPACE: Final = "default"

_NAMESPACED: Final = {
    _JOB: f"{JOBS_PREFIX}/namespaces/{{}}/trainingjobs",
    ("trainingjob.dev/v1alpha1", "RetentionPolicy"): (
        f"{JOBS_PREFIX}/namespaces/{{}}/retentionpolicies"
    ),
    ("v1", "ConfigMap"): "/api/v1/namespaces/{}/configmaps",
    ("v1", "PersistentVolumeClaim"): "/api/v1/namespaces/{}/persistentvolumeclaims",
    ("v1", "ResourceQuota"): "/api/v1/namespaces/{}/resourcequotas",
    ("v1", "Secret"): "/api/v1/namespaces/{}/secrets",
    ("v1", "Service"): "/api/v1/namespaces/{}/services",
    ("v1", "ServiceAccount"): "/api/v1/namespaces/{}/serviceaccounts",
}
_NAMESPACE: Final = ("v1", "Namespace")


class InputError(Exception):
    """The user's input cannot be run. The message has one line for each error."""


class _Loader(yaml.SafeLoader):
    """Loads YAML as kubectl does: a timestamp is a string, because JSON has no dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Document:
    """One object of the file, and the API path of its collection."""

    collection: str
    body: Object

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return str(self.body["metadata"]["namespace"])

    @property
    def path(self) -> str:
        """The object's API path."""
        return f"{self.collection}/{self.name}"


@dataclass(frozen=True, slots=True)
class Documents:
    """The objects of a file, sorted by role.

    Attributes:
        namespaces: the namespaces of the objects, each once, in file order.
        others: the objects other than the job, in file order.
        job: the one TrainingJob.
    """

    namespaces: list[str]
    others: list[Document]
    job: Document


def read_documents(text: str) -> Documents:
    """Parse the objects of a YAML or JSON text; an object without a namespace gets `default`.

    Raises:
        InputError: not YAML, an unsupported kind, or not exactly one TrainingJob.
    """
    try:
        parsed = list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"this is not YAML: {_in_one_line(str(error))}") from error
    namespaces: dict[str, None] = {}
    jobs: list[Document] = []
    others: list[Document] = []
    for number, body in enumerate(_objects(parsed), start=1):
        kind = _kind(body, number)
        if kind == _NAMESPACE:
            namespaces[body["metadata"]["name"]] = None
            continue
        namespace = body["metadata"].setdefault("namespace", _DEFAULT_NAMESPACE)
        namespaces[namespace] = None
        document = Document(_NAMESPACED[kind].format(namespace), body)
        (jobs if kind == _JOB else others).append(document)
    if len(jobs) != 1:
        names = f" ({', '.join(job.name for job in jobs)})" if jobs else ""
        raise InputError(
            f"`run` takes exactly one TrainingJob, but the file has {len(jobs)}{names}"
        )
    return Documents(list(namespaces), others, jobs[0])


def _objects(parsed: Iterable[object]) -> Iterator[Object]:
    for number, body in enumerate(parsed, start=1):
        if body is None:  # nothing between two separators
            continue
        if not isinstance(body, dict):
            raise InputError(f"document {number} is not a Kubernetes object: {body!r:.60}")
        try:
            json.dumps(body, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"document {number} cannot be written as JSON: {error}") from error
        yield body


def _kind(body: Object, number: int) -> tuple[str, str]:
    kind = (str(body.get("apiVersion")), str(body.get("kind")))
    if kind not in _NAMESPACED and kind != _NAMESPACE:
        known = ", ".join(["Namespace", *(name for _, name in _NAMESPACED)])
        raise InputError(
            f"document {number} is {' '.join(kind)!r:.120}, which `run` does not support; "
            f"supported: {known}"
        )
    metadata = body.get("metadata")
    named = isinstance(metadata, dict) and isinstance(metadata.get("name"), str)
    if not named or not body["metadata"]["name"]:
        raise InputError(f"document {number} ({kind[1]}) has no metadata.name")
    if not isinstance(body["metadata"].get("namespace", ""), str):
        raise InputError(f"document {number} ({kind[1]}): metadata.namespace must be a string")
    return kind


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
