"""`.trainingjob-volume`: which volume this is, and whose.

An empty directory where a volume should be mounted looks like a volume whose jobs have all gone,
and a mistyped root is somebody else's data. So nothing is ever removed where this file is not.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from trainingjob_operator.constants import REASON_SENTINEL_MISSING
from trainingjob_operator.core.pruning import Owner
from trainingjob_operator.errors import VolumeError
from trainingjob_operator.volume.documents import read_document, write_document
from trainingjob_operator.volume.names import SENTINEL

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Sentinel:
    """What the file says."""

    volume_id: str
    owner: Owner


def new_sentinel(owner: Owner) -> Sentinel:
    """One for a volume that has none."""
    return Sentinel(volume_id=str(uuid4()), owner=owner)


def write_sentinel(sentinel: Sentinel, *, at: int) -> None:
    """Say whose this volume is.

    Raises:
        OSError: the volume does not take it.
    """
    document = {
        "version": _VERSION,
        "volumeId": sentinel.volume_id,
        "cluster": sentinel.owner.cluster,
        "namespaces": list(sentinel.owner.namespaces),
    }
    write_document(SENTINEL, document, at=at)


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
    if document.get("version") != _VERSION:
        raise ValueError(f"its version is not {_VERSION}")
    if not (isinstance(volume_id, str) and volume_id and isinstance(cluster, str) and cluster):
        raise ValueError("it has no volumeId or no cluster")
    if not isinstance(namespaces, list) or not all(isinstance(n, str) for n in namespaces):
        raise ValueError("its namespaces are no list of names")
    return Sentinel(volume_id, Owner(cluster, tuple(namespaces)))
