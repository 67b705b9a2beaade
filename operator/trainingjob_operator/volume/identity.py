"""The identity of this install: a name for people, and an identity by which a volume is known to be ours.

The identity is the uid of the operator's own namespace. A name is `default` everywhere; a uid is
given once in all clusters, and a namespace that was deleted and made again has another one.

Bound: one identity.
"""

from typing import Final

from trainingjob_api.constants import REASON_IDENTITY_UNKNOWN
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.ownership import Owner


class Identity:
    """The identity as far as it is known. May be asked by any thread."""

    def __init__(self, cluster: str, namespaces: tuple[str, ...]) -> None:
        """Begin without knowing it.

        Args:
            cluster: the cluster's name, for people.
            namespaces: those whose jobs are served; empty: all.
        """
        self._cluster: Final = cluster
        self._namespaces: Final = namespaces
        self._owner: Owner | None = None
        self._why_unknown = "the operator's own namespace has not been read yet"

    @property
    def why_unknown(self) -> str:
        """The reason why the identity is not known; "" when it is."""
        return "" if self._owner is not None else self._why_unknown

    def owner(self) -> Owner:
        """Return the owner that this install is.

        Raises:
            VolumeError: that is not known. Nothing may be claimed, written or removed.
        """
        owner = self._owner
        if owner is None:
            raise VolumeError(self._why_unknown, reason=REASON_IDENTITY_UNKNOWN)
        return owner

    def learn(self, uid: str) -> None:
        """Remember the uid of the operator's own namespace, as it was just read."""
        self._owner = Owner(self._cluster, self._namespaces, uid)

    def doubt(self, why: str) -> None:
        """Remember why it could not be read just now; what was read before is still believed."""
        self._why_unknown = why

    def forget(self, why: str) -> None:
        """Forget what was read before: there is no such namespace (any more)."""
        self._owner, self._why_unknown = None, why
