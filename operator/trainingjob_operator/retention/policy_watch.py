"""Keeps the book of RetentionPolicies, and sees to it that the default one is there.

The book is filled from lists, at the start and every few minutes, and from the watch in between.
When a policy says something else than before, the finished jobs in memory are looked at again: a
shorter time to live takes effect at once.

A namespace whose policies are forbidden to us is left out, and asked about again every half
minute; what the watch reports, or was known before, stays.
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

_EVERY_S: Final = 300.0
_RETRY_S: Final = 30.0
_WHAT: Final = "RetentionPolicies"
_logger = logging.getLogger(__name__)


class PolicyWatch:
    """The intake of changes of policies."""

    def __init__(
        self,
        api: Cluster,
        book: PolicyIndex,
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
            api: where policies are.
            book: where they are remembered.
            index: the jobs in memory.
            namespaces: where policies count; None alone stands for everywhere.
            forbidden_lists: the lists that are forbidden to us.
            unreported: what was done for policies that are gone leaves it.
            enqueue: takes the key of a job for which something else may hold by now.
            creates_default: creates the default policy where it is missing.
        """
        self._api: Final = api
        self._book: Final = book
        self._index: Final = index
        self._namespaces: Final = namespaces
        self._forbidden_lists: Final = forbidden_lists
        self._unreported: Final = unreported
        self._enqueue: Final = enqueue
        self._creates_default: Final = creates_default
        self._turn: Final = asyncio.Lock()
        self._wake: Final = asyncio.Event()
        self._is_fresh = False

    def policy_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        """A RetentionPolicy was listed (None), ADDED, MODIFIED or DELETED."""
        if not _counts(raw):
            return
        policy = policy_view(raw)
        if kind == DELETED:
            if self._book.forget(policy.namespace, policy.uid):
                self._unreported.forget(policy.namespace)
                self._apply({policy.namespace})
                self._wake.set()
        elif self._book.put(policy):
            self._apply({policy.namespace})

    def is_there(self, namespace: str, uid: str) -> bool:
        """True if this very policy was seen, and not seen to go."""
        policy = self._book.get(namespace)
        return policy is not None and policy.uid == uid

    async def refresh(self) -> None:
        """List all policies that we may, and create the default one if it is not there.

        Raises:
            KubernetesError: they could not be listed, or it could not be created.
        """
        # One after the other: a list that began before another one brings back what that one
        # rightly lacked.
        async with self._turn:
            await self._refresh()

    async def _refresh(self) -> None:
        found: list[PolicyView] = []
        version = ""
        unread: list[str] = []
        for namespace in self._namespaces:
            try:
                async for page in self._api.list_policies(namespace):
                    # Of several lists the first: what is newer than that is not taken for gone.
                    version = version or page.resource_version
                    found += (policy_view(raw) for raw in page.items if _counts(raw))
            except ForbiddenError as error:
                if namespace is None or len(unread) + 1 == len(self._namespaces):
                    raise  # nothing at all can be read
                unread.append(namespace)
                self._say_unread(namespace, error)
            else:
                self._say_read(namespace)
        changed = self._book.replace(found, version, unread=unread)
        for namespace in changed:
            if self._book.get(namespace) is None:
                self._unreported.forget(namespace)
        self._apply(changed)
        is_missing = not self._book.has_default and self._book.default_namespace not in unread
        if is_missing and self._creates_default:
            await self._create_default()
        self._is_fresh = not unread

    def _say_unread(self, namespace: str, error: ForbiddenError) -> None:
        if self._forbidden_lists.note_forbidden(_WHAT, namespace):
            _logger.warning(
                "cannot list the RetentionPolicies of namespace %s: %s; without them its jobs are "
                "deleted only by a time of their own",
                namespace,
                error,
            )

    def _say_read(self, namespace: str | None) -> None:
        if self._forbidden_lists.note_allowed(_WHAT, namespace):
            _logger.info("the RetentionPolicies of namespace %s can be listed now", namespace)

    async def run(self) -> None:
        """Refresh the book every few minutes, and when a policy has gone, until cancelled."""
        while True:
            if not self._is_fresh:
                try:
                    await self.refresh()
                except KubernetesError as error:
                    _logger.warning("cannot read or create the RetentionPolicies: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S if self._is_fresh else _RETRY_S):
                    await self._wake.wait()
            self._wake.clear()
            self._is_fresh = False

    async def _create_default(self) -> None:
        namespace = self._book.default_namespace
        with suppress(AlreadyExistsError):  # the watch is about to bring it
            self._book.put(policy_view(await self._api.create_policy(namespace)))
            _logger.info("created the default RetentionPolicy in namespace %s", namespace)

    def _apply(self, namespaces: set[str]) -> None:
        """Look again at the jobs of a policy that has changed: they may be due by now."""
        if not namespaces:
            return
        concerns_all = self._book.default_namespace in namespaces
        for entry in self._index:
            job = entry.job
            if job.status.is_finished and (concerns_all or job.key.namespace in namespaces):
                self._enqueue(job.key)


def _counts(raw: dict[str, Any]) -> bool:
    return as_dict(raw.get("metadata")).get("name") == POLICY_NAME
