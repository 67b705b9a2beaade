"""The identity of the install: the uid of its own namespace, or unknown."""

from typing import Any

import pytest

from tests.support.cluster.cluster import FakeCluster
from trainingjob_api.errors import ForbiddenError, UnavailableError, VolumeError
from trainingjob_operator.volume.identity import Identity
from trainingjob_operator.volume.identity_reader import IdentityReader


class Namespaces(FakeCluster):
    """Answers as it was told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: dict[str, Any] | Exception | None = {"metadata": {"uid": "first"}}

    async def get_namespace(self, name: str) -> dict[str, Any] | None:
        assert name == "home"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def api() -> Namespaces:
    return Namespaces()


@pytest.fixture
def identity() -> Identity:
    return Identity("default", ("ml",))


@pytest.mark.parametrize(
    "answer",
    [None, {}, ForbiddenError("no", status=403), UnavailableError("no answer")],
)
async def test_what_cannot_be_read_is_unknown_and_says_what_mends_it(
    api: Namespaces, identity: Identity, answer: dict[str, Any] | Exception | None
) -> None:
    api.answer = answer
    with pytest.raises(VolumeError) as read:
        await IdentityReader(api, identity, "home").read()
    with pytest.raises(VolumeError) as asked:
        identity.owner()
    assert read.value.reason == asked.value.reason == "IdentityUnknown"
    assert identity.why_unknown == str(read.value)
    assert "needs `get` on this namespace" in identity.why_unknown


async def test_a_namespace_that_was_made_again_is_another_install(
    api: Namespaces, identity: Identity
) -> None:
    reader = IdentityReader(api, identity, "home")
    await reader.read()
    assert (identity.owner().identity, identity.owner().namespaces) == ("first", ("ml",))

    api.answer = UnavailableError("no answer")
    with pytest.raises(VolumeError):
        await reader.read()
    assert identity.owner().identity == "first", "one lost answer forgets nothing"

    api.answer = None
    with pytest.raises(VolumeError):
        await reader.read()
    assert identity.why_unknown

    api.answer = {"metadata": {"uid": "second"}}
    await reader.read()
    assert identity.owner().identity == "second"
