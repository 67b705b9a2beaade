"""`trainingjob record-token`: the token that the operator shows and the record service asks for.

It is made in the cluster, where it is needed first: what is installed from holds no secret then,
and neither does the history of releases. The record service's pod does this before it starts.
"""

import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Final

from trainingjob_api.errors import KubernetesError, SettingsError
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.secret import SecretGateway
from trainingjob_operator.settings import Settings

_BYTES: Final = 32


async def record_token(
    settings: Settings,
    *,
    kubeconfig: str | None,
    context: str | None,
    secret: str,
    key: str,
    output: Path,
) -> bool:
    """Put a random token into a Secret that has none, and write the one that it has to a file.

    Args:
        settings: the operator's.
        kubeconfig: path of the kubeconfig; None: as kubectl.
        context: its context.
        secret: `NAMESPACE/NAME` of the Secret, or its name alone: in the account's namespace, or
            the context's.
        key: the token's key in it.
        output: the file; its folder is there.

    Returns:
        Whether it is done; if not, standard error says why.

    Raises:
        SettingsError: there is no API server to be found, or the file cannot be written.
    """
    connection = await connect(kubeconfig, context)
    namespace, _, name = secret.rpartition("/")
    proposal = secrets.token_urlsafe(_BYTES)
    try:
        async with SecretGateway(connection, timeout_s=settings.kubernetes.timeout) as gateway:
            token = await gateway.value_or(
                namespace or connection.namespace, name, key, proposal=proposal
            )
    except KubernetesError as error:
        _say(f"{error}")
        return False
    _write(output, token)
    _say(f"the token in the Secret {secret} is {'new' if token == proposal else 'kept'}")
    return True


def _write(path: Path, token: str) -> None:
    """Whole or not at all, and for its owner only."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
        Path(name).replace(path)
    except OSError as error:
        raise SettingsError(f"--output: cannot write {path}: {error.strerror}") from error


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob record-token: {line}\n")
