"""Forbidden lists are logged first and then every ten minutes, not at every try."""

from trainingjob_operator.kube.forbidden_lists import LOG_EVERY_S, ForbiddenLists


def test_a_list_that_stays_forbidden_is_logged_first_and_then_every_ten_minutes() -> None:
    now = [0.0]
    lists = ForbiddenLists(lambda: now[0])
    said = []
    for second in range(0, int(2 * LOG_EVERY_S) + 1, 60):
        now[0] = float(second)
        if lists.note_forbidden("jobs", "web"):
            said.append(second)
    assert said == [0, LOG_EVERY_S, 2 * LOG_EVERY_S]
    assert (len(lists), lists.forbidden_total) == (1, 21)
    assert lists.note_forbidden("policies", "web"), "another list is said by itself"
    assert lists.note_forbidden("jobs", "ml"), "and another namespace"
    assert len(lists) == 3


def test_a_list_that_is_allowed_again_is_reported_once_and_removed() -> None:
    lists = ForbiddenLists(lambda: 5.0)
    assert not lists.note_allowed("jobs", "web")
    lists.note_forbidden("jobs", "web")
    assert lists.note_allowed("jobs", "web")
    assert not lists.note_allowed("jobs", "web")
    assert len(lists) == 0
    assert lists.note_forbidden("jobs", "web"), "it is news again"
