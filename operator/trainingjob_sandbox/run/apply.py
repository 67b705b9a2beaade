"""Creates the objects of a file in a fresh sandbox, and explains the server's refusals."""

import re
from typing import Final

from trainingjob_sandbox.client import ApiClient, ApiError
from trainingjob_sandbox.run.documents import Document, Documents, InputError, Object

_FIELD_ERRORS: Final = (
    "Invalid value|Required value|Unsupported value|Duplicate value|Forbidden|Too long|Too many"
    "|Not found|Internal error"
)
"""The beginnings of the causes in a refusal, after the field: the API's own fixed list."""

_BETWEEN_CAUSES: Final = re.compile(rf", (?=[^ ]+: (?:{_FIELD_ERRORS}))")
_INVALID: Final = re.compile(r"is invalid: \[?(?P<causes>.*?)\]?$", re.DOTALL)

_UNQUOTED: Final = re.compile(r'must be of type (?:\w+,)*string: "(?:number|integer|boolean)"$')
"""`cpu: 0.5`, `value: 1`: YAML takes for a number or a truth value what the API has as text."""


async def apply(client: ApiClient, documents: Documents) -> Object:
    """Create everything, the job last; returns the job as the server keeps it.

    Raises:
        InputError: the server refused an object; a line for each cause.
        ApiError: the server did not answer.
    """
    for namespace in documents.namespaces:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        try:
            await client.create("/api/v1/namespaces", body)
        except ApiError as error:
            if not error.conflict:  # `default` is always there
                raise _refused("Namespace", namespace, error) from error
    for document in documents.others:
        await _create(client, document)
    return await _create(client, documents.job)


async def _create(client: ApiClient, document: Document) -> Object:
    try:
        # Strict, as kubectl does: a misspelt field is an error, not silently left out.
        path = f"{document.collection}?fieldValidation=Strict"
        return await client.create(path, document.body)
    except ApiError as error:
        raise _refused(document.body["kind"], document.name, error) from error


def _refused(kind: str, name: str, error: ApiError) -> Exception:
    if not error.permanent:
        return error
    return InputError("\n".join(f"{kind} {name}: {cause}" for cause in causes(error.message)))


def causes(message: str) -> list[str]:
    """The causes in the message of a refusal, each in one line; the message where it names none."""
    found = _INVALID.search(message)
    text = " ".join((found["causes"] if found else message).split())
    # The last cause may be that rules were not checked because of the others.
    listed = [cause for cause in _BETWEEN_CAUSES.split(text) if not cause.startswith("<nil>")]
    return [f"{c}; write it in quotes" if _UNQUOTED.search(c) else c for c in listed or [text]]
