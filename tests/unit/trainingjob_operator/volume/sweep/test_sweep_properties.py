"""Random volumes, compared with a simple second implementation of the rules."""

import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.volume.volume import OURS, Volume, everything_below, new_uid
from trainingjob_operator.volume.owner_files import write_mark
from trainingjob_operator.volume.ownership import Mark
from trainingjob_operator.volume.sweep.rules import LiveJobs

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Job:
    """A job, and what of it is on the volume."""

    state: str
    """`gone`, `live`, `finished` or `annotated`."""
    places: frozenset[str]
    """`log`, `directory`, `datasets`."""
    young: frozenset[str]
    """Where something is written after the border."""
    keep: frozenset[str]
    """In which directories a file `.keep` lies."""
    mark: str
    """`none`, `ours` or `foreign`: of the job's directory."""
    depth: int
    is_uid: bool


PLACES = st.frozensets(st.sampled_from(["log", "directory", "datasets"]))
JOBS = st.builds(
    Job,
    state=st.sampled_from(["gone", "gone", "live", "finished", "annotated"]),
    places=PLACES,
    young=st.one_of(st.just(frozenset[str]()), PLACES),
    keep=st.one_of(
        st.just(frozenset[str]()), st.frozensets(st.sampled_from(["directory", "datasets"]))
    ),
    mark=st.sampled_from(["none", "none", "ours", "foreign"]),
    depth=st.integers(0, 4),
    is_uid=st.sampled_from([True, True, True, False]),
)


def may_go(job: Job, place: str) -> bool:
    """The oracle: the page about the volume, word for word."""
    if not job.is_uid or job.state != "gone":
        return False
    if place in job.young:
        return False
    if place in job.keep or ("directory" in job.keep and "directory" in job.places):
        return False
    return job.mark != "foreign" or "directory" not in job.places


def path_of(volume: Volume, name: str, place: str) -> Path:
    plain = {"log": f"job_{name}.log", "directory": f"job_{name}"}
    return volume.path / plain.get(place, f"datasets/job_{name}")


def put(volume: Volume, name: str, job: Job, place: str) -> None:
    path = path_of(volume, name, place)
    path.parent.mkdir(exist_ok=True)
    if place == "log":
        path.write_text("output")
        return
    deepest = path.joinpath(*("d" * job.depth))
    deepest.mkdir(parents=True)
    (deepest / "file").write_text("content")
    (path / "link").symlink_to("/etc")
    if place in job.keep:
        (path / ".keep").touch()
    if place == "directory" and job.mark != "none":
        fd = os.open(path, os.O_RDONLY)
        identity = OURS.identity if job.mark == "ours" else "another"
        write_mark(Mark(name, "ml", "mnist", OURS.cluster, identity), at=fd)
        os.close(fd)


def touch(volume: Volume, name: str, job: Job, place: str) -> None:
    path = path_of(volume, name, place)
    file = path if place == "log" else path.joinpath(*("d" * job.depth)) / "file"
    with file.open("a") as opened:
        opened.write("more")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(JOBS, max_size=6))
def test_what_goes_is_what_the_rules_say_and_what_stays_is_as_it_was(jobs: list[Job]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        volume = Volume(Path(folder) / "volume")
        (volume.path / "readme").write_text("mine")
        named = [(new_uid() if job.is_uid else new_uid()[:-1], job) for job in jobs]
        for name, job in named:
            for place in job.places:
                put(volume, name, job, place)
        volume.age()
        for name, job in named:
            for place in job.places & job.young:
                touch(volume, name, job, place)
        before = everything_below(volume.path)

        report = volume.sweep(live(named))

        expected = dict(before)
        for name, job in named:
            for place in job.places:
                if may_go(job, place):
                    top = str(path_of(volume, name, place).relative_to(volume.path))
                    for key in before:
                        if key == top or key.startswith(f"{top}/"):
                            del expected[key]
        after = everything_below(volume.path)
        assert after == expected
        assert report.files_removed + report.directories_removed == len(before) - len(after)
        assert (report.errors, report.healthy) == (0, True)
        stays = sum(not may_go(job, place) for _, job in named for place in job.places)
        assert sum(report.skipped.values()) == stays


def live(named: list[tuple[str, Job]]) -> LiveJobs:
    uids = {name for name, job in named if job.state in {"live", "finished", "annotated"}}
    return LiveJobs(
        uids=frozenset(uids),
        finished={name: DAY for name, job in named if job.state == "finished"},
        kept=frozenset(name for name, job in named if job.state == "annotated"),
    )
