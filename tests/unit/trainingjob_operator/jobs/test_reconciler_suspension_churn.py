"""Jobs are suspended, resumed, edited and deleted at random, with a nearly full index."""

import asyncio
import random
from typing import Any

import pytest

from tests.support.builders import make_job
from tests.support.cluster.cluster import FakeCluster
from tests.support.cluster.reconcile_passes import new_cluster, running_operator
from tests.support.cluster.simulated_time import in_simulated_time
from tests.support.markers import quick
from tests.support.records.endpoint import FakeEndpoint

NAMES = [f"job-{number}" for number in range(8)]
AWAKE = 3
"""Jobs that are to run at once, at most: as many as there are places."""


def forever(attempt: int, rank: int) -> None:
    """Ranks that run until somebody ends them."""


def jobs(cluster: FakeCluster) -> dict[str, dict[str, Any]]:
    return {
        job["metadata"]["name"]: job
        for job in cluster.jobs()
        if "deletionTimestamp" not in job["metadata"]
    }


def act(cluster: FakeCluster, dice: random.Random) -> None:
    """One thing that a user does."""
    name = dice.choice(NAMES)
    job = jobs(cluster).get(name)
    awake = sum(not each["spec"]["suspend"] for each in jobs(cluster).values())
    if job is None:
        if name not in {each["metadata"]["name"] for each in cluster.jobs()}:
            cluster.create_job(make_job(name, suspend=awake >= AWAKE, nodes=dice.choice((1, 2))))
    elif not job["spec"]["suspend"]:
        cluster.edit_job(name, suspend=True)
    elif dice.random() < 0.2:
        cluster.delete_job(name)
    elif dice.random() < 0.3:
        cluster.edit_job(name, backoffLimit=dice.randrange(9))
    elif awake < AWAKE:
        cluster.edit_job(name, suspend=False)


@in_simulated_time
@pytest.mark.parametrize("seed", quick(range(4), in_quick=[0]))
async def test_whatever_users_do_to_suspended_jobs_each_job_ends_up_as_its_spec_says(
    seed: int,
) -> None:
    dice = random.Random(seed)
    cluster = new_cluster()
    endpoint = FakeEndpoint(cluster) if seed % 2 else None
    for _ in range(3):
        async with running_operator(
            cluster, forever, max_jobs=AWAKE, endpoint=endpoint, interval_s=60.0
        ):
            for _ in range(30):
                act(cluster, dice)
                await asyncio.sleep(dice.choice((0, 0.001, 0.1, 3)))
                if dice.random() < 0.1:
                    cluster.job_watch.hold()
                    act(cluster, dice)
                    cluster.job_watch.drop()
                    cluster.job_watch.release()
        for _ in range(2):
            act(cluster, dice)
    async with running_operator(cluster, forever, max_jobs=AWAKE, endpoint=endpoint) as life:
        await asyncio.sleep(60)
        for name, job in jobs(cluster).items():
            label = "trainingjob.dev/job-name"
            pods = [p for p in cluster.pods() if p["metadata"]["labels"][label] == name]
            phase = job["status"]["phase"]
            assert job["status"]["observedGeneration"] == job["metadata"]["generation"]
            if job["spec"]["suspend"]:
                assert (name, phase, len(pods)) == (name, "Suspended", 0)
            else:
                assert (name, phase, len(pods)) == (name, "Running", job["spec"]["numNodes"])
        assert len(jobs(cluster)) == len(cluster.jobs()), "what was deleted is gone"
        assert len(life.index.waiting) == 0
