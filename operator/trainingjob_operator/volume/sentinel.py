"""`.trainingjob-volume`: which volume this is, and whose.

The owner is an identity (see `volume.identity`): a cluster's name is `default` everywhere. A file
of version 1 has none; whose volume that is, is unknown until a person adopts it.

An empty directory where a volume should be mounted looks like a volume whose jobs have all gone,
and a mistyped root is somebody else's data. So nothing is ever removed where this file is not.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from trainingjob_api.constants import REASON_SENTINEL_MISSING
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.documents import (
    create_document,
    read_document,
    write_document,
)
from trainingjob_operator.volume.names import SENTINEL
from trainingjob_operator.volume.sweep.rules import Owner

_VERSION = 2
_WITHOUT_IDENTITY = 1


@dataclass(frozen=True, slots=True)
class Sentinel:
    """What the file says."""

    volume_id: str
    owner: Owner


def new_sentinel(owner: Owner) -> Sentinel:
    """One for a volume that has none."""
    return Sentinel(volume_id=str(uuid4()), owner=owner)


def write_sentinel(sentinel: Sentinel, *, at: int) -> None:
    """Say whose this volume is, in place of what it says now.

    Raises:
        OSError: the volume does not take it.
    """
    write_document(SENTINEL, _document(sentinel), at=at)


def create_sentinel(sentinel: Sentinel, *, at: int) -> None:
    """Say whose this volume is, if nothing says so yet: of two that try, one succeeds.

    Raises:
        FileExistsError: something says so already.
        OSError: the volume does not take it.
    """
    create_document(SENTINEL, _document(sentinel), at=at)


def _document(sentinel: Sentinel) -> dict[str, Any]:
    owner = sentinel.owner
    return {
        "version": _VERSION,
        "volumeId": sentinel.volume_id,
        "identity": owner.identity,
        "cluster": owner.cluster,
        "namespaces": list(owner.namespaces),
        "adopted": list(owner.adopted),
    }


def read_sentinel(*, at: int, path: str) -> Sentinel | None:
    """What the file says; None: it is not there.

    Raises:
        VolumeError: it cannot be understood.
        OSError: it cannot be read.
    """
    try:
        document = read_document(SENTINEL, at=at)
        return None if document is None else _sentinel(document)
    except ValueError as error:
        raise VolumeError(
            f"{path}/{SENTINEL} cannot be understood ({error}): look at it, remove it, and run "
            f"`trainingjob prune --init --root {path}`",
            reason=REASON_SENTINEL_MISSING,
        ) from error


def _sentinel(document: dict[str, Any]) -> Sentinel:
    volume_id, cluster = document.get("volumeId"), document.get("cluster")
    namespaces = document.get("namespaces")
    version = document.get("version")
    if version not in {_VERSION, _WITHOUT_IDENTITY} or isinstance(version, bool):
        raise ValueError(f"its version is not {_VERSION}")
    if not (isinstance(volume_id, str) and volume_id and isinstance(cluster, str) and cluster):
        raise ValueError("it has no volumeId or no cluster")
    if not isinstance(namespaces, list) or not all(isinstance(n, str) for n in namespaces):
        raise ValueError("its namespaces are no list of names")
    if version == _WITHOUT_IDENTITY:
        return Sentinel(volume_id, Owner(cluster, tuple(namespaces)))
    identity, adopted = document.get("identity"), document.get("adopted")
    if not (isinstance(identity, str) and identity):
        raise ValueError("it has no identity")
    if not isinstance(adopted, list) or not all(isinstance(each, str) for each in adopted):
        raise ValueError("the identities that it adopted are no list")
    return Sentinel(volume_id, Owner(cluster, tuple(namespaces), identity, tuple(adopted)))
