"""An operator is killed during a sweep: the next one completes it or restores the entries."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver.api import Api, ApiServerUnderTest, condition
from tests.support.apiserver.retention import finish, wait_for_sweep
from tests.support.builders import make_job
from tests.support.processes.operator import sweeping
from tests.support.volume.volume import everything_below, new_uid, wait_until

Object = dict[str, Any]
MANY = 30_000


class Root:
    """A log volume, with the files that a killed sweep leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    @property
    def trash(self) -> Path:
        return self.path / ".trash"

    def in_trash(self, job_id: str) -> list[str]:
        """The letters under which something of this job is in the trash."""
        return sorted(each.name[0] for each in self.trash.glob(f"?.*.job_{job_id}*"))

    def holds(self, *uids: str) -> bool:
        """True if any entry of these jobs exists, in the root or in the trash."""
        names = [each.name for each in (*self.path.iterdir(), *self.trash.iterdir())]
        return any(uid in name for name in names for uid in uids)

    def tree(self, uid: str, files: int = 3) -> Path:
        """Create a job's directory, as its job would leave it."""
        top = self.path / f"job_{uid}"
        top.mkdir(exist_ok=True)  # the operator may have made it
        for number in range(files):
            (top / f"checkpoint-{number}").write_text(uid)
        return top

    def tree_at_once(self, uid: str, files: int) -> None:
        """The same, which is nowhere before all of it is there.

        To write many files takes seconds, and what was written before a pause of one is old: a sweep
        would take the half of it.
        """
        built = Root(self.path.parent / "built")
        built.tree(uid, files).rename(self.path / f"job_{uid}")

    def take(self, name: str, letter: str) -> None:
        """Move an entry to the trash, as a sweep that is killed after its rename."""
        place = self.trash / f"{letter}.0123456789ab.{Path(name).name}"
        (self.path / name).rename(place)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "volume")


async def live_job(api: Api, name: str) -> str:
    """Create a job that keeps running; return its uid."""
    created = await api.apply(make_job(name))
    [pod] = await api.wait_for_pods(name, 1)
    await api.start_pod(pod)
    await api.wait_for_phase(name, "Running")
    return str(created["metadata"]["uid"])


async def sweeps(api: Api, count: int) -> Object:
    """Return the policy's status after this many further sweeps."""
    status = await wait_for_sweep(api, "default")
    for _ in range(count):
        status = await wait_for_sweep(api, "default", after=status["lastSweepTime"])
    return status


async def test_entries_in_the_trash_of_a_killed_sweep_are_restored_or_deleted(
    own_api_server: ApiServerUnderTest, own_api: Api, tmp_path: Path, root: Root
) -> None:
    doomed, young, condemned = new_uid(), new_uid(), new_uid()
    with sweeping(own_api_server, own_api, tmp_path, root.path, max_age="1s") as first:
        live, untouched = [await live_job(own_api, name) for name in ("live", "untouched")]
        finished = (await finish(own_api, "finished"))["metadata"]["uid"]
        await own_api.wait_for_phase("finished", "Succeeded")
        for uid in (live, untouched, finished):
            root.tree(uid)
            (root.path / f"job_{uid}.log").write_text("epoch 1\n")
        await wait_for_sweep(own_api, "default")
        root.tree_at_once(doomed, MANY)
        await asyncio.to_thread(wait_until, lambda: "x" in root.in_trash(doomed))
        first.kill()
    [half_gone] = root.trash.iterdir()
    assert 0 < sum(1 for _ in half_gone.iterdir()) <= MANY, "killed too late"

    for uid in (young, condemned):
        root.tree(uid)
    kept = (live, untouched, finished, young)
    before = {uid: everything_below(root.path / f"job_{uid}") for uid in kept}
    for uid, letter in ((live, "r"), (young, "r"), (condemned, "x")):
        root.take(f"job_{uid}", letter)
    root.take(f"job_{live}.log", "r")
    with sweeping(own_api_server, own_api, tmp_path, root.path, max_age="1h"):
        await asyncio.to_thread(wait_until, lambda: not any(root.trash.iterdir()), within_s=180)
        status = await sweeps(own_api, 2)
        after = {uid: everything_below(root.path / f"job_{uid}") for uid in kept}
    assert after == before
    for uid in (live, untouched, finished):
        assert (root.path / f"job_{uid}.log").read_text().startswith("epoch 1\n")
    assert not root.holds(doomed, condemned)
    assert condition(status, "VolumeHealthy")["status"] == "True"
    assert status["totals"]["errors"] == 0


async def test_old_entries_in_the_trash_are_deleted_except_those_of_existing_jobs(
    own_api_server: ApiServerUnderTest, own_api: Api, tmp_path: Path, root: Root
) -> None:
    gone, condemned = new_uid(), new_uid()
    with sweeping(own_api_server, own_api, tmp_path, root.path, max_age="1h") as first:
        live = await live_job(own_api, "live")
        half_gone = await live_job(own_api, "condemned-by-mistake")
        await wait_for_sweep(own_api, "default")
        first.kill()
    for uid in (gone, condemned, live, half_gone):
        root.tree(uid)
    before = everything_below(root.path / f"job_{live}")
    for uid, letter in ((gone, "r"), (live, "r"), (condemned, "x"), (half_gone, "x")):
        root.take(f"job_{uid}", letter)
    with sweeping(own_api_server, own_api, tmp_path, root.path, max_age="1s"):
        # It may be restored at first: an entry moved just now is younger than any list of jobs.
        await asyncio.to_thread(wait_until, lambda: not root.holds(gone, condemned))
        await sweeps(own_api, 2)
        assert everything_below(root.path / f"job_{live}") == before
        assert root.in_trash(half_gone) == ["x"], "of a job that lives nothing is deleted"
