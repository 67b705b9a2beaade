"""The one timer: on policies called `default`, soon after the start, and parted by chance."""

import asyncio
from typing import Any

import kopf
import pytest

from trainingjob_operator.handlers.retention import register_policies


class Nothing:
    """Takes what comes."""

    def policy_event(self, kind: str | None, raw: dict[str, Any]) -> None:
        raise AssertionError

    async def tick(self, namespace: str) -> None:
        self.ticked = namespace


def timer(interval_s: float, jitter: float = 0.5) -> tuple[Any, Nothing]:
    registry, nothing = kopf.OperatorRegistry(), Nothing()
    register_policies(registry, nothing, nothing, interval_s=interval_s, jitter=lambda: jitter)
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
    assert handler.when(name=name) is counts


def test_a_tick_returns_nothing_that_kopf_would_write() -> None:
    handler, nothing = timer(600)
    assert asyncio.run(handler.fn(namespace="ml", name="default")) is None
    assert nothing.ticked == "ml"
