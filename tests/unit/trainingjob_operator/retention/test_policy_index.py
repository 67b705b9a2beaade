"""The index of policies: which policy applies to a namespace, and what holds if that is unknown."""

from tests.support.specs import make_policy
from trainingjob_operator.core.observe_policy import PolicyView, policy_view
from trainingjob_operator.core.retention import Inherited, Rules
from trainingjob_operator.retention.policy_index import PolicyIndex


def policy(namespace: str, *, version: int = 1, uid: str = "", ttl_s: int = 60) -> PolicyView:
    return PolicyView(
        namespace=namespace,
        uid=uid or f"uid-of-{namespace}",
        resource_version=str(version),
        rules=Rules(ttl_s=ttl_s),
    )


def book(*policies: PolicyView, limit: int = 10) -> PolicyIndex:
    found = PolicyIndex("ops", settings_ttl_s=3600, limit=limit)
    found.replace(policies, "100")
    return found


def test_a_namespace_has_its_own_policy_then_the_default_one_then_the_settings() -> None:
    known = book(policy("ml", ttl_s=1), policy("ops", ttl_s=2))
    own, default = Rules(ttl_s=1), Rules(ttl_s=2)
    assert known.inherited_by("ml") == Inherited(own=own, default=default)
    assert known.inherited_by("web") == Inherited(default=default)
    assert [known.policy_namespace_of(each) for each in ("ml", "web", "ops")] == [
        "ml",
        "ops",
        "ops",
    ]
    assert book().inherited_by("ml") == Inherited()


def test_before_the_first_list_nothing_is_known() -> None:
    known = PolicyIndex("ops", settings_ttl_s=3600)
    assert known.inherited_by("ml") is None
    known.put(policy("ops"))
    assert known.inherited_by("ml") is None
    known.put(policy("ml"))
    assert known.inherited_by("ml") is not None


def test_beyond_its_limit_nothing_is_concluded_of_a_namespace_that_is_not_known() -> None:
    known = book(*(policy(f"ns-{number}") for number in range(5)), limit=3)
    assert len(known) == 3
    assert known.inherited_by("ns-4") is None
    known.put(policy("ops"))  # has a place whatever the limit is
    assert known.inherited_by("ns-0") is not None
    assert known.inherited_by("ns-4") is None
    known.replace([policy("ns-0"), policy("ops")], "100")
    assert known.inherited_by("ns-4") == Inherited(default=Rules(ttl_s=60))


def test_older_news_are_ignored_and_the_uid_decides_what_is_gone() -> None:
    known = book(policy("ml", version=7, ttl_s=7))
    assert not known.put(policy("ml", version=6, ttl_s=6))
    assert not known.forget("ml", "uid-of-its-predecessor")
    assert known.get("ml") == policy("ml", version=7, ttl_s=7)
    assert known.forget("ml", "uid-of-ml")
    assert known.get("ml") is None


def test_a_list_removes_what_it_lacks_unless_that_is_newer() -> None:
    known = book(policy("old", version=1), policy("new", version=200), policy("same", version=3))
    changed = known.replace([policy("same", version=3), policy("more", version=4)], "150")
    assert changed == {"old", "more"}
    assert sorted(ns for ns in ("old", "new", "same", "more") if known.get(ns)) == [
        "more",
        "new",
        "same",
    ]


def test_only_other_words_are_a_change() -> None:
    known = book(policy("ml", version=1, ttl_s=5))
    assert not known.put(policy("ml", version=2, ttl_s=5))  # our own status write
    assert known.put(policy("ml", version=3, ttl_s=6))


def test_a_policy_that_cannot_be_understood_is_as_good_as_none_and_says_why() -> None:
    raw = make_policy(ttlSecondsAfterFinished=60, byOutcome={"failed": "soon"})
    view = policy_view(raw)
    assert view.invalid == (
        "spec.byOutcome.failed: must be a whole number from 0 to 2147483647, not 'soon'"
    )
    known = book(policy("ops", ttl_s=2))
    known.put(view)
    assert known.inherited_by("ml") == Inherited(default=Rules(ttl_s=2))
    assert known.policy_namespace_of("ml") == "ops"


def test_a_policy_without_a_spec_says_nothing() -> None:
    raw = make_policy()
    del raw["spec"]
    view = policy_view(raw)
    assert (view.rules, view.invalid) == (Rules(), None)
    full = policy_view(
        make_policy(
            ttlSecondsAfterFinished=1,
            byOutcome={"complete": 2, "failed": 3, "cancelled": 4},
            successfulJobsHistoryLimit=5,
            failedJobsHistoryLimit=6,
            logs={"maxAgeSeconds": 7},
        )
    )
    assert full.rules == Rules(
        ttl_s=1,
        complete_s=2,
        failed_s=3,
        cancelled_s=4,
        successful_limit=5,
        failed_limit=6,
        files_max_age_s=7,
    )


def test_a_later_list_holds_even_where_it_is_older_than_what_was_known() -> None:
    known = book(policy("ml", version=50, ttl_s=60))
    restored = policy("ml", version=20, ttl_s=7)
    assert known.replace([restored], "49") == set()  # a list from before
    assert known.get("ml") == policy("ml", version=50, ttl_s=60)
    assert known.replace([restored], "50") == {"ml"}
    assert known.get("ml") == restored
