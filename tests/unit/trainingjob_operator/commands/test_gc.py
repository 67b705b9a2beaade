"""`trainingjob gc` where one namespace may not be listed: the operator's own housekeeping."""

import pytest

from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.leaping import LoopClock, leaping_time
from tests.support.cluster.operator_life import settings_of
from tests.unit.trainingjob_operator.retention.test_job_sweep import ended
from trainingjob_operator.commands.gc import Account, _sweep
from trainingjob_operator.engine import Engine
from trainingjob_operator.observability.counters import Metrics
from trainingjob_operator.volume.sweep.report_text import Listing

NAMESPACES = ("web", "ml", "ops")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_namespace_that_may_not_be_listed_does_not_keep_the_others_from_theirs(
    dry_run: bool,
) -> None:
    @leaping_time
    async def play() -> None:
        cluster = FakeCluster(LoopClock(), namespaces=NAMESPACES)
        cluster.create_policy_as_user("ops")
        for namespace in NAMESPACES:
            ended(cluster, "old", namespace=namespace)
        cluster.forbidden.update({("list_jobs", "web"), ("list_policies", "web")})
        account = Account(listing=Listing() if dry_run else None)
        engine = Engine(
            settings_of(ttl_s=60, namespaces=NAMESPACES),
            cluster,
            cluster.clock,
            namespace="ops",
            on_pass=print,
            counts=Metrics().gc,
            on_deleted=lambda key, reason: account.jobs.append((key, reason)),
            creates_default=False,
            dry_run=dry_run,
        )
        await _sweep(engine, account)
        assert sorted((key.namespace, reason) for key, reason in account.jobs) == [
            ("ml", "TTL"),
            ("ops", "TTL"),
        ]
        left = {job["metadata"]["namespace"] for job in cluster.jobs()}
        assert left == (set(NAMESPACES) if dry_run else {"web"})
        assert account.failed == ["1 jobs or lists of jobs could not be dealt with"]

    play()
