"""Defines the runs: contestants and workloads, and their order."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from hack.bench.arena import Nodes
from hack.bench.contestants import (
    JOB_DEFAULT,
    JOB_TUNED,
    JOBSET,
    OURS,
    RAW,
    TRAINER,
    Contestant,
)
from hack.bench.workload import Workload

BURST: Final = "burst"
STREAM: Final = "stream"
STREAM_2S: Final = "stream-2s"
STREAM_HALF: Final = "stream-half"
GANG: Final = "gang"
WORKLOADS: Final = (BURST, STREAM, STREAM_2S, STREAM_HALF, GANG)

_SHORT_MS: Final = 100
_LONG_MS: Final = 2000
_SMOKE_RATE: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a run.

    Attributes:
        jobs: jobs of a burst.
        default_jobs: jobs of a burst with the default Job controller, whose request limit determines
            its rate, whatever the number.
        rounds: repetitions of run B; run A, where the scheduler and kwok use a part of the machine,
            has half as many.
        rate, seconds: of the stream, in jobs per second.
        gangs, ranks: number of jobs with many ranks, and their ranks.
    """

    jobs: int = 1000
    default_jobs: int = 100
    rounds: int = 2
    rate: float = 20.0
    seconds: float = 10.0
    gangs: int = 20
    ranks: int = 8


@dataclass(frozen=True)
class Repetition:
    """One contestant with these workloads in this order, on a control plane of its own."""

    run: str
    nodes: Nodes
    contestant: Contestant
    workloads: tuple[Workload, ...]


def full(size: Size) -> list[Repetition]:
    """Return run A, which resembles a cluster, and run B, which measures the controllers alone.

    A burst comes last: its left-overs, such as Events that are still to be written, would delay the
    workloads after it.
    """
    count = round(size.rate * size.seconds)
    burst = Workload(name=BURST, jobs=size.jobs, run_ms=_SHORT_MS)
    half = Workload(name=STREAM, jobs=count // 2, rate=size.rate, run_ms=_SHORT_MS)
    few = Workload(name=BURST, jobs=size.default_jobs, run_ms=_SHORT_MS)
    short = Workload(name=STREAM, jobs=count, rate=size.rate, run_ms=_SHORT_MS)
    long = Workload(name=STREAM_2S, jobs=count, rate=size.rate, run_ms=_LONG_MS)
    slow = Workload(name=STREAM_HALF, jobs=count // 2, rate=size.rate / 2, run_ms=_SHORT_MS)
    gang = Workload(name=GANG, jobs=size.gangs, ranks=size.ranks, run_ms=_SHORT_MS)
    return [
        Repetition("A", "kwok", RAW, (burst,)),
        *_alternating("A", "kwok", (size.rounds + 1) // 2, (short, burst)),
        Repetition("A", "kwok", JOB_DEFAULT, (few,)),
        Repetition("B", "completer", RAW, (burst,)),
        *_alternating("B", "completer", size.rounds, (short, long, slow, gang, burst)),
        *(Repetition("B", "completer", each, (slow, gang, burst)) for each in (JOBSET, TRAINER)),
        Repetition("B", "completer", JOB_DEFAULT, (half, few)),
    ]


def smoke(jobs: int) -> list[Repetition]:
    """Return a run that suffices to count requests: ours and the tuned Job controller once, without a scheduler."""
    stream = Workload(name=STREAM, jobs=jobs, rate=_SMOKE_RATE, run_ms=_SHORT_MS)
    return _alternating("B", "completer", 1, (stream,))


def chosen(
    repetitions: Iterable[Repetition], contestants: Collection[str], workloads: Collection[str]
) -> list[Repetition]:
    """Keep only these contestants and workloads; an empty selection keeps all."""
    found = []
    for each in repetitions:
        kept = tuple(one for one in each.workloads if not workloads or one.name in workloads)
        if kept and (not contestants or each.contestant.name in contestants):
            found.append(replace(each, workloads=kept))
    return found


def _alternating(
    run: str, nodes: Nodes, rounds: int, workloads: tuple[Workload, ...]
) -> list[Repetition]:
    """Alternate two contestants as ABBA, so that a drift of the machine affects both."""
    order = []
    for number in range(rounds):
        pair = (OURS, JOB_TUNED) if number % 2 == 0 else (JOB_TUNED, OURS)
        order += [Repetition(run, nodes, each, workloads) for each in pair]
    return order
