"""The owner of a volume is known by its identity, not its name, and changed only by a command."""

import json
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

import pytest

from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.owner_files import (
    create_sentinel,
    new_sentinel,
)
from trainingjob_operator.volume.ownership import Owner
from trainingjob_operator.volume.root import Root

ME = Owner("default", (), "11111111-0000-4000-8000-000000000001")
YOU = Owner("default", (), "22222222-0000-4000-8000-000000000002")
OLD = {"version": 1, "volumeId": "old-one", "cluster": "default", "namespaces": []}
UID = "0b7d2f3a-5c51-4f0e-9d0f-0123456789ab"


def refused(place: Path, owner: Owner, expected_id: str | None = None) -> str:
    """The refusal, of which the sentinel knows nothing afterwards."""
    sentinel = place / ".trainingjob-volume"
    before = sentinel.read_bytes()
    with Root.open(str(place)) as root, pytest.raises(VolumeError) as caught:
        root.claim(owner, expected_id)
    assert caught.value.reason == "ForeignVolume"
    assert sentinel.read_bytes() == before
    return str(caught.value)


def test_the_volume_of_a_cluster_of_the_same_name_is_foreign_with_and_without_its_id(
    place: Path,
) -> None:
    with Root.open(str(place)) as root:
        theirs = root.claim(YOU, None)
    for expected in (None, theirs.volume_id):
        said = refused(place, ME, expected)
        assert f"trainingjob prune --adopt {YOU.identity} --root {place}" in said


def test_our_own_volume_is_ours_when_the_policy_has_forgotten_it(place: Path) -> None:
    with Root.open(str(place)) as root:
        first = root.claim(ME, None)
        (place / "job_1.log").touch()
        assert root.claim(ME, None) == first


def test_a_volume_that_names_no_identity_is_nobodys_until_a_person_adopts_it(place: Path) -> None:
    (place / ".trainingjob-volume").write_text(json.dumps(OLD))
    for expected in (None, "old-one"):
        assert f"trainingjob prune --adopt unknown --root {place}" in refused(place, ME, expected)
    with Root.open(str(place)) as root:
        taken = root.adopt(ME, "")
        assert (taken.volume_id, taken.owner) == ("old-one", replace(ME, adopted=("",)))
        assert root.claim(ME, "old-one") == taken, "what was adopted is remembered"


def test_a_volume_is_adopted_only_from_the_owner_that_was_named(place: Path) -> None:
    with Root.open(str(place)) as root:
        theirs = root.claim(YOU, None)
        for wrong in ("", "33333333-0000-4000-8000-000000000003"):
            with pytest.raises(VolumeError, match=YOU.identity):
                root.adopt(ME, wrong)
        taken = root.adopt(ME, YOU.identity)
        assert taken.volume_id == theirs.volume_id
        assert taken.owner.recognises(YOU.identity)
        again = root.adopt(ME, "")
        assert again.owner.adopted == (YOU.identity, "")
        with pytest.raises(VolumeError, match="belongs to cluster"):
            root.claim(YOU, theirs.volume_id)


def test_the_earlier_owners_that_a_volume_remembers_are_bounded(place: Path) -> None:
    with Root.open(str(place)) as root:
        root.claim(ME, None)
        for number in range(16):
            root.adopt(ME, f"earlier-{number}")
        with pytest.raises(VolumeError, match="16 owners"):
            root.adopt(ME, "one more")


def test_who_comes_second_to_an_empty_root_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one took it after we found it empty."""
    with Root.open(str(place)) as root, Root.open(str(place)) as other:
        looked = root.is_empty

        def is_empty(known: Container[str] = ()) -> bool:
            found = looked(known)
            monkeypatch.undo()
            create_sentinel(new_sentinel(YOU), at=other.fd)
            return found

        monkeypatch.setattr(root, "is_empty", is_empty)
        with pytest.raises(VolumeError, match="belongs to cluster"):
            root.claim(ME, None)
        assert root.check(YOU, None).owner == YOU


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((), (), True),
        ((), ("a",), True),
        (("a",), (), False),
        (("a", "b"), ("b",), True),
        (("a",), ("a", "b"), False),
    ],
)
def test_whoever_serves_less_than_the_volumes_owner_may_not_sweep_it(
    ours: tuple[str, ...], theirs: tuple[str, ...], expected: bool
) -> None:
    assert Owner("here", ours, "me").covers(Owner("there", theirs, "me")) is expected
    assert not Owner("here", ours, "me").covers(Owner("here", theirs, "you"))
    assert not Owner("here", ours).covers(Owner("here", theirs)), "unknown equals nothing"
