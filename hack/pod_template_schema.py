"""Writes the pod template schema of a live API server as a structural schema for CRDs.

    python hack/pod_template_schema.py [--kubeconfig FILE]

Run it once for each Kubernetes release that is followed, then `python -m hack.generate`. What is
ours (bounds, rules) is added when the CRD is made: see `trainingjob_api.pod_template`.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

Schema = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "operator/trainingjob_api/data/pod_template.json"
ROOT_SCHEMA: Final = "io.k8s.api.core.v1.PodTemplateSpec"

KEPT: Final = (
    "type",
    "format",
    "enum",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
QUANTITY: Final[Schema] = {
    "x-kubernetes-int-or-string": True,
    "pattern": r"^[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$",
}
INT_OR_STRING: Final[Schema] = {"x-kubernetes-int-or-string": True}
OPAQUE: Final[dict[str, Schema]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
}
OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
TEMPLATE_METADATA: Final = ("labels", "annotations")
"""What is taken over from a template's metadata; all else is the operator's or the server's."""

NOT_IN_TEMPLATES: Final = ("ephemeralContainers",)
"""A pod cannot be created with them."""

_SENTENCE_END: Final = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)\.\s+(?=[A-Z\"'`])|\s*\n")


def first_sentence(text: str) -> str:
    """Return the first sentence of a description; full descriptions would make the CRD too large to apply."""
    sentence = " ".join(_SENTENCE_END.split(text.strip(), maxsplit=1)[0].split()).rstrip(",;")
    return sentence if sentence.endswith((".", ":", "?")) else f"{sentence}."


class Translator:
    """Translates OpenAPI v3 with references into one structural schema without references."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        self._schemas = schemas

    def translate(self, schema: Schema) -> Schema:
        """Return the structural schema of one node and everything below it."""
        target = _reference(schema)
        if target:
            node = dict(OPAQUE.get(target) or self.translate(self._schemas[target]))
        else:
            node = self._inline(schema)
        # Keywords beside a reference describe this field; the referenced schema describes the type.
        if description := schema.get("description"):
            node = {"description": first_sentence(description)} | {
                key: value for key, value in node.items() if key != "description"
            }
        # Go publishes the zero value of every field without omitempty. As a default it would hide
        # that a required field is missing, and say nothing new about any other.
        if schema.get("default"):
            node["default"] = schema["default"]
        return node

    def _inline(self, schema: Schema) -> Schema:
        node: Schema = {key: schema[key] for key in KEPT if key in schema}
        if isinstance(schema.get("additionalProperties"), dict):
            node["additionalProperties"] = self.translate(schema["additionalProperties"])
        if "properties" in schema:
            node["properties"] = {
                name: self.translate(child) for name, child in schema["properties"].items()
            }
        if "items" in schema:
            node["items"] = self.translate(schema["items"])
            _default_keys(node)
        if "type" not in node:
            raise SystemExit(f"a node without a type: {json.dumps(schema)[:200]}")
        return node


def _reference(schema: Schema) -> str:
    """Return the name of the schema that a node refers to, directly or by an `allOf` of one."""
    holder = schema
    if len(schema.get("allOf", ())) == 1:
        holder = schema["allOf"][0]
    return str(holder.get("$ref", "")).rpartition("/")[2]


def _default_keys(node: Schema) -> None:
    """Give each key of a list map a default unless it is required, as CRDs demand."""
    for key in node.get("x-kubernetes-list-map-keys", ()):
        item = node["items"]
        field = item["properties"][key]
        if key not in item.get("required", ()) and "default" not in field:
            item["properties"][key] = {**field, "default": ""}


def pod_template(schemas: dict[str, Schema]) -> Schema:
    """Return the schema of a pod template, reduced to the fields that pods are created from."""
    metadata = schemas[OBJECT_META]
    kept = {name: metadata["properties"][name] for name in TEMPLATE_METADATA}
    schemas = schemas | {OBJECT_META: {**metadata, "properties": kept}}
    template = Translator(schemas).translate(schemas[ROOT_SCHEMA])
    for name in NOT_IN_TEMPLATES:
        del template["properties"]["spec"]["properties"][name]
    return template


def main() -> None:
    """Read the schema from the server of kubectl's current context, and write the data file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", help="as for kubectl; default: kubectl's own")
    parser.add_argument("--kubectl", default="kubectl", help="the kubectl to use")
    arguments = parser.parse_args()

    def get(path: str) -> Any:
        command = [arguments.kubectl, "get", "--raw", path]
        if arguments.kubeconfig:
            command += ["--kubeconfig", arguments.kubeconfig]
        return json.loads(subprocess.check_output(command))

    document = {
        "source": f"Kubernetes {get('/version')['gitVersion']}, /openapi/v3/api/v1, {ROOT_SCHEMA}",
        "license": "Apache-2.0",
        "schema": pod_template(get("/openapi/v3/api/v1")["components"]["schemas"]),
    }
    TARGET.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {document['source']}")


if __name__ == "__main__":
    main()
