"""The reader of the audit log that the tests count requests with."""

import json
from pathlib import Path

import pytest

from tests.support.apiserver.audit import AuditLog, Kind, forbidden_requests

ME = "system:serviceaccount:trainingjob-system:trainingjob-operator"


def line(user: str = ME, *, code: int = 200, decision: str = "allow", **target: str) -> bytes:
    event = {
        "user": {"username": user},
        "userAgent": "test",
        "verb": "get",
        "requestURI": "/api/v1/somewhere?limit=1",
        "objectRef": {"resource": "pods", "namespace": "ml", "name": "one", **target},
        "responseStatus": {"code": code},
        "annotations": {"authorization.k8s.io/decision": decision},
    }
    return json.dumps(event).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = tmp_path / "audit.log"
    log.write_bytes(line("earlier"))
    return log


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as log:
        log.write(content)


def test_only_what_comes_later_is_counted(path: Path) -> None:
    log = AuditLog(path)
    append(path, line() + line() + line("other") + line(subresource="status", code=409))

    assert log.count(user=ME) == {
        Kind(ME, "get", "pods", 200): 2,
        Kind(ME, "get", "pods/status", 409): 1,
    }
    assert [request.user for request in log.requests(code=200)] == [ME, ME, "other"]
    log.close()


def test_a_line_that_is_being_written_is_read_when_it_is_complete(path: Path) -> None:
    log = AuditLog(path)
    append(path, line()[:50])
    assert log.requests() == []
    append(path, line()[50:])
    assert len(log.requests()) == 1
    log.close()


def test_a_log_that_was_moved_aside_is_read_to_its_end(path: Path) -> None:
    log = AuditLog(path)
    append(path, line(name="old"))
    path.rename(path.with_name("audit-2026-01-01T00-00-00.000.log"))
    append(path, line(name="new"))

    assert [request.name for request in log.requests()] == ["old", "new"]
    log.close()


def test_what_is_no_resource_is_known_by_its_path(path: Path) -> None:
    log = AuditLog(path)
    event = json.loads(line()) | {"objectRef": None}
    append(path, json.dumps(event).encode() + b"\n")

    assert [request.resource for request in log.requests()] == ["/api/v1/somewhere"]
    log.close()


def test_a_right_that_is_missing_is_told_from_what_admission_refuses(path: Path) -> None:
    append(path, line(code=403))  # by a quota, say
    append(path, line("other", code=403, decision="forbid"))
    append(path, line(code=403, decision="forbid", name="mine"))
    path.rename(path.with_name("audit-2026-01-01T00-00-00.000.log"))
    append(path, line(code=403, decision="forbid", name="later"))

    assert [request.name for request in forbidden_requests(path, ME)] == ["mine", "later"]
