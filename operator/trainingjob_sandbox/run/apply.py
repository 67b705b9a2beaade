"""Creates the objects of a file in a new sandbox, and formats the API server's validation errors."""

import re
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.run.documents import Document, Documents, InputError, Object

_FIELD_ERRORS: Final = (
    "Invalid value|Required value|Unsupported value|Duplicate value|Forbidden|Too long|Too many"
    "|Not found|Internal error"
)
"""The Kubernetes API's fixed list of error types: each cause in a message is `field: type: detail`."""

_BETWEEN_CAUSES: Final = re.compile(rf", (?=[^ ]+: (?:{_FIELD_ERRORS}))")
_INVALID: Final = re.compile(r"is invalid: \[?(?P<causes>.*?)\]?$", re.DOTALL)

_UNQUOTED: Final = re.compile(r'must be of type (?:\w+,)*string: "(?:number|integer|boolean)"$')
"""A YAML number or boolean where the API expects a string, for example `value: 1`."""


async def apply(client: ApiClient, documents: Documents) -> Object:
    """Create all objects, the job last; return the job as the server stored it.

    Raises:
        InputError: the server rejected an object; the message has one line for each cause.
        ApiError: the server did not answer.
    """
    for namespace in documents.namespaces:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        try:
            await client.create("/api/v1/namespaces", body)
        except ApiError as error:
            if not error.conflict:  # `default` always exists
                raise _refused("Namespace", namespace, error) from error
    for document in documents.others:
        await _create(client, document)
    return await _create(client, documents.job)


async def _create(client: ApiClient, document: Document) -> Object:
    try:
        # Strict, as kubectl does: an unknown field is an error instead of being dropped silently.
        path = f"{document.collection}?fieldValidation=Strict"
        return await client.create(path, document.body)
    except ApiError as error:
        raise _refused(document.body["kind"], document.name, error) from error


def _refused(kind: str, name: str, error: ApiError) -> Exception:
    if not error.permanent:
        return error
    return InputError("\n".join(f"{kind} {name}: {cause}" for cause in causes(error.message)))


def causes(message: str) -> list[str]:
    """Return the causes listed in an error message, one line each; the message itself if it lists none."""
    found = _INVALID.search(message)
    text = " ".join((found["causes"] if found else message).split())
    # The last entry may be `<nil>: ...`: CEL rules were not checked because of the other causes.
    listed = [cause for cause in _BETWEEN_CAUSES.split(text) if not cause.startswith("<nil>")]
    return [f"{c}; write it in quotes" if _UNQUOTED.search(c) else c for c in listed or [text]]
