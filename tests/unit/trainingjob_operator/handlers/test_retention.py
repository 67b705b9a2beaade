"""The timer of each policy called `default`: its first tick, its jitter, and its end.

It adds no finalizer to the policy, and ends with it.
"""

import asyncio
from typing import Any

import kopf
import pytest

from trainingjob_operator.handlers.retention import register_policies


class Nothing:
    """Takes what comes. The policy with the uid `u1` is there."""

    def policy_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        raise AssertionError

    def is_current(self, namespace: str, uid: str) -> bool:
        return (namespace, uid) == ("ml", "u1")

    async def tick(self, namespace: str) -> None:
        self.ticked = namespace


def timer(interval_s: float, jitter: float = 0.5) -> tuple[Any, Nothing]:
    registry, nothing = kopf.OperatorRegistry(), Nothing()
    register_policies(
        registry,
        nothing.policy_event,
        is_current=nothing.is_current,
        tick=nothing.tick,
        interval_s=interval_s,
        jitter=lambda: jitter,
    )
    [handler] = registry._spawning.get_all_handlers()
    return handler, nothing


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_the_first_run_comes_within_a_minute(jitter: float) -> None:
    handler, _ = timer(600, jitter)
    assert 0 < handler.initial_delay() <= 50
    assert (handler.interval, handler.sharp) == (600, True)


def test_a_short_interval_is_not_waited_out_twice() -> None:
    handler, _ = timer(1)
    assert handler.initial_delay() == 1


@pytest.mark.parametrize(("name", "counts"), [("default", True), ("mine", False), (None, False)])
def test_only_the_name_default_counts(name: str | None, counts: bool) -> None:
    handler, _ = timer(600)
    assert handler.when(name=name, namespace="ml", uid="u1") is counts


def test_the_timer_puts_no_finalizer_on_policies_which_could_outlive_their_definition() -> None:
    handler, _ = timer(600)
    assert handler.requires_finalizer is False


@pytest.mark.parametrize("uid", ["u2", None])
def test_the_timer_of_a_policy_that_is_gone_ends_even_if_its_end_was_never_reported(
    uid: str | None,
) -> None:
    handler, nothing = timer(600)
    assert handler.when(name="default", namespace="ml", uid=uid) is False
    with pytest.raises(kopf.PermanentError):
        asyncio.run(handler.fn(namespace="ml", name="default", uid=uid))
    assert not hasattr(nothing, "ticked")


def test_a_tick_returns_nothing_that_kopf_would_write() -> None:
    handler, nothing = timer(600)
    assert asyncio.run(handler.fn(namespace="ml", name="default", uid="u1")) is None
    assert nothing.ticked == "ml"
