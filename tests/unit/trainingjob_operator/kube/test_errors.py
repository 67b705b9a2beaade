"""The exception for each error response of the API server, and its bounded message."""

import json

import pytest

from trainingjob_api.constants import MAX_MESSAGE_BYTES
from trainingjob_api.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubernetesError,
    NotYetReadyError,
    QuotaExceededError,
    RightMissingError,
    ThrottledError,
    UnavailableError,
)
from trainingjob_operator.kube.errors import error_from, is_about

QUOTA = 'pods "mnist-0" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0'
QUOTA_UNKNOWN = 'pods "mnist-0" is forbidden: status unknown for quota: small, resources: pods'
NO_ACCOUNT = (
    'pods "mnist-0" is forbidden: error looking up service account ml/default: '
    'serviceaccount "default" not found'
)
NO_MAPPING = (
    'pods "mnist-0" is forbidden: cannot set blockOwnerDeletion in this case because cannot find '
    "RESTMapping for APIVersion trainingjob.dev/v1alpha1 Kind TrainingJob: no matches for kind"
)
NO_RIGHT = (
    'trainingjobs.trainingjob.dev "mnist" is forbidden: User "system:serviceaccount:ops:operator" '
    'cannot patch resource "trainingjobs" in API group "trainingjob.dev" in the namespace "ml"'
)
NO_ROLE = (
    'pods is forbidden: User "ops" cannot list resource "pods" in API group "" at the cluster '
    'scope: RBAC: clusterrole.rbac.authorization.k8s.io "operator" not found'
)
NO_PATH = 'forbidden: User "ops" cannot get path "/readyz"'
QUOTA_RACE = "Operation cannot be fulfilled on resourcequotas: the object has been modified"
WEBHOOK = 'admission webhook "pods.example.com" denied the request: no team label'
POLICY = (
    "pods \"mnist-0\" is forbidden: ValidatingAdmissionPolicy 'teams' with binding 'all' denied "
    "request: no team label"
)


def status_body(message: str = "staged", reason: str = "") -> bytes:
    document = {"kind": "Status", "apiVersion": "v1", "message": message, "reason": reason}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "permanent"),
    [
        (400, status_body(), InvalidError, True),
        (401, status_body(), UnavailableError, False),
        (403, status_body(), ForbiddenError, True),
        (403, status_body(QUOTA), QuotaExceededError, True),
        (403, status_body(QUOTA_UNKNOWN), NotYetReadyError, True),
        (403, status_body(NO_ACCOUNT), NotYetReadyError, True),
        (403, status_body(NO_MAPPING), NotYetReadyError, True),
        (403, status_body(NO_RIGHT), RightMissingError, False),
        (403, status_body(NO_ROLE), RightMissingError, False),
        (403, status_body(NO_PATH), RightMissingError, False),
        (403, status_body(f"{WEBHOOK}: {NO_PATH}"), ForbiddenError, True),
        (405, status_body(), InvalidError, True),
        (409, status_body(reason="AlreadyExists"), AlreadyExistsError, False),
        (409, status_body(reason="Conflict"), ConflictError, False),
        (409, status_body(QUOTA_RACE, "Conflict"), ConflictError, False),
        (409, status_body(WEBHOOK, "Conflict"), ForbiddenError, True),
        (410, status_body(reason="Expired"), GoneError, False),
        (413, status_body(), InvalidError, True),
        (422, status_body(reason="Invalid"), InvalidError, True),
        (429, status_body(reason="TooManyRequests"), ThrottledError, False),
        (500, status_body("etcdserver: leader changed"), UnavailableError, False),
        (502, b"<html>bad gateway</html>", UnavailableError, False),
        (503, b"", UnavailableError, False),
        (504, status_body(), UnavailableError, False),
        (599, b"?", UnavailableError, False),
    ],
)
def test_each_error_response_maps_to_the_right_exception(
    status: int, body: bytes, kind: type[KubernetesError], *, permanent: bool
) -> None:
    error = error_from(status, {}, body)
    assert type(error) is kind
    assert (error.status, error.permanent) == (status, permanent)


@pytest.mark.parametrize("message", [WEBHOOK, POLICY])
@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_an_admission_denial_is_forbidden_whatever_its_status(status: int, message: str) -> None:
    error = error_from(status, {}, status_body(message, "Invalid"))
    assert type(error) is ForbiddenError
    assert error.message == message


def test_a_webhook_that_cannot_be_called_is_a_transient_error() -> None:
    body = status_body('failed calling webhook "pods.example.com": connection refused')
    assert type(error_from(500, {}, body)) is UnavailableError


@pytest.mark.parametrize("status", [400, 405, 413, 415, 422])
@pytest.mark.parametrize("body", [b"<html>no</html>", b"", b'{"error":"no"}', b'["no"]'])
def test_only_the_api_servers_own_status_makes_a_request_invalid(status: int, body: bytes) -> None:
    assert type(error_from(status, {}, body)) is UnavailableError


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "86400"}, 60),
        ({"Retry-After": "inf"}, 60),
        ({"Retry-After": "nan"}, 1),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 1),
        ({"Retry-After": ""}, 1),
        ({}, 1),
    ],
)
def test_retry_after_is_a_number_of_at_most_a_minute(
    headers: dict[str, str], seconds: float
) -> None:
    error = error_from(429, headers, status_body())
    assert isinstance(error, ThrottledError)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    "body",
    [
        status_body("a\nforged line\x1b[2J" + "x" * 100_000),
        b"a\nforged line\x1b[2J" + b"\xff" * 100_000,
        json.dumps({"kind": "Status", "message": {"not": ["a", "text\n"] * 5000}}).encode(),
    ],
    ids=["status", "proxy", "wrong type"],
)
def test_a_message_is_one_bounded_line_whatever_was_sent(body: bytes) -> None:
    message = error_from(500, {}, body).message
    assert message.isprintable()
    assert 0 < len(message.encode()) <= MAX_MESSAGE_BYTES


def test_an_error_without_a_message_has_its_status_as_the_message() -> None:
    assert error_from(503, {}, b"").message == "HTTP 503"


@pytest.mark.parametrize(
    ("details", "is_pod"),
    [({"kind": "pods", "name": "a"}, True), ({"kind": "pods/log"}, False), (None, False)],
)
def test_a_404_on_a_log_is_about_the_pod_or_only_about_the_log(
    details: object, is_pod: bool
) -> None:
    body = json.dumps({"kind": "Status", "reason": "NotFound", "details": details}).encode()
    assert is_about(body, "pods") is is_pod
    assert not is_about(b"404 page not found", "pods")
