"""Authentication and authorization: accounts by token, TokenReviews and SubjectAccessReviews.

Without accounts the server allows everything. With accounts, a bearer token must belong to one of
them, and the request must be allowed for it. A request without a token is always the
administrator's. Reviews are not stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_sandbox.apiserver import errors, request_body
from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.requests import Path
from trainingjob_sandbox.apiserver.storage import JsonObject

_CREATED: Final = 201
_AUTHENTICATION: Final = "authentication.k8s.io"
_AUTHORIZATION: Final = "authorization.k8s.io"
_KINDS: Final = {
    (_AUTHENTICATION, "selfsubjectreviews"): "SelfSubjectReview",
    (_AUTHENTICATION, "tokenreviews"): "TokenReview",
    (_AUTHORIZATION, "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    (_AUTHORIZATION, "subjectaccessreviews"): "SubjectAccessReview",
}


@dataclass(frozen=True, slots=True)
class Account:
    """A user, and what it may do.

    Attributes:
        name: the user's name.
        groups: the user's groups.
        namespaces: the namespaces in which it may use `verbs`; None: all, and cluster scope.
        verbs: the allowed verbs; None: all.
    """

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    namespaces: frozenset[str] | None = None
    verbs: frozenset[str] | None = None

    def is_allowed(self, verb: str, namespace: str) -> bool:
        """Return True if the account may use a verb in a namespace; "" is cluster scope."""
        in_scope = self.namespaces is None or (namespace != "" and namespace in self.namespaces)
        return in_scope and (self.verbs is None or verb in self.verbs)


class Accounts:
    """The accounts by token. Only tests add accounts, directly to `by_token`."""

    def __init__(self) -> None:
        self.by_token: Final[dict[str, Account]] = {}

    def authenticate(self, authorization: str) -> Account:
        """Return the account of a header `Authorization`.

        Raises:
            ApiError: 401, there are accounts, and none has this token.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        if not token:
            return Account("admin", ("system:masters", "system:authenticated"))
        if not self.by_token:
            return Account(token)
        account = self.by_token.get(token)
        if account is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return account


def authorize(account: Account, verb: str, path: Path) -> None:
    """Check that the account may make this request.

    Raises:
        ApiError: 403, it may not.
    """
    if account.is_allowed(verb, path.namespace):
        return
    resource = f"{path.plural}/{path.subresource}" if path.subresource else path.plural
    where = f'in the namespace "{path.namespace}"' if path.namespace else "at the cluster scope"
    named = f' "{path.name}"' if path.name else ""
    qualified = f"{path.plural}.{path.group}" if path.group else path.plural
    raise ApiError(
        403,
        "Forbidden",
        f'{qualified}{named} is forbidden: User "{account.name}" cannot {verb} resource '
        f'"{resource}" in API group "{path.group}" {where}',
    )


def is_review(path: Path) -> bool:
    """Return True if the path is that of a review resource."""
    return (path.group, path.plural) in _KINDS and path.version == "v1"


def review(
    accounts: Accounts, account: Account, path: Path, body: bytes, content_type: str
) -> tuple[JsonObject, int]:
    """Return the review object with its status, and the HTTP status.

    Args:
        accounts: all accounts.
        account: the account of the request.
        path: the path of the request.
        body: the body of the request.
        content_type: the media type of the body.

    Raises:
        ApiError: 400, the body is not a review.
    """
    kind = _KINDS[path.group, path.plural]
    asked, _ = request_body.parse_body(body, content_type or "application/json", kind)
    spec = asked.get("spec") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or not isinstance(spec or {}, dict):
        raise errors.bad_request(f"the object provided is not a {kind}")
    status = _STATUSES[kind](accounts, account, spec or {})
    answer = {
        "kind": kind,
        "apiVersion": f"{path.group}/v1",
        "metadata": {"creationTimestamp": None},
        "status": status,
    }
    return answer | ({"spec": spec} if spec else {}), _CREATED


def _user(account: Account) -> JsonObject:
    return {"username": account.name, "groups": list(account.groups)}


def _self_subject_review(
    accounts: Accounts, account: Account, spec: Mapping[str, Any]
) -> JsonObject:
    return {"userInfo": _user(account)}


def _token_review(accounts: Accounts, account: Account, spec: Mapping[str, Any]) -> JsonObject:
    token = str(spec.get("token") or "")
    try:
        found = accounts.authenticate(f"Bearer {token}") if token else None
    except ApiError:
        found = None
    if found is None:
        return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": _user(found)}


def _self_subject_access_review(
    accounts: Accounts, account: Account, spec: Mapping[str, Any]
) -> JsonObject:
    attributes = spec.get("resourceAttributes")
    if not isinstance(attributes, dict):
        attributes = {}
    namespace = str(attributes.get("namespace") or "")
    verb = str(attributes.get("verb") or "get")
    return {"allowed": account.is_allowed(verb, namespace)}


def _subject_access_review(
    accounts: Accounts, account: Account, spec: Mapping[str, Any]
) -> JsonObject:
    name = str(spec.get("user") or "")
    known = {each.name: each for each in accounts.by_token.values()}
    if not known:
        return {"allowed": True}
    if name not in known:
        return {"allowed": False}
    return _self_subject_access_review(accounts, known[name], spec)


_STATUSES: Final = {
    "SelfSubjectReview": _self_subject_review,
    "TokenReview": _token_review,
    "SelfSubjectAccessReview": _self_subject_access_review,
    "SubjectAccessReview": _subject_access_review,
}
