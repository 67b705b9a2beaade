"""Defines the owners of volumes and of job directories, and the errors for foreign volumes."""

from dataclasses import dataclass
from typing import Final

from trainingjob_api.constants import REASON_FOREIGN_VOLUME, REASON_SENTINEL_MISSING
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.layout import SENTINEL

UNKNOWN: Final = "unknown"
"""The value of `--adopt` for an owner whose sentinel has no identity."""

MAX_ADOPTED: Final = 16
"""Maximum number of earlier owners in a sentinel; adopting from a further one is refused."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The install that owns a volume.

    Attributes:
        cluster: the cluster's name, for messages only, since it is `default` everywhere.
        namespaces: the namespaces whose jobs are served; empty: all.
        identity: the uid of the operator's own namespace; "": unknown, and equal to no other.
        adopted: identities of earlier owners; their marks count as ours, as somebody confirmed with
            `--adopt`. "" stands for marks without an identity.
    """

    cluster: str
    namespaces: tuple[str, ...] = ()
    identity: str = ""
    adopted: tuple[str, ...] = ()

    def serves(self, namespace: str) -> bool:
        """True if this install serves the jobs of this namespace."""
        return not self.namespaces or namespace in self.namespaces

    def recognises(self, identity: str) -> bool:
        """True if marks with this identity are ours."""
        is_own = bool(self.identity) and identity == self.identity
        return is_own or identity in self.adopted

    def covers(self, other: "Owner") -> bool:
        """True if it is the same install, and serves every namespace that the other serves."""
        if not self.identity or self.identity != other.identity:
            return False
        return not self.namespaces or (
            bool(other.namespaces) and set(other.namespaces) <= set(self.namespaces)
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """The owner of a job's directory, as stored in `job_<uid>/.trainingjob`.

    Attributes:
        cluster: the cluster's name, for messages.
        identity: the identity of the install that wrote it, as in `Owner`; "": unknown.
    """

    uid: str
    namespace: str
    name: str
    cluster: str
    identity: str = ""


def missing_sentinel_error(path: str) -> VolumeError:
    """Return the error for a root without a sentinel."""
    return VolumeError(
        f"{path} has no {SENTINEL}: either the volume is not mounted there, or it already had "
        "files before this operator used it; in that case run "
        f"`trainingjob prune --init --root {path}`",
        reason=REASON_SENTINEL_MISSING,
    )


def wrong_volume_error(path: str, found: str, expected: str) -> VolumeError:
    """Return the error for a volume whose id is not the one in the policy's status."""
    return VolumeError(
        f"{path} is volume {found}, but the policy's status.volumeId is {expected}: mount that "
        "volume, or, to use this one from now on, clear the id with "
        "`kubectl patch retentionpolicy default --subresource=status --type=merge "
        '-p \'{"status":{"volumeId":null}}\'` in the operator\'s namespace',
        reason=REASON_FOREIGN_VOLUME,
    )


def foreign_volume_error(path: str, theirs: Owner, ours: Owner) -> VolumeError:
    """Return the error for a volume that belongs to another install, or to an unknown one."""
    if not theirs.identity:
        return VolumeError(
            f"the sentinel of {path} does not identify its install (cluster {theirs.cluster!r}, "
            f"namespaces {_names(theirs)}; written by an earlier version): if no other operator "
            f"uses it, run {adopt_command(path, theirs)}",
            reason=REASON_FOREIGN_VOLUME,
        )
    return VolumeError(
        f"{path} belongs to cluster {theirs.cluster!r}, namespaces {_names(theirs)} (identity "
        f"{theirs.identity}); this operator serves {ours.cluster!r}, {_names(ours)} (identity "
        f"{ours.identity}): give each operator its own volume, or, if the other install was "
        f"removed permanently, run {adopt_command(path, theirs)}",
        reason=REASON_FOREIGN_VOLUME,
    )


def adopt_command(path: str, theirs: Owner) -> str:
    """Return the command that takes a volume over from this owner, for messages."""
    return (
        f"`trainingjob prune --adopt {theirs.identity or UNKNOWN} --root {path}` in the "
        "operator's pod"
    )


def _names(owner: Owner) -> str:
    return ", ".join(owner.namespaces) or "all"
