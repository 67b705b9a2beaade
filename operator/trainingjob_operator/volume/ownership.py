"""Whose volume it is: the refusals, and what a person types to change it."""

from typing import Final

from trainingjob_api.constants import REASON_FOREIGN_VOLUME, REASON_SENTINEL_MISSING
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.names import SENTINEL
from trainingjob_operator.volume.sweep.rules import Owner

UNKNOWN: Final = "unknown"
"""How people write the identity of an owner that a file does not name."""

MOST_ADOPTED: Final = 16
"""Earlier owners that a volume remembers at most; a further one is refused."""


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
