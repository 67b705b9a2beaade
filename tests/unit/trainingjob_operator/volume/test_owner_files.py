"""The sentinel and the marks: concurrent writers, and contents that are not trusted."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.owner_files import (
    create_sentinel,
    new_sentinel,
    read_mark,
    read_sentinel,
)
from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root

ME = Owner("default", (), "11111111-0000-4000-8000-000000000001")
YOU = Owner("default", (), "22222222-0000-4000-8000-000000000002")
UID = "0b7d2f3a-5c51-4f0e-9d0f-0123456789ab"


@pytest.mark.parametrize("links", [True, False])
def test_of_two_that_race_for_an_empty_root_one_gets_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """On two nodes, where no lock keeps them apart; with hard links, and where there are none."""

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    fd = os.open(place, os.O_RDONLY)

    def take(owner: Owner) -> bool:
        try:
            create_sentinel(new_sentinel(owner), at=fd)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(take, [ME, YOU] * 8))
    assert sum(won) == 1
    found = read_sentinel(at=fd, path=str(place))
    assert found is not None
    assert found.owner == [ME, YOU][won.index(True) % 2]
    assert [each.name for each in place.iterdir()] == [".trainingjob-volume"]
    os.close(fd)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[]", "not json", "\x00", '{"version": 2, "volumeId": "a", "cluster": "c"}'),
        '{"version": 1, "volumeId": "", "cluster": "here", "namespaces": []}',
        '{"version": 1, "volumeId": "a", "cluster": "here", "namespaces": "ml"}',
        '{"version": 2, "volumeId": "a", "cluster": "here", "namespaces": [], "adopted": []}',
        '{"version": 2, "volumeId": "a", "cluster": "c", "namespaces": [], "identity": "b"}',
    ],
)
def test_a_damaged_sentinel_is_none(place: Path, content: str) -> None:
    (place / ".trainingjob-volume").write_text(content)
    with Root.open(str(place)) as root:
        with pytest.raises(VolumeError) as first:
            root.check(ME, None)
        with pytest.raises(VolumeError) as second:
            root.initialise(ME)
    assert first.value.reason == second.value.reason == "SentinelMissing"


def test_a_link_is_no_sentinel(place: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    with Root.open(str(real)) as root:
        root.claim(ME, None)
    (place / ".trainingjob-volume").symlink_to(real / ".trainingjob-volume")
    with Root.open(str(place)) as root, pytest.raises(VolumeError) as caught:
        root.check(ME, None)
    assert caught.value.reason == "SentinelMissing"


@pytest.mark.parametrize("identity", [None, 7])
def test_a_mark_without_an_identity_is_read_as_one_that_names_nobody(
    place: Path, identity: object
) -> None:
    old = {"uid": UID, "namespace": "ml", "name": "mnist", "cluster": "default"}
    document = old if identity is None else old | {"identity": identity}
    (place / ".trainingjob").write_text(json.dumps(document))
    fd = os.open(place, os.O_RDONLY)
    found = read_mark(at=fd)
    os.close(fd)
    assert found is not None
    assert found.identity == ""
    assert found.uid == (UID if identity is None else "")
