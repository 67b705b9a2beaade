"""The RetentionPolicies as they were last seen, by namespace.

A policy that cannot be understood (an older CRD, a hand in the store) is as good as none: the
default policy rules its namespace, and its status says so.

Bound: `limit` namespaces. At the limit further policies are not remembered, and it is remembered
that there are some: of a namespace that is not known then nothing is concluded, so that a job goes
by its own time only. The same holds for a namespace whose policies could not be listed.
"""

from collections.abc import Collection
from typing import Final

from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import has_gone_back, is_newer
from trainingjob_operator.core.observe_policy import PolicyView
from trainingjob_operator.core.retention import NO_RULES, Inherited

LIMIT: Final = 10_000


class PolicyIndex:
    """The policy of each namespace. Synchronous; filled from lists and from the watch.

    Attributes:
        changes_total: how often it came to say something else than before.
    """

    def __init__(
        self, default_namespace: str, *, settings_ttl_s: float, limit: int = LIMIT
    ) -> None:
        """Make an empty book, of which nothing is concluded until a list was taken in.

        Args:
            default_namespace: where the policy lives that rules all namespaces without one.
            settings_ttl_s: how long a finished job is kept when no policy says anything.
            limit: policies that are remembered at most.
        """
        self.default_namespace: Final = default_namespace
        self.limit: Final = limit
        self._settings_ttl_s: Final = settings_ttl_s
        self._known: Final[dict[str, PolicyView]] = {}
        self._is_complete = False
        self._unread: frozenset[str] = frozenset()
        self.changes_total = 0

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Use and limit."""
        return (Bound("policies", len(self), self.limit),)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def has_default(self) -> bool:
        """True if the default policy is there."""
        return self.default_namespace in self._known

    def get(self, namespace: str) -> PolicyView | None:
        """The policy of a namespace, if it has one."""
        return self._known.get(namespace)

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces whose policies are known."""
        return frozenset(self._known)

    def ruler_of(self, namespace: str) -> str:
        """The namespace whose policy looks after the jobs of this one."""
        known = self._known.get(namespace)
        return namespace if known is not None and known.invalid is None else self.default_namespace

    def inherited_by(self, namespace: str) -> Inherited | None:
        """Return the rules for the jobs of a namespace; None: they are not known."""
        own = self._known.get(namespace)
        default = self._known.get(self.default_namespace)
        if own is None and not self._is_known(namespace):
            return None
        if default is None and not self._is_known(self.default_namespace):
            return None
        return Inherited(
            own=own.rules if own is not None else NO_RULES,
            default=default.rules if default is not None else NO_RULES,
            settings_ttl_s=self._settings_ttl_s,
        )

    def _is_known(self, namespace: str) -> bool:
        """True if a namespace without a policy in the book has none."""
        return self._is_complete and namespace not in self._unread

    def put(self, policy: PolicyView) -> bool:
        """Take in a policy as it was just seen; what is older than the book has is ignored.

        Returns:
            Whether it says something else than what the book had.
        """
        known = self._known.get(policy.namespace)
        is_default = policy.namespace == self.default_namespace
        if known is None and not is_default and len(self._known) >= self.limit:
            self._is_complete = False
            self.changes_total += 1
            return False
        if known is not None and not is_newer(policy.resource_version, known.resource_version):
            return False
        self._known[policy.namespace] = policy
        old = (known.rules, known.invalid) if known is not None else (NO_RULES, None)
        has_changed = known is None or old != (policy.rules, policy.invalid)
        self.changes_total += has_changed
        return old != (policy.rules, policy.invalid)

    def forget(self, namespace: str, uid: str) -> bool:
        """Remove a policy that is gone, if it is this very one."""
        known = self._known.get(namespace)
        if known is None or known.uid != uid:
            return False
        del self._known[namespace]
        self.changes_total += 1
        return True

    def replace(
        self, policies: Collection[PolicyView], version: str, *, unread: Collection[str] = ()
    ) -> set[str]:
        """Take in a complete list, read at this resourceVersion.

        What it lacks is gone, unless it is newer than the list. What it has holds, even if it is
        older than what was known by then: that means that the cluster was restored.

        Args:
            policies: what was listed.
            version: the list's.
            unread: namespaces that could not be listed: what is known of them stays.

        Returns:
            The namespaces about which the book says something else now.
        """
        listed = {policy.namespace for policy in policies}
        gone = [
            known
            for known in self._known.values()
            if known.namespace not in listed
            and known.namespace not in unread
            and not is_newer(known.resource_version, version)
        ]
        changed = {known.namespace for known in gone} | (self._unread - set(unread))
        self._unread = frozenset(unread)
        for known in gone:
            del self._known[known.namespace]
        for policy in policies:
            before = self._known.get(policy.namespace)
            if before is not None and has_gone_back(
                before.resource_version, policy.resource_version, at=version
            ):
                self._known[policy.namespace] = policy
                changed.add(policy.namespace)
        self.changes_total += bool(changed) or not self._is_complete
        self._is_complete = True
        changed.update(policy.namespace for policy in policies if self.put(policy))
        return changed
