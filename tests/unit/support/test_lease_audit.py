"""The proof of two writers: what it must find, and what it must not take for one."""

import json

from tests.support.apiserver.audit import Request
from tests.support.apiserver.lease_audit import count_writes, takeovers, writes_without_the_lease

USERS = {"a", "b"}


def request(
    second: int, user: str, resource: str, *, verb: str = "patch", code: int = 200
) -> Request:
    line = json.dumps({"requestReceivedTimestamp": f"2026-01-01T00:00:{second:02}.000000Z"})
    return Request(user, "", verb, resource, "ml", "it", code, False, line)


def test_a_write_after_another_one_has_taken_the_lease_is_found_whatever_the_lines_order() -> None:
    lines = [
        request(5, "a", "pods", verb="create"),
        request(1, "a", "leases", verb="create"),
        request(4, "b", "leases", verb="update"),
        request(2, "a", "pods", verb="create"),
        request(6, "b", "pods"),
    ]
    [found] = writes_without_the_lease(lines, USERS)
    assert "00:00:05" in found
    assert "a wrote beside b: create pods it" in found
    assert takeovers(lines, USERS) == ["a", "b"]
    assert (count_writes(lines, "a"), count_writes(lines, "b")) == (2, 1)


def test_reads_refusals_and_others_are_no_writers() -> None:
    lines = [
        request(1, "a", "leases", verb="create"),
        request(2, "b", "pods", verb="list"),
        request(3, "b", "pods", code=409),
        request(3, "b", "leases", verb="update", code=409),
        request(4, "c", "pods"),
        request(5, "a", "trainingjobs/status"),
        request(6, "b", "leases", verb="update"),
        request(7, "a", "leases", verb="update"),
        request(8, "a", "events", verb="create"),
    ]
    assert writes_without_the_lease(lines, USERS) == []
    assert takeovers(lines, USERS) == ["a", "b", "a"]
    assert writes_without_the_lease([request(1, "a", "pods")], USERS), "without any Lease"
