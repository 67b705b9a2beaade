"""Fills the index of RetentionPolicies, and creates the default policy if it is missing.

The index is filled from lists, at the start and every few minutes, and from the watch in between.
When the rules of a policy change, the finished jobs in memory are enqueued, so that a shorter time
to live takes effect at once.

A namespace whose policies may not be listed (403) is left out, and listed again every half minute.
Its policies that are known from before or from the watch are kept.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from trainingjob_api.constants import POLICY_NAME
from trainingjob_api.errors import AlreadyExistsError, ForbiddenError, KubernetesError
from trainingjob_operator.core.job import JobKey
from trainingjob_operator.core.observe_policy import PolicyView, policy_view
from trainingjob_operator.core.untyped_json import as_dict
from trainingjob_operator.jobs.job_index import JobIndex
from trainingjob_operator.kube.cluster import Cluster
from trainingjob_operator.kube.forbidden_lists import ForbiddenLists
from trainingjob_operator.retention.policy_index import PolicyIndex
from trainingjob_operator.retention.unreported_totals import UnreportedTotals

DELETED: Final = "DELETED"

_INTERVAL_S: Final = 300.0
_RETRY_S: Final = 30.0
_WHAT: Final = "RetentionPolicies"
_logger = logging.getLogger(__name__)


class PolicyWatch:
    """Handles watch events and lists of policies."""

    def __init__(
        self,
        api: Cluster,
        policies: PolicyIndex,
        index: JobIndex,
        *,
        namespaces: Sequence[str | None],
        forbidden_lists: ForbiddenLists,
        unreported: UnreportedTotals,
        enqueue: Callable[[JobKey], None],
        creates_default: bool = True,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            api: the client that lists and creates policies.
            policies: the index to fill.
            index: the jobs in memory.
            namespaces: the namespaces whose policies count; None alone stands for all.
            forbidden_lists: the lists that are forbidden to us.
            unreported: the counts to drop for deleted policies.
            enqueue: takes the key of a job whose rules may have changed.
            creates_default: create the default policy if it is missing.
        """
        self._api: Final = api
        self._policies: Final = policies
        self._index: Final = index
        self._namespaces: Final = namespaces
        self._forbidden_lists: Final = forbidden_lists
        self._unreported: Final = unreported
        self._enqueue: Final = enqueue
        self._creates_default: Final = creates_default
        self._refresh_lock: Final = asyncio.Lock()
        self._wake: Final = asyncio.Event()
        self._is_fresh = False

    def policy_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        """Handle a RetentionPolicy that was listed (None), ADDED, MODIFIED or DELETED."""
        if not _counts(raw):
            return
        policy = policy_view(raw)
        if kind == DELETED:
            if self._policies.forget(policy.namespace, policy.uid):
                self._unreported.forget(policy.namespace)
                self._apply({policy.namespace})
                self._wake.set()
        elif self._policies.put(policy):
            self._apply({policy.namespace})

    def is_current(self, namespace: str, uid: str) -> bool:
        """True if the policy with this uid was seen, and its deletion was not."""
        policy = self._policies.get(namespace)
        return policy is not None and policy.uid == uid

    async def refresh(self) -> None:
        """List all policies that we may list, and create the default one if it is missing.

        Raises:
            KubernetesError: they could not be listed, or the default one not be created.
        """
        # One list at a time: the result of one that started before another would restore a policy
        # whose deletion the other has shown.
        async with self._refresh_lock:
            await self._refresh()

    async def _refresh(self) -> None:
        found: list[PolicyView] = []
        version = ""
        unread: list[str] = []
        for namespace in self._namespaces:
            try:
                async for page in self._api.list_policies(namespace):
                    # Use the version of the first list: a newer policy counts as existing.
                    version = version or page.resource_version
                    found += (policy_view(raw) for raw in page.items if _counts(raw))
            except ForbiddenError as error:
                if namespace is None or len(unread) + 1 == len(self._namespaces):
                    raise  # nothing at all can be read
                unread.append(namespace)
                self._log_forbidden(namespace, error)
            else:
                self._log_allowed(namespace)
        changed = self._policies.replace(found, version, unread=unread)
        for namespace in changed:
            if self._policies.get(namespace) is None:
                self._unreported.forget(namespace)
        self._apply(changed)
        is_missing = (
            not self._policies.has_default and self._policies.default_namespace not in unread
        )
        if is_missing and self._creates_default:
            await self._create_default()
        self._is_fresh = not unread

    def _log_forbidden(self, namespace: str, error: ForbiddenError) -> None:
        if self._forbidden_lists.note_forbidden(_WHAT, namespace):
            _logger.warning(
                "cannot list the RetentionPolicies of namespace %s: %s; until then a job there is "
                "deleted only if its own spec.ttlSecondsAfterFinished says so",
                namespace,
                error,
            )

    def _log_allowed(self, namespace: str | None) -> None:
        if self._forbidden_lists.note_allowed(_WHAT, namespace):
            _logger.info("the RetentionPolicies of namespace %s can be listed now", namespace)

    async def run(self) -> None:
        """Refresh the index every few minutes, and when a policy was deleted, until cancelled."""
        while True:
            if not self._is_fresh:
                try:
                    await self.refresh()
                except KubernetesError as error:
                    _logger.warning("cannot read or create the RetentionPolicies: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_S if self._is_fresh else _RETRY_S):
                    await self._wake.wait()
            self._wake.clear()
            self._is_fresh = False

    async def _create_default(self) -> None:
        namespace = self._policies.default_namespace
        with suppress(AlreadyExistsError):  # the watch will deliver it
            self._policies.put(policy_view(await self._api.create_policy(namespace)))
            _logger.info("created the default RetentionPolicy in namespace %s", namespace)

    def _apply(self, namespaces: set[str]) -> None:
        """Enqueue the finished jobs of changed policies: they may be due now."""
        if not namespaces:
            return
        concerns_all = self._policies.default_namespace in namespaces
        for entry in self._index:
            job = entry.job
            if job.status.is_finished and (concerns_all or job.key.namespace in namespaces):
                self._enqueue(job.key)


def _counts(raw: dict[str, Any]) -> bool:
    return as_dict(raw.get("metadata")).get("name") == POLICY_NAME
