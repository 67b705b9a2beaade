"""Owners of volumes and of job directories: who they are, and the refusals of what is not ours."""

from dataclasses import dataclass
from typing import Final

from trainingjob_api.constants import REASON_FOREIGN_VOLUME, REASON_SENTINEL_MISSING
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.layout import SENTINEL

UNKNOWN: Final = "unknown"
"""The word by which people name an owner whose identity the file does not have."""

MOST_ADOPTED: Final = 16
"""Earlier owners that a volume remembers at most; a further one is refused."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The install that a volume belongs to.

    Attributes:
        cluster: the cluster's name, for people: it is `default` everywhere, and decides nothing.
        namespaces: those whose jobs are served; empty: all.
        identity: the uid of the operator's own namespace; "": unknown, which equals nothing.
        adopted: identities of earlier owners, whose marks count as ours because a person has said
            so; "" stands for marks that name none.
    """

    cluster: str
    namespaces: tuple[str, ...] = ()
    identity: str = ""
    adopted: tuple[str, ...] = ()

    def serves(self, namespace: str) -> bool:
        """True if jobs of this namespace are ours."""
        return not self.namespaces or namespace in self.namespaces

    def recognises(self, identity: str) -> bool:
        """True if what this identity has marked is ours."""
        is_own = bool(self.identity) and identity == self.identity
        return is_own or identity in self.adopted

    def covers(self, other: "Owner") -> bool:
        """True if every job that the other serves is ours."""
        if not self.identity or self.identity != other.identity:
            return False
        return not self.namespaces or (
            bool(other.namespaces) and set(other.namespaces) <= set(self.namespaces)
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """The owner of a job's directory, as `job_<uid>/.trainingjob` says it.

    Attributes:
        cluster: the cluster's name, for people.
        identity: of the install that wrote it, as in `Owner`; "": it does not say.
    """

    uid: str
    namespace: str
    name: str
    cluster: str
    identity: str = ""


def no_sentinel(path: str) -> VolumeError:
    """Return the refusal of a root without a sentinel."""
    return VolumeError(
        f"{path} has no {SENTINEL}: either the volume is not mounted there, or it is an old one; "
        f"for an old one run `trainingjob prune --init --root {path}`",
        reason=REASON_SENTINEL_MISSING,
    )


def other_volume(path: str, found: str, expected: str) -> VolumeError:
    """Return the refusal of a volume that is not the one that the policy remembers."""
    return VolumeError(
        f"{path} is volume {found}, and the policy looks after {expected}: mount that one, or let "
        "go of it with `kubectl patch retentionpolicy default --subresource=status --type=merge "
        '-p \'{"status":{"volumeId":null}}\'` in the operator\'s namespace',
        reason=REASON_FOREIGN_VOLUME,
    )


def not_ours(path: str, theirs: Owner, ours: Owner) -> VolumeError:
    """Return the refusal of a volume that another one looks after, or an unknown one."""
    if not theirs.identity:
        return VolumeError(
            f"{path} does not say which install it belongs to (cluster {theirs.cluster!r}, "
            f"namespaces {_names(theirs)}; written by an earlier version): if no other operator "
            f"uses it, run {adopt_command(path, theirs)}",
            reason=REASON_FOREIGN_VOLUME,
        )
    return VolumeError(
        f"{path} belongs to cluster {theirs.cluster!r}, namespaces {_names(theirs)} (identity "
        f"{theirs.identity}); this operator serves {ours.cluster!r}, {_names(ours)} (identity "
        f"{ours.identity}): give each operator a volume of its own, or, if the other is gone for "
        f"good, run {adopt_command(path, theirs)}",
        reason=REASON_FOREIGN_VOLUME,
    )


def adopt_command(path: str, theirs: Owner) -> str:
    """Return what to type to take a volume over from this owner."""
    return (
        f"`trainingjob prune --adopt {theirs.identity or UNKNOWN} --root {path}` in the "
        "operator's pod"
    )


def _names(owner: Owner) -> str:
    return ", ".join(owner.namespaces) or "all"
