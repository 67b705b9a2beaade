"""`trainingjob record-token`: the tokens that the record service asks for, the operator's and that of readers.

They are made in the cluster, where they are needed first: what is installed from holds no secret then,
and neither does the history of releases. The record service's pod does this before it starts.
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
    """Put random tokens into a Secret that has none, and write those that it has to files.

    Args:
        settings: the operator's.
        kubeconfig: path of the kubeconfig; None: as kubectl.
        context: its context.
        secret: `NAMESPACE/NAME` of the Secret, or its name alone: in the account's namespace, or
            the context's.
        outputs: the file for each token, by the token's key in the Secret; its folder is there.

    Returns:
        Whether it is done; if not, standard error says why.

    Raises:
        SettingsError: there is no API server to be found, or a file cannot be written.
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
