"""Indexes the last seen RetentionPolicies by namespace.

A policy that cannot be parsed (an older CRD, an edit in etcd) counts as missing: the default policy
applies to its namespace, and the policy's status says so.

Bound: `limit` namespaces. Further policies are not stored, and the index is marked as incomplete.
Then nothing is concluded about a namespace that is not in it: its jobs are deleted only by a time
to live of their own. The same holds for a namespace whose policies could not be listed.
"""

from collections.abc import Collection
from typing import Final

from trainingjob_operator.core.bounded import Bound
from trainingjob_operator.core.job import is_newer, is_rewound
from trainingjob_operator.core.observe_policy import PolicyView
from trainingjob_operator.core.retention import NO_RULES, Inherited

LIMIT: Final = 10_000


class PolicyIndex:
    """The policy of each namespace. Synchronous; filled from lists and from the watch.

    Attributes:
        changes_total: number of changes of the rules in it.
    """

    def __init__(
        self, default_namespace: str, *, settings_ttl_s: float, limit: int = LIMIT
    ) -> None:
        """Start empty and incomplete: nothing is concluded before the first list.

        Args:
            default_namespace: the namespace of the policy for all namespaces without their own.
            settings_ttl_s: how long a finished job is kept if no policy sets a time.
            limit: maximum number of policies.
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
        """True if the default policy exists."""
        return self.default_namespace in self._known

    def get(self, namespace: str) -> PolicyView | None:
        """Return the policy of a namespace, if it has one."""
        return self._known.get(namespace)

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces that have a policy in the index."""
        return frozenset(self._known)

    def policy_namespace_of(self, namespace: str) -> str:
        """Return the namespace of the policy that applies to the jobs of this namespace."""
        known = self._known.get(namespace)
        return namespace if known is not None and known.invalid is None else self.default_namespace

    def inherited_by(self, namespace: str) -> Inherited | None:
        """Return the rules for the jobs of a namespace; None: they are unknown."""
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
        """True if a namespace that is not in the index certainly has no policy."""
        return self._is_complete and namespace not in self._unread

    def put(self, policy: PolicyView) -> bool:
        """Store a policy, unless the index has a newer version of it.

        Returns:
            True if its rules differ from the ones before.
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
        """Remove a deleted policy, if the uid is equal."""
        known = self._known.get(namespace)
        if known is None or known.uid != uid:
            return False
        del self._known[namespace]
        self.changes_total += 1
        return True

    def replace(
        self, policies: Collection[PolicyView], version: str, *, unread: Collection[str] = ()
    ) -> set[str]:
        """Replace the contents by a complete list, read at this resourceVersion.

        A policy that is missing from the list was deleted, unless it is newer than the list. A
        policy in the list is stored even if it is older than the known version: then etcd was
        restored from a backup.

        Args:
            policies: the listed policies.
            version: the resourceVersion of the list.
            unread: namespaces that could not be listed; their known policies are kept.

        Returns:
            The namespaces whose rules have changed.
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
            if before is not None and is_rewound(
                before.resource_version, policy.resource_version, at=version
            ):
                self._known[policy.namespace] = policy
                changed.add(policy.namespace)
        self.changes_total += bool(changed) or not self._is_complete
        self._is_complete = True
        changed.update(policy.namespace for policy in policies if self.put(policy))
        return changed
