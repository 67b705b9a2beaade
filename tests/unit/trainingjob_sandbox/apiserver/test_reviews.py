"""TokenReviews, SubjectAccessReviews, and the authorization of requests."""

import json
from typing import Any

import pytest

from trainingjob_sandbox.apiserver.errors import ApiError
from trainingjob_sandbox.apiserver.requests import Path
from trainingjob_sandbox.apiserver.reviews import Account, Accounts, authorize, review

READER = Account("rita", namespaces=frozenset({"ml"}), verbs=frozenset({"get", "list"}))


def ask(accounts: Accounts, authorization: str, group: str, plural: str, **spec: Any) -> Any:
    """Return the status of a review."""
    body = json.dumps({"spec": spec}).encode()
    path = Path(f"{group}.k8s.io", "v1", plural)
    found, code = review(
        accounts, accounts.authenticate(authorization), path, body, "application/json"
    )
    assert code == 201
    return found["status"]


def known() -> Accounts:
    accounts = Accounts()
    accounts.by_token["t"] = READER
    return accounts


def test_without_accounts_every_token_is_authenticated_and_allowed_everything() -> None:
    accounts = Accounts()
    who = ask(accounts, "Bearer anna", "authentication", "selfsubjectreviews")
    assert who["userInfo"]["username"] == "anna"
    asked = {"verb": "delete", "resource": "pods"}
    for plural, more in (
        ("selfsubjectaccessreviews", {}),
        ("subjectaccessreviews", {"user": "anna"}),
    ):
        may = ask(
            accounts, "Bearer anna", "authorization", plural, resourceAttributes=asked, **more
        )
        assert may == {"allowed": True}


def test_with_accounts_an_unknown_token_is_rejected() -> None:
    accounts = known()
    with pytest.raises(ApiError) as refusal:
        accounts.authenticate("Bearer other")
    assert refusal.value.code == 401
    assert accounts.authenticate("").name == "admin"
    found = ask(accounts, "", "authentication", "tokenreviews", token="t")
    assert (found["authenticated"], found["user"]["username"]) == (True, "rita")
    assert not ask(accounts, "", "authentication", "tokenreviews", token="x")["authenticated"]


@pytest.mark.parametrize(
    ("verb", "namespace", "allowed"),
    [("list", "ml", True), ("list", "other", False), ("list", "", False), ("patch", "ml", False)],
)
def test_a_review_agrees_with_the_authorization_of_requests(
    verb: str, namespace: str, *, allowed: bool
) -> None:
    asked = {"verb": verb, "namespace": namespace, "resource": "pods"}
    group, own, other = "authorization", "selfsubjectaccessreviews", "subjectaccessreviews"
    assert ask(known(), "Bearer t", group, own, resourceAttributes=asked)["allowed"] is allowed
    of_another = ask(known(), "", group, other, user="rita", resourceAttributes=asked)
    assert of_another["allowed"] is allowed
    path = Path("", "v1", "pods", namespace)
    if allowed:
        authorize(READER, verb, path)
    else:
        with pytest.raises(ApiError, match=f'User "rita" cannot {verb}'):
            authorize(READER, verb, path)
