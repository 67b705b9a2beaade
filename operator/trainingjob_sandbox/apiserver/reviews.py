"""Reviews: a client asks who it is, and what it or another may do. Nothing of them is stored.

The server trusts everyone until it is given accounts: then a bearer token is one of theirs, may do
what its account may, and any other token is refused. A request without a token is the
administrator's own, as before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_sandbox.apiserver import bodies, errors
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
    """A user of the server.

    Attributes:
        name: the user's.
        groups: the user's.
        namespaces: where it may do anything of `verbs`; None: everywhere, and to what is in no namespace.
        verbs: in Kubernetes' words; None: all.
    """

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    namespaces: frozenset[str] | None = None
    verbs: frozenset[str] | None = None

    def may(self, verb: str, namespace: str) -> bool:
        """Return True if it may do this there; an empty namespace is the whole cluster."""
        here = self.namespaces is None or (namespace != "" and namespace in self.namespaces)
        return here and (self.verbs is None or verb in self.verbs)


class Accounts:
    """The users by their tokens. Tests write it; there is no other way to add one."""

    def __init__(self) -> None:
        self.by_token: Final[dict[str, Account]] = {}

    def of(self, authorization: str) -> Account:
        """Return the account of a header.

        Raises:
            ApiError: 401, there are accounts and the token is none of theirs.
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


def check_right(account: Account, verb: str, path: Path) -> None:
    """Return if the account may make this request.

    Raises:
        ApiError: 403, it may not.
    """
    if account.may(verb, path.namespace):
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
    """Return True if the path is that of a review."""
    return (path.group, path.plural) in _KINDS and path.version == "v1"


def review(
    accounts: Accounts, account: Account, path: Path, body: bytes, content_type: str
) -> tuple[JsonObject, int]:
    """Answer a review: the object with its status, and the HTTP status.

    Args:
        accounts: all of them.
        account: of the request.
        path: of the request.
        body: of the request.
        content_type: of the body.

    Raises:
        ApiError: 400, it is no review.
    """
    kind = _KINDS[path.group, path.plural]
    asked, _ = bodies.parse(body, content_type or "application/json", kind)
    spec = asked.get("spec") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or not isinstance(spec or {}, dict):
        raise errors.bad_request(f"the object provided is no {kind}")
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


def _who_am_i(accounts: Accounts, account: Account, spec: Mapping[str, Any]) -> JsonObject:
    return {"userInfo": _user(account)}


def _whose_token(accounts: Accounts, account: Account, spec: Mapping[str, Any]) -> JsonObject:
    token = str(spec.get("token") or "")
    try:
        found = accounts.of(f"Bearer {token}") if token else None
    except ApiError:
        found = None
    if found is None:
        return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": _user(found)}


def _may_i(accounts: Accounts, account: Account, spec: Mapping[str, Any]) -> JsonObject:
    attributes = spec.get("resourceAttributes")
    if not isinstance(attributes, dict):
        attributes = {}
    namespace = str(attributes.get("namespace") or "")
    verb = str(attributes.get("verb") or "get")
    return {"allowed": account.may(verb, namespace)}


def _may_another(accounts: Accounts, account: Account, spec: Mapping[str, Any]) -> JsonObject:
    name = str(spec.get("user") or "")
    known = {each.name: each for each in accounts.by_token.values()}
    if not known:
        return {"allowed": True}
    return _may_i(accounts, known[name], spec) if name in known else {"allowed": False}


_STATUSES: Final = {
    "SelfSubjectReview": _who_am_i,
    "TokenReview": _whose_token,
    "SelfSubjectAccessReview": _may_i,
    "SubjectAccessReview": _may_another,
}
