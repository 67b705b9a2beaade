"""The checks of a root: its owner, and the directories that are refused as roots."""

import errno
import json
import os
import pwd
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume import forbidden_roots
from trainingjob_operator.volume.errors import to_volume_error
from trainingjob_operator.volume.owner_files import read_mark
from trainingjob_operator.volume.ownership import Mark, Owner
from trainingjob_operator.volume.root import Root

ME, YOU = "11111111-0000-4000-8000-000000000001", "22222222-0000-4000-8000-000000000002"
OURS = Owner("here", ("ml",), ME)
UID = "0b7d2f3a-5c51-4f0e-9d0f-0123456789ab"


def refusal(path: str) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        Root.open(path)
    return caught.value


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "relative/path", "/", "//", "/.", "/tmp", "/var/log", "/proc", "/usr/", "/etc"),
        *(str(ROOT / "operator"), str(Path.home()), str(Path.home().parent)),
        *(sys.prefix, "/tmp/../etc", "/dev/../"),
    ],
)
def test_a_typing_error_does_not_make_the_machine_a_volume(path: str) -> None:
    error = refusal(path)
    assert error.reason == "UnsafeRoot"
    assert "\n" not in str(error)


def test_the_home_of_another_user_is_no_volume_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "people" / "alice"
    home.mkdir(parents=True)
    alice = pwd.struct_passwd(("alice", "x", os.getuid() + 1, 1, "", str(home), "/bin/sh"))
    with Root.open(str(home)) as root:
        assert root.path == str(home)
    monkeypatch.setattr(pwd, "getpwall", lambda: [alice])
    for place in (home, home.parent):
        assert "home directory" in str(refusal(str(place)))


def test_a_directory_beside_homes_is_one_whoever_is_in_the_table_of_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users of a directory service are not listed, and a container does not know its node's."""
    (tmp_path / "alice" / "volume").mkdir(parents=True)
    monkeypatch.setattr(forbidden_roots, "_HOME_PARENTS", (str(tmp_path),))
    assert "is a home directory" in str(refusal(str(tmp_path / "alice")))
    with Root.open(str(tmp_path / "alice" / "volume")) as root:
        assert root.path.endswith("volume")


def test_a_directory_of_the_system_is_known_by_any_name(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("a bind mount takes root")
    target = tmp_path / "bound"
    target.mkdir()
    script = (
        "import sys; from trainingjob_operator.volume.root import Root\n"
        "try: Root.open(sys.argv[1])\n"
        "except Exception as error: print(error.reason)\n"
    )
    command = f'mount --bind /etc "{target}" && exec "{sys.executable}" -c "$0" "{target}"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, script], capture_output=True, text=True, check=False
    )
    if "mount" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    assert done.stdout.strip() == "UnsafeRoot", done.stderr


def test_a_link_is_no_root_with_or_without_a_slash(place: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(place)
    assert refusal(str(link)).reason == "UnsafeRoot"
    assert refusal(f"{link}/").reason == "UnsafeRoot"


def test_a_file_is_no_root(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(str(tmp_path / "file")).reason == "UnsafeRoot"


def test_a_root_that_is_not_there_says_so(tmp_path: Path) -> None:
    error = refusal(str(tmp_path / "absent"))
    assert error.reason == "Unavailable"
    assert "is the volume mounted there?" in str(error)


def test_an_empty_root_is_taken_once(place: Path) -> None:
    (place / "lost+found").mkdir()
    with Root.open(str(place)) as root:
        first = root.claim(OURS, None)
        assert root.claim(OURS, None) == first
        assert root.check(OURS, first.volume_id) == first
    document = json.loads((place / ".trainingjob-volume").read_text())
    assert document == {
        "version": 2,
        "volumeId": first.volume_id,
        "identity": ME,
        "cluster": "here",
        "namespaces": ["ml"],
        "adopted": [],
    }


def test_an_empty_root_is_not_taken_where_another_volume_is_remembered(place: Path) -> None:
    """What is not mounted looks like this."""
    with Root.open(str(place)) as root, pytest.raises(VolumeError) as caught:
        root.claim(OURS, "some-volume")
    assert caught.value.reason == "SentinelMissing"
    assert list(place.iterdir()) == []


def test_a_root_with_anything_in_it_is_taken_only_by_hand(place: Path) -> None:
    (place / "job_1.log").touch()
    with Root.open(str(place)) as root:
        with pytest.raises(VolumeError) as caught:
            root.claim(OURS, None)
        assert caught.value.reason == "SentinelMissing"
        assert f"trainingjob prune --init --root {place}" in str(caught.value)
        taken = root.initialise(OURS)
        assert root.claim(OURS, None) == taken
        assert root.initialise(OURS) == taken


def test_another_volume_than_the_remembered_one_is_foreign(place: Path) -> None:
    with Root.open(str(place)) as root:
        root.claim(OURS, None)
        with pytest.raises(VolumeError) as caught:
            root.claim(OURS, "some-other-volume")
    assert caught.value.reason == "ForeignVolume"
    assert "kubectl patch retentionpolicy default --subresource=status" in str(caught.value)


@pytest.mark.parametrize(
    "other", [Owner("here", ("ml",), YOU), Owner("here", ("hr",), ME), Owner("here", ("ml",))]
)
def test_a_volume_of_another_owner_is_foreign(place: Path, other: Owner) -> None:
    with Root.open(str(place)) as root:
        root.claim(OURS, None)
        with pytest.raises(VolumeError) as first:
            root.initialise(other)
        with pytest.raises(VolumeError) as second:
            root.claim(other, None)
    assert first.value.reason == second.value.reason == "ForeignVolume"


def test_whoever_serves_more_namespaces_says_so_on_the_volume(place: Path) -> None:
    """Else a later operator of fewer namespaces took the files of the others for its own."""
    with Root.open(str(place)) as root:
        first = root.claim(OURS, None)
        wider = root.claim(replace(OURS, namespaces=()), first.volume_id)
        assert wider.volume_id == first.volume_id
        with pytest.raises(VolumeError) as caught:
            root.claim(OURS, first.volume_id)
    assert caught.value.reason == "ForeignVolume"


def test_two_processes_never_have_the_lock_at_once(place: Path) -> None:
    with Root.open(str(place)) as root, Root.open(str(place)) as other:
        root.claim(OURS, None)
        with root.locked():
            with pytest.raises(VolumeError) as caught, other.locked():
                pass
            assert caught.value.reason == "Locked"
        with other.locked():
            pass


def test_a_file_system_without_locks_for_directories_locks_the_sentinel(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl  # noqa: PLC0415

    really = fcntl.flock

    def as_nfs(fd: int, operation: int) -> None:
        if (fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE) == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        really(fd, operation)

    monkeypatch.setattr(fcntl, "flock", as_nfs)
    with Root.open(str(place)) as root, Root.open(str(place)) as other:
        root.claim(OURS, None)
        with root.locked(), pytest.raises(VolumeError), other.locked():
            pass


def test_a_jobs_directory_has_its_mark_before_anybody_else_can_write_there(place: Path) -> None:
    mark = Mark(UID, "ml", "mnist", "here", ME)
    with Root.open(str(place)) as root:
        fd = root.make_job_directory(mark, mode=0o1777)
        assert read_mark(at=fd) == mark
        os.close(fd)
        assert (place / f"job_{UID}").stat().st_mode & 0o7777 == 0o1777
        os.close(root.make_job_directory(mark, mode=0o700))  # it is there: left as it is
        assert (place / f"job_{UID}").stat().st_mode & 0o7777 == 0o1777


def test_a_link_in_place_of_a_jobs_directory_is_not_written_through(
    place: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (place / f"job_{UID}").symlink_to(elsewhere)
    with Root.open(str(place)) as root, pytest.raises(NotADirectoryError):
        root.make_job_directory(Mark(UID, "ml", "mnist", "here", ME), mode=0o755)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "reason", "mends"),
    [
        (errno.EACCES, "PermissionDenied", "logVolume.asRoot"),
        (errno.EPERM, "PermissionDenied", "logVolume.asRoot"),
        (errno.EROFS, "ReadOnly", "mount it writable"),
        (errno.ENOSPC, "Unavailable", "enlarge the volume"),
        (errno.EDQUOT, "Unavailable", "delete files that are no longer needed"),
        (errno.EIO, "Unavailable", "is the volume mounted there?"),
        (errno.ESTALE, "Unavailable", "is the volume mounted there?"),
    ],
)
def test_an_error_of_the_volume_names_what_mends_it(code: int, reason: str, mends: str) -> None:
    error = to_volume_error(OSError(code, os.strerror(code)), "/volume")
    assert error.reason == reason
    assert mends in str(error)
