"""The trainer of the digits sample as real processes on loopback: ranks train one model together."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from hack.ports import free_port
from tests.support.markers import quick
from tests.support.repository import ROOT

SAMPLE = ROOT / "manifests" / "samples" / "digits.yaml"
PATIENCE_S = 300.0
"""For a rank that hangs: on a busy machine the digits take minutes."""

# Runs the trainer unchanged but for what the test puts in `meddle`, and keeps the final weights.
HARNESS = """
import json, os, sys
import train

rank = int(os.environ["RANK"])
plain_train, plain_gradient = train.train, train.gradient

def keep_weights(group):
    weights = plain_train(group)
    {meddle_after}
    with open(os.environ["WEIGHTS"], "w") as file:
        json.dump(weights, file)
    return weights

train.train = keep_weights
{meddle_before}
sys.exit(train.main())
"""

WITHOUT_THE_GRADIENTS_OF_RANK_1 = """
def gradient(weights, images):
    slopes, loss = plain_gradient(weights, images)
    return [[slope * (rank != 1) for slope in row] for row in slopes], loss
train.gradient = gradient
"""


class Ranks:
    """Starts ranks of the trainer as the operator would, each in a process of its own."""

    def __init__(self, folder: Path, world: int, **knobs: object) -> None:
        self.folder = folder
        self.world = world
        self.port = free_port()
        self.knobs = {f"DIGITS_{name.upper()}": str(value) for name, value in knobs.items()}
        self.processes: dict[int, subprocess.Popen[str]] = {}

    def start(self, rank: int, program: str = "train.py") -> subprocess.Popen[str]:
        self.processes[rank] = subprocess.Popen(
            [sys.executable, "-u", program],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "RANK": str(rank),
                "WORLD_SIZE": str(self.world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(self.port),
                "WEIGHTS": str(self.weights_file(rank)),
                "DIGITS_TIMEOUT": str(PATIENCE_S),
                **self.knobs,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.processes[rank]

    def run(self, program: str = "train.py") -> list[tuple[int, str]]:
        """Runs all ranks to their end; returns the exit code and the output of each."""
        for rank in range(self.world):
            self.start(rank, program)
        return [self.finish(rank) for rank in range(self.world)]

    def finish(self, rank: int) -> tuple[int, str]:
        process = self.processes[rank]
        assert process.stdout is not None
        # Not communicate(): with a time limit it forgets what a reader before it has buffered.
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        output = process.stdout.read()
        code = process.wait()
        watchdog.cancel()
        return code, output

    def weights_file(self, rank: int) -> Path:
        return self.folder / f"weights-{self.world}-{rank}.json"

    def weights(self, rank: int = 0) -> list[float]:
        rows = json.loads(self.weights_file(rank).read_text())
        return [weight for row in rows for weight in row]

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


StartRanks = Callable[..., Ranks]


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[StartRanks]:
    documents = list(yaml.safe_load_all(SAMPLE.read_text()))
    (tmp_path / "train.py").write_text(documents[0]["data"]["train.py"])
    with contextlib.ExitStack() as stack:

        def make(world: int, **knobs: object) -> Ranks:
            made = Ranks(tmp_path, world, **knobs)
            stack.callback(made.stop)
            return made

        yield make


def _harness(folder: Path, *, before: str = "", after: str = "pass") -> str:
    source = HARNESS.format(meddle_before=before, meddle_after=after)
    (folder / "harness.py").write_text(source)
    return "harness.py"


def _read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """Reads lines until one holds `wanted`; the process ending first is a failure."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted in line:
            return seen
    raise AssertionError(f"{wanted!r} never came:\n{seen}")


def _difference(left: list[float], right: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(left, right, strict=True))


def test_two_ranks_learn_to_classify_digits_and_end_with_equal_weights(ranks: StartRanks) -> None:
    outcomes = ranks(2, epochs=3).run()

    assert [code for code, _ in outcomes] == [0, 0]
    digests = {
        re.findall(r"^weights ([0-9a-f]{64})$", output, re.MULTILINE)[0] for _, output in outcomes
    }
    assert len(digests) == 1
    accuracies = [float(a) for a in re.findall(r"held-out accuracy ([\d.]+)", outcomes[0][1])]
    assert len(accuracies) == 3
    assert 0.9 <= accuracies[-1] < 1.0


def test_the_accuracy_before_training_is_that_of_chance(ranks: StartRanks) -> None:
    [(code, output)] = ranks(1, epochs=1, images=1).run()

    accuracy = float(re.findall(r"held-out accuracy ([\d.]+)", output)[0])
    assert code == 0
    assert accuracy < 0.3


@pytest.mark.parametrize("world", quick([2, 3, 8], in_quick=[3]))
def test_ranks_get_the_weights_of_one_process_with_all_images(
    ranks: StartRanks, tmp_path: Path, world: int
) -> None:
    program = _harness(tmp_path)
    alone, together = (ranks(size, epochs=2, images=320) for size in (1, world))

    codes = [code for code, _ in alone.run(program) + together.run(program)]

    assert codes == [0] * (1 + world)
    # Only the order of the additions differs.
    assert _difference(alone.weights(), together.weights()) < 1e-9
    assert all(together.weights(rank) == together.weights() for rank in range(world))


def test_the_gradients_of_every_rank_affect_the_weights(ranks: StartRanks, tmp_path: Path) -> None:
    """The comparison above would catch an all-reduce that drops or ignores a rank."""
    alone, together = (ranks(size, epochs=2, images=320) for size in (1, 2))

    alone.run(_harness(tmp_path))
    outcomes = together.run(_harness(tmp_path, before=WITHOUT_THE_GRADIENTS_OF_RANK_1))

    assert [code for code, _ in outcomes] == [0, 0]
    assert _difference(alone.weights(), together.weights()) > 1e-2


def test_unequal_weights_are_a_failure_on_every_rank(ranks: StartRanks, tmp_path: Path) -> None:
    program = _harness(tmp_path, after="weights[0][0] += 1e-12 * rank")

    outcomes = ranks(2, epochs=1, images=50).run(program)

    for code, output in outcomes:
        assert code == 1
        assert "the ranks ended with different weights" in output


def test_ranks_may_start_before_rank_0(ranks: StartRanks) -> None:
    job = ranks(2, epochs=1, images=50)

    _read_until(job.start(1), "rank 1 of 2")
    job.start(0)

    assert [job.finish(rank)[0] for rank in (0, 1)] == [0, 0]


def test_foreign_connections_to_rank_0_are_closed(ranks: StartRanks) -> None:
    job = ranks(2, epochs=1, images=50)
    _read_until(job.start(0), "rank 0 of 2")
    stranger = _connect(job.port)
    stranger.sendall(b"GET / HTTP/1.1")  # as long as a rank's greeting
    silent = _connect(job.port)
    silent.close()

    job.start(1)

    with stranger:
        assert stranger.recv(100) == b""
    assert [job.finish(rank)[0] for rank in (0, 1)] == [0, 0]


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "rank 0 never listened"
            time.sleep(0.02)


@pytest.mark.parametrize(("lost", "left"), [(1, 0), pytest.param(0, 1, marks=pytest.mark.long)])
def test_a_lost_rank_fails_the_others_with_a_clear_message(
    ranks: StartRanks, lost: int, left: int
) -> None:
    job = ranks(2, epochs=1000, images=50)
    for rank in (0, 1):
        job.start(rank)
    _read_until(job.processes[0], "epoch 2/")

    job.processes[lost].kill()
    code, output = job.finish(left)

    assert code == 1
    assert f"rank {left} gives up: lost rank {lost}" in output.splitlines()[-1]
    assert "Traceback" not in output


def test_the_wait_for_a_missing_rank_times_out(ranks: StartRanks) -> None:
    first, second = ranks(3, timeout=0.3), ranks(3, timeout=0.3)
    first.start(0)
    second.start(1)

    gathering, joining = first.finish(0), second.finish(1)

    assert (gathering[0], joining[0]) == (1, 1)
    assert "rank 0 gives up: no word from ranks [1, 2]" in gathering[1]
    assert "rank 1 gives up: no rank 0 after 0.3 s" in joining[1]


def test_sigterm_ends_a_rank_with_exit_code_143(ranks: StartRanks) -> None:
    job = ranks(1, epochs=1000, images=50)
    _read_until(job.start(0), "epoch 1/")

    job.processes[0].send_signal(signal.SIGTERM)
    code, output = job.finish(0)

    assert code == 143
    assert output.splitlines()[-1] == "stopped by SIGTERM"
