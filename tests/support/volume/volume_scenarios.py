"""Scenarios of volumes with mounts inside or with another user, each in a separate mount namespace.

    unshare --mount python -m tests.support.volume.volume_scenarios NAME FOLDER

prints the outcome as JSON.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.volume.mount_namespace import Outcome, mount, print_scenario, tmpfs
from tests.support.volume.volume import EVERYTHING, NOBODY, WEEK_S, Volume, new_uid
from trainingjob_operator.volume import safe_open
from trainingjob_operator.volume.sweep.rules import VolumeReport

NOBODYS_UID = 65534
TRAINERS_UID = 1001


def outcome_of(report: VolumeReport, **more: object) -> Outcome:
    """Return the report of a sweep."""
    return {
        "files": report.files_removed,
        "directories": report.directories_removed,
        "errors": report.errors,
        "skipped": dict(report.skipped),
        "healthy": report.healthy,
        "reason": report.reason,
        "message": report.message,
        **more,
    }


def mount_inside(folder: Path) -> Outcome:
    volume = Volume(folder / "volume")
    inside = tmpfs(volume.tree(f"job_{new_uid()}") / "below" / "mounted")
    (inside / "canary").write_text("alive")
    volume.log(new_uid())
    volume.age()
    return outcome_of(volume.sweep(), alive=(inside / "canary").exists())


def mount_on_the_entry(folder: Path) -> Outcome:
    volume = Volume(folder / "volume")
    entry = tmpfs(volume.path / f"job_{new_uid()}")
    (entry / "canary").write_text("alive")
    volume.age()
    return outcome_of(volume.sweep(), alive=(entry / "canary").exists())


def bind_mount_inside(folder: Path) -> Outcome:
    """A bind mount of the same file system: the device number is equal, so only openat2 detects it."""
    volume = Volume(folder / "volume")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    inside = volume.tree(f"job_{new_uid()}") / "below" / "bound"
    inside.mkdir()
    mount("--bind", outside, inside)
    volume.age()
    report = volume.sweep()
    return outcome_of(report, alive=(outside / "canary").exists(), openat2=safe_open.has_openat2())


def bind_mount_on_a_log(folder: Path) -> Outcome:
    volume = Volume(folder / "volume")
    outside = folder / "canary"
    outside.write_text("alive")
    mount("--bind", outside, volume.log(new_uid()))
    volume.log(new_uid())
    volume.age()
    return outcome_of(volume.sweep(), alive=outside.read_text() == "alive")


def not_mounted(folder: Path) -> Outcome:
    """The volume is not mounted, and the directory at the mount point has entries that look like the operator's."""
    place = folder / "volume"
    place.mkdir()
    below = place / f"job_{new_uid()}.log"
    below.write_text("below the mount")
    volume = Volume(tmpfs(place))
    volume.log(new_uid())
    volume.age()
    sweep = volume.new_sweep()
    first = sweep.sweep(NOBODY, max_age_s=WEEK_S)
    subprocess.run(["umount", place], check=True)
    second = sweep.sweep(NOBODY, max_age_s=WEEK_S)
    below.unlink()
    third = sweep.sweep(NOBODY, max_age_s=WEEK_S)  # empty: looks as if it could be claimed
    left = [path.name for path in place.iterdir()]
    return {
        "first": outcome_of(first),
        "second": outcome_of(second),
        "third": outcome_of(third),
        "left": left,
    }


def volume_of_five_logs(path: Path) -> Volume:
    volume = Volume(path)
    for _ in range(5):
        volume.log(new_uid())
    volume.age()
    return volume


def read_only(folder: Path) -> Outcome:
    volume = volume_of_five_logs(tmpfs(folder / "volume"))
    mount("-o", "remount,ro", volume.path)
    sweep = volume.new_sweep()
    sweep._volume_time_ns = lambda root: root.touch()  # type: ignore[misc]
    report = sweep.sweep(NOBODY, max_age_s=WEEK_S)
    later = volume.sweep()  # as if it had turned read-only after the first write
    return {"reports": [outcome_of(report), outcome_of(later)], "left": len(volume.names())}


def read_only_bind(folder: Path) -> Outcome:
    """A read-only bind mount of a writable file system."""
    volume = volume_of_five_logs(folder / "volume")
    mount("--bind", volume.path, volume.path)
    mount("-o", "remount,bind,ro", volume.path)
    sweep = volume.new_sweep()
    reports = [outcome_of(sweep.sweep(NOBODY, max_age_s=WEEK_S)) for _ in range(2)]
    return {"reports": reports, "left": len(volume.names())}


def full(folder: Path) -> Outcome:
    volume = Volume(tmpfs(folder / "volume", "size=1m,nr_inodes=64"))
    volume.tree(f"job_{new_uid()}")
    fill(volume.log(new_uid()))
    volume.age()
    return outcome_of(volume.sweep(), left=len(volume.names()))


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def filled_by_others(folder: Path) -> Outcome:
    """The volume is a directory of a file system that is nearly filled by other files."""
    disk = tmpfs(folder / "disk", "size=10m")
    (disk / "others").write_bytes(b"x" * 9_400_000)
    volume = Volume(disk / "volume")
    volume.tree(f"job_{new_uid()}")
    volume.log(new_uid())
    volume.age()
    used = os.statvfs(disk)
    report = volume.new_sweep(max_age_s=2 * 3600).sweep(NOBODY, max_age_s=WEEK_S)
    return outcome_of(report, left=len(volume.names()), free=used.f_bavail / used.f_blocks)


def trainers_files(place: Path) -> None:
    """Create the operator's root, with files of its own and of a trainer with umask 022."""
    volume = Volume(place)
    volume.log(new_uid())
    theirs = volume.tree(f"job_{new_uid()}")
    secret = volume.tree(f"job_{new_uid()}") / "below"
    own = volume.tree(f"job_{new_uid()}")
    for path in (place, *place.rglob("*")):
        os.chown(path, NOBODYS_UID, NOBODYS_UID)
    for path in (theirs, *theirs.rglob("*")):
        os.chown(path, TRAINERS_UID, TRAINERS_UID)
    os.chown(secret, TRAINERS_UID, TRAINERS_UID)
    secret.chmod(0)
    assert own.exists()


def another_user(folder: Path) -> Outcome:
    place = tmpfs(Path("/mnt")) / "volume"  # other users cannot enter the test's own folder
    trainers_files(place)
    os.setgroups([])
    os.setgid(NOBODYS_UID)
    os.setuid(NOBODYS_UID)
    return sweep_as_whoever_i_am(place)


def root_with_two_capabilities(folder: Path) -> Outcome:
    place = tmpfs(Path("/mnt")) / "volume"
    trainers_files(place)
    program = [sys.executable, "-m", __spec__.name, "sweep_as_whoever_i_am", str(place)]
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all,+dac_override,+fowner", "--inh-caps=-all", *program],
        check=True,
        capture_output=True,
        text=True,
    )
    outcome: Outcome = json.loads(done.stdout)
    return outcome


def sweep_as_whoever_i_am(place: Path) -> Outcome:
    volume = Volume(place, limits=EVERYTHING)
    sweep = volume.new_sweep()
    sweep._volume_time_ns = lambda root: root.touch() and volume.clock.wall_ns  # type: ignore[misc]
    volume.clock.wall_ns += int(1e9)
    report = sweep.sweep(NOBODY, max_age_s=WEEK_S)
    effective = next(
        line.split()[1]
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("CapEff")
    )
    return outcome_of(report, left=len(volume.names()), uid=os.getuid(), capabilities=effective)


SCENARIOS: dict[str, Callable[[Path], Outcome]] = {
    each.__name__: each
    for each in (
        *(mount_inside, mount_on_the_entry, bind_mount_inside, bind_mount_on_a_log, not_mounted),
        *(
            read_only,
            read_only_bind,
            full,
            filled_by_others,
            another_user,
            root_with_two_capabilities,
        ),
        sweep_as_whoever_i_am,
    )
}


if __name__ == "__main__":
    print_scenario(SCENARIOS)
