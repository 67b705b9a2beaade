"""One Secret that somebody else has made, and a value that is put into it once."""

import base64
import binascii
from typing import Any, Final

from trainingjob_api.errors import ConflictError, InvalidError
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.kube.gateway import MERGE_PATCH, Gateway

_TRIES: Final = 5

Object = dict[str, Any]


class SecretGateway(Gateway):
    """The calls of whoever makes a secret. The operator itself has no right to any Secret."""

    async def get_or_set_value(self, namespace: str, name: str, key: str, *, proposal: str) -> str:
        """Return what a Secret has under a key; the proposal, stored there now, if it has nothing.

        Two that do this at once agree: the patch carries the version that was read, so the second
        one meets a conflict and reads what the first has put there.

        Raises:
            InvalidError: there is no such Secret, or its value is no text.
            ConflictError: somebody writes to it all the time.
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
        raise InvalidError("the Secret's value is no text") from error
