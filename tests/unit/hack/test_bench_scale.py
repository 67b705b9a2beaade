"""Tests of the audit log counts of `hack.bench.scale`, and of its report."""

from collections import Counter
from typing import Any

from hack.bench.scale import Asked, Figures, count, line

JOBS = "/apis/trainingjob.dev/v1alpha1/trainingjobs"


def entry(verb: str, resource: str, uri: str = "/", subresource: str = "") -> dict[str, Any]:
    target = {"resource": resource} | ({"subresource": subresource} if subresource else {})
    return {"verb": verb, "objectRef": target, "requestURI": uri}


def test_a_list_counts_once_and_each_of_its_pages() -> None:
    asked = count(
        [
            entry("list", "trainingjobs", f"{JOBS}?limit=250"),
            entry("list", "trainingjobs", f"{JOBS}?limit=250&continue=abc"),
            entry("list", "pods", "/api/v1/pods?labelSelector=x&limit=250"),
        ]
    )
    assert asked == Asked(
        lists=Counter(trainingjobs=1, pods=1), pages=3, requests=3, writes=Counter()
    )


def test_a_list_of_one_object_is_a_request_and_no_list() -> None:
    asked = count(
        [entry("list", "trainingjobs", f"{JOBS}?limit=1&fieldSelector=metadata.name%3Dx")]
    )
    assert asked == Asked(requests=1)


def test_writes_are_counted_but_for_events_and_leases() -> None:
    asked = count(
        [
            entry("patch", "trainingjobs", subresource="status"),
            entry("create", "pods"),
            entry("create", "events"),
            entry("update", "leases"),
            entry("get", "trainingjobs"),
            entry("watch", "pods"),
        ]
    )
    assert asked.writes == Counter({"patch trainingjobs/status": 1, "create pods": 1})
    assert asked.requests == 6


def test_a_line_has_all_figures() -> None:
    asked = Asked(lists=Counter(pods=1), pages=2, requests=30)
    figures = Figures("a start", 4.25, 3.14, 81.2, 84.9, asked)
    assert line(figures) == "| a start | 4.2 | 3.1 | 81 | 85 | 1 pods | 2 | 30 | none |\n"
