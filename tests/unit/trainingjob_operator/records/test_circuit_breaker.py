"""The breaker opens after consecutive failures, lets one probe through at intervals, and closes."""

from trainingjob_operator.records.circuit_breaker import CircuitBreaker


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(probe_every_s=30.0)
    breaker.failed(now=0.0, at_once=True)
    return breaker


def test_it_opens_after_five_consecutive_failures_and_reports_that_once() -> None:
    breaker = CircuitBreaker()
    assert [breaker.failed(now=0.0) for _ in range(7)] == [False] * 4 + [True] + [False] * 2
    assert breaker.is_open


def test_a_success_in_between_resets_the_count() -> None:
    breaker = CircuitBreaker()
    for _ in range(4):
        breaker.failed(now=0.0)
    assert breaker.succeeded() is False
    for _ in range(4):
        assert not breaker.failed(now=0.0)
    assert not breaker.is_open


def test_while_it_is_open_one_probe_is_let_through_in_thirty_seconds() -> None:
    breaker = opened()
    assert breaker.wait_s(now=0.0) == 30.0
    assert breaker.wait_s(now=30.0) == 0.0
    breaker.note_request(now=31.0)
    assert breaker.wait_s(now=31.0) == 30.0
    breaker.failed(now=32.0)
    assert breaker.wait_s(now=61.0) == 0.0


def test_a_success_closes_it_and_reports_that_once() -> None:
    breaker = opened()
    assert breaker.succeeded() is True
    assert breaker.succeeded() is False
    assert breaker.wait_s(now=0.0) == 0.0
    breaker.note_request(now=0.0)
    assert breaker.wait_s(now=0.0) == 0.0
