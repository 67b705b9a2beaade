"""The pod's status follows from the states of its containers."""

from datetime import UTC, datetime
from typing import Any

import pytest

from trainingjob_sandbox.node.containers import (
    Container,
    Ended,
    PodState,
    RestartPolicy,
    timestamp,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 2, tzinfo=UTC)


def ended(code: int) -> Ended:
    return Ended(
        exit_code=code,
        reason="Completed" if code == 0 else "Error",
        message="",
        started_at=NOW,
        finished_at=NOW,
        container_id="process://1",
    )


def container(state: str, name: str = "trainer", *, init: bool = False) -> Container:
    """`waiting`, `running`, `crashed` (between two runs) or an exit code; `+` makes it a sidecar."""
    sidecar, state = state.endswith("+"), state.removesuffix("+")
    made = Container(name=name, image="i", init=init, sidecar=sidecar)
    made.live = sidecar and state in {"waiting", "running", "crashed"}
    if state != "waiting":
        made.started(NOW)
    if state == "crashed":
        made.ended = ended(1)
        made.crashed("back-off")
    elif state not in {"waiting", "running"}:
        made.ended = ended(int(state))
    return made


def pod(
    *states: str, init: tuple[str, ...] = (), policy: RestartPolicy = "Never", **more: Any
) -> PodState:
    return PodState(
        containers=[container(state, f"c{i}") for i, state in enumerate(states)],
        init=[container(state, f"i{i}", init=True) for i, state in enumerate(init)],
        policy=policy,
        started_at=NOW,
        **more,
    )


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (pod("waiting"), "Pending"),
        (pod("running"), "Running"),
        (pod("running", "waiting"), "Pending"),
        (pod("running", "1"), "Running"),
        (pod("0"), "Succeeded"),
        (pod("0", "0"), "Succeeded"),
        (pod("0", "1"), "Failed"),
        (pod("waiting", init=("running",)), "Pending"),
        (pod("waiting", init=("1", "waiting")), "Failed"),
        (pod("waiting", init=("0", "waiting")), "Pending"),
        (pod("waiting", init=("crashed",), policy="OnFailure"), "Pending"),
        (pod("running", init=("0",)), "Running"),
        (pod("crashed", policy="OnFailure"), "Running"),
        (pod("0", policy="OnFailure"), "Succeeded"),
        (pod("0", policy="Always"), "Running"),
        (pod("0", policy="Always", stopping=True), "Succeeded"),
        (pod("1", policy="OnFailure", stopping=True), "Failed"),
        (pod("0", reason="DeadlineExceeded"), "Failed"),
        (pod("running", reason="DeadlineExceeded"), "Running"),
        (pod("waiting", reason="NodeError"), "Failed"),
        (pod("waiting", init=("waiting+",)), "Pending"),
        (pod("waiting", init=("running+",)), "Pending"),
        (pod("running", init=("running+",)), "Running"),
        (pod("running", init=("crashed+",)), "Running"),
        (pod("0", init=("running+",)), "Running"),
        (pod("0", init=("crashed+",)), "Running"),
        (pod("1", init=("running+",)), "Running"),
        (pod("0", init=("137+",)), "Succeeded"),
        (pod("1", init=("0+",)), "Failed"),
        (pod("waiting", init=("running+", "1")), "Pending"),
        (pod("waiting", init=("143+", "1")), "Failed"),
    ],
)
def test_the_phase_follows_from_the_containers(state: PodState, phase: str) -> None:
    assert state.phase() == phase


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c.get("reason", "")) for c in status["conditions"]}


def test_a_running_pod_is_ready() -> None:
    assert conditions(pod("running", "running").status(NOW, {})) == {
        "PodScheduled": ("True", ""),
        "Initialized": ("True", ""),
        "ContainersReady": ("True", ""),
        "Ready": ("True", ""),
    }


def test_a_pod_of_which_one_container_ended_is_not_ready() -> None:
    found = pod("running", "0").status(NOW, {})["conditions"][-1]

    assert (found["reason"], found["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [c1]",
    )


@pytest.mark.parametrize(("code", "reason"), [("0", "PodCompleted"), ("1", "PodFailed")])
def test_a_finished_pod_is_not_ready_for_that_reason(code: str, reason: str) -> None:
    assert conditions(pod(code).status(NOW, {}))["Ready"] == ("False", reason)


def test_transition_times_change_only_with_the_status() -> None:
    before = pod("running").status(NOW, {})

    after = pod("0").status(LATER, before)

    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}
    assert times == {
        "PodScheduled": timestamp(NOW),
        "Initialized": timestamp(NOW),
        "ContainersReady": timestamp(LATER),
        "Ready": timestamp(LATER),
    }


def test_conditions_of_other_writers_are_kept() -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}

    assert target in pod("running").status(NOW, {"conditions": [target]})["conditions"]


def test_a_restarted_container_shows_its_last_run() -> None:
    crashed = container("crashed")
    crashed.started(LATER)

    status = crashed.status()

    assert status["restartCount"] == 1
    assert status["state"] == {"running": {"startedAt": timestamp(LATER)}}
    assert status["lastState"]["terminated"]["exitCode"] == 1


def test_a_pod_is_ready_only_while_its_sidecars_run() -> None:
    assert conditions(pod("running", init=("running+",)).status(NOW, {}))["Ready"] == ("True", "")
    crashed = conditions(pod("running", init=("crashed+",)).status(NOW, {}))
    assert crashed["Ready"] == ("False", "ContainersNotReady")
    assert crashed["Initialized"] == ("True", "")


def test_a_sidecar_that_is_not_started_again_shows_how_it_ended() -> None:
    crashed = container("crashed+", init=True)
    crashed.cancel_restart()
    assert crashed.status()["state"]["terminated"]["exitCode"] == 1


def test_between_two_runs_a_container_is_waiting() -> None:
    assert container("crashed").status()["state"] == {
        "waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}
    }
