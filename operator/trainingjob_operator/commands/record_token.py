"""`trainingjob record-token`: generates the record service's tokens, for the operator and readers.

They are generated in the cluster, by an init container of the record service's pod. So neither the
chart's values nor the release history of Helm contain a secret.
"""

import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
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
    outputs: Mapping[str, Path],
) -> bool:
    """Add random tokens to a Secret where they are missing, and write its tokens to files.

    Args:
        settings: the operator's.
        kubeconfig: path of the kubeconfig; None: as kubectl.
        context: its context.
        secret: `NAMESPACE/NAME` of the Secret, or its name alone: in the account's namespace, or
            the context's.
        outputs: the file for each token, by the token's key in the Secret; its directory must
            exist.

    Returns:
        True on success; else the error was printed to stderr.

    Raises:
        SettingsError: no API server is configured, or a file cannot be written.
    """
    connection = await connect(kubeconfig, context)
    namespace, _, name = secret.rpartition("/")
    namespace = namespace or connection.namespace
    for key, output in outputs.items():
        proposal = secrets.token_urlsafe(_BYTES)
        try:
            async with SecretGateway(connection, timeout_s=settings.kubernetes.timeout) as gateway:
                token = await gateway.get_or_set_value(namespace, name, key, proposal=proposal)
        except KubernetesError as error:
            _say(f"{error}")
            return False
        _write(output, token)
        state = "new" if token == proposal else "kept"
        _say(f"the {key} in the Secret {secret} is {state}")
    return True


def _write(path: Path, token: str) -> None:
    """Write a file atomically, readable by its owner only."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
        Path(name).replace(path)
    except OSError as error:
        raise SettingsError(f"--output: cannot write {path}: {error.strerror}") from error


def _say(line: str) -> None:
    sys.stderr.write(f"trainingjob record-token: {line}\n")
