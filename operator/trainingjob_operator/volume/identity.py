"""Holds the identity of this install: a volume belongs to us if it carries the same identity.

The identity is the uid of the operator's own namespace. A name would not do, since it is `default`
in every cluster. A uid is unique over all clusters, and a namespace that is deleted and created
again gets a new one. The cluster's name is kept beside it for messages.

Bound: one identity.
"""

from typing import Final

from trainingjob_api.constants import REASON_IDENTITY_UNKNOWN
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.ownership import Owner


class Identity:
    """The identity, once it has been read. May be used from any thread."""

    def __init__(self, cluster: str, namespaces: tuple[str, ...]) -> None:
        """Start with an unknown identity.

        Args:
            cluster: the cluster's name, for messages.
            namespaces: the namespaces whose jobs are served; empty: all.
        """
        self._cluster: Final = cluster
        self._namespaces: Final = namespaces
        self._owner: Owner | None = None
        self._why_unknown = "the operator's own namespace has not been read yet"

    @property
    def why_unknown(self) -> str:
        """The reason why the identity is unknown; "" if it is known."""
        return "" if self._owner is not None else self._why_unknown

    def owner(self) -> Owner:
        """Return this install as the owner of a volume.

        Raises:
            VolumeError: the identity is unknown; nothing may be claimed, written or removed.
        """
        owner = self._owner
        if owner is None:
            raise VolumeError(self._why_unknown, reason=REASON_IDENTITY_UNKNOWN)
        return owner

    def set_uid(self, uid: str) -> None:
        """Store the uid of the operator's own namespace, as just read."""
        self._owner = Owner(self._cluster, self._namespaces, uid)

    def set_read_error(self, why: str) -> None:
        """Store why the last read failed; an identity that was read before stays valid."""
        self._why_unknown = why

    def forget(self, why: str) -> None:
        """Drop the identity: the namespace does not exist (any more)."""
        self._owner, self._why_unknown = None, why
