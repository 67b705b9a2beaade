"""Reads a value of an existing Secret, or stores a proposed value if it has none."""

import base64
import binascii
from typing import Any, Final

from trainingjob_api.errors import ConflictError, InvalidError
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.kube.gateway import MERGE_PATCH, Gateway

_TRIES: Final = 5

Object = dict[str, Any]


class SecretGateway(Gateway):
    """The calls of `trainingjob record-token`. The operator itself has no right to any Secret."""

    async def get_or_set_value(self, namespace: str, name: str, key: str, *, proposal: str) -> str:
        """Return the value of a Secret's key; store the proposal and return it if there is none.

        Two concurrent callers get the same value: the patch carries the resourceVersion that was
        read, so the second caller gets a conflict and reads the value that the first one stored.

        Raises:
            InvalidError: the Secret does not exist, or its value is not text.
            ConflictError: other writers change the Secret faster than this retries.
            KubernetesError: the API server refused, or did not answer.
        """
        path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        for number in range(_TRIES):
            secret = await self._call("GET", path)
            if secret is None:
                raise InvalidError(f"there is no Secret {name} in {namespace}")
            if kept := as_dict(secret.get("data")).get(key):
                return _text(kept)
            body: Object = {
                "metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]},
                "data": {key: base64.b64encode(proposal.encode()).decode()},
            }
            try:
                await self._call("PATCH", path, body=body, content_type=MERGE_PATCH)
            except ConflictError:
                if number == _TRIES - 1:
                    raise
            else:
                return proposal
        raise AssertionError("the loop returns or raises")


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded).decode().strip()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidError("the Secret's value is not text") from error
