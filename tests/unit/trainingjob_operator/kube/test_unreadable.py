"""What is forbidden is said when it begins and now and then, and not at every try."""

from trainingjob_operator.kube.unreadable import SAY_EVERY_S, Unreadable


def test_a_list_that_stays_forbidden_is_said_at_first_and_once_in_a_while() -> None:
    now = [0.0]
    lists = Unreadable(lambda: now[0])
    said = []
    for second in range(0, int(2 * SAY_EVERY_S) + 1, 60):
        now[0] = float(second)
        if lists.refused("jobs", "web"):
            said.append(second)
    assert said == [0, SAY_EVERY_S, 2 * SAY_EVERY_S]
    assert (len(lists), lists.refused_total) == (1, 21)
    assert lists.refused("policies", "web"), "another list is said by itself"
    assert lists.refused("jobs", "ml"), "and another namespace"
    assert len(lists) == 3


def test_a_list_that_can_be_read_again_is_said_once_and_forgotten() -> None:
    lists = Unreadable(lambda: 5.0)
    assert not lists.read("jobs", "web")
    lists.refused("jobs", "web")
    assert lists.read("jobs", "web")
    assert not lists.read("jobs", "web")
    assert len(lists) == 0
    assert lists.refused("jobs", "web"), "it is news again"
