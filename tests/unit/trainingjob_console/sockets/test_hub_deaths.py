"""Sockets that fail in any way, and clients that never read, leave no resources behind."""

import asyncio
import gc
import resource
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import pytest

from tests.support.console.hub import RunningHub, fake_job, running_hub
from tests.support.console.raw_socket import RawSocket, open_descriptors
from trainingjob_console.sockets.limits import Limits

OURS = (
    "trainingjob_console.sockets",
    "trainingjob_console.access",
    "trainingjob_web",
    "uvicorn.protocols",
    "websockets",
    "h11",
)
PATIENCE_S = 120.0
"""Of the clients: on a busy machine they and the server, which share an event loop, wait for each other."""


def objects() -> Counter[str]:
    """Return the live objects of the server's own types and of the types that it uses."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in kinds
        if str(kind.__module__).startswith((*OURS, "_asyncio"))
    )


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def live_and_die(running: RunningHub, way: int) -> None:
    page = await RawSocket.connect(running.port)
    assert page.status == 101
    position = running.index.position
    await page.send({"type": "sub", "id": 1, "kind": "jobs", "position": position})
    await page.send({"type": "sub", "id": 2, "kind": "logs", "uid": "u", "source": "s"})
    await page.send({"type": "sub", "id": 3, "kind": "housekeeping"})
    await page.receive_kind("delta", PATIENCE_S)
    if way == 0:
        page.reset()
    elif way == 1:
        page.close()
    else:  # it is still there for the kernel, and answers nothing any more
        while await page.receive(PATIENCE_S) is not None:
            pass
        assert page.close_code == 1011
        page.close()


async def cycles(running: RunningHub, number: int, at_once: int) -> int:
    """Open and kill so many sockets; return the maximum resident bytes between two batches.

    Their garbage is collected then: how much of it waits at a moment says nothing of what is left.
    """
    most = 0
    for begun in range(0, number, at_once):
        batch = min(at_once, number - begun)
        await asyncio.gather(*(live_and_die(running, n % 3) for n in range(batch)))
        running.index.put(fake_job("1", version=begun))
        running.logs.write(begun * 2, "x\n")
        gc.collect()
        most = max(most, resident())
    async with asyncio.timeout(PATIENCE_S):
        while running.hub.admission.used or running.server.server_state.tasks:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0)
    return most


@pytest.mark.parametrize(
    ("number", "at_once", "ping"),
    [(300, 75, 0.4), pytest.param(10_000, 125, 0.4, marks=pytest.mark.long)],
)
@pytest.mark.timeout(900)
async def test_sockets_that_failed_leave_no_resources(
    number: int, at_once: int, ping: float
) -> None:
    limits = Limits(ping=ping, pong=ping, sockets_per_user=256, sockets_per_address=256)
    async with running_hub(limits) as running:
        await cycles(running, at_once, at_once)  # what is made once
        before, tasks, fds = objects(), len(asyncio.all_tasks()), open_descriptors()
        first = await cycles(running, number // 2, at_once)
        grown = await cycles(running, number // 2, at_once) - first
        await asyncio.sleep(2.5)  # the aborts that follow a close
        with suppress(TimeoutError):  # of which some may be late; what is left is said below
            async with asyncio.timeout(PATIENCE_S):
                while len(running.connections) or len(asyncio.all_tasks()) > tasks:
                    await asyncio.sleep(0.05)
        after = objects()
        left = {name: (before[name], n) for name, n in after.items() if n > before[name] + 5}
        hub = running.hub
        print(  # noqa: T201
            f"{number} sockets by RST, FIN and half-open: objects {sum(before.values())} -> "
            f"{sum(after.values())}, tasks {tasks} -> {len(asyncio.all_tasks())}, descriptors "
            f"{fds} -> {open_descriptors()}, topics {len(hub.topics)}, queued {hub.budget.used} B, "
            f"RSS of the second half {grown / (number // 2):+.0f} B a socket; {dict(hub.closed)}"
        )
        assert left == {}
        assert len(asyncio.all_tasks()) <= tasks
        assert open_descriptors() <= fds
        assert (len(hub.topics), len(hub.budget), hub.budget.used) == (0, 0, 0)
        assert len(running.connections) == 0
        assert sum(hub.closed.values()) == at_once + 2 * (number // 2)
        if number > 1000:
            assert grown / (number // 2) < 100


async def publish(running: RunningHub, stop: asyncio.Event) -> list[float]:
    """Change jobs with large rows 200 times per second; return the seconds between two rounds."""
    version = 0
    intervals: list[float] = []
    last = perf_counter()
    while not stop.is_set():
        for n in range(20):
            version += 1
            running.index.put(fake_job(str(n), version=version, label="x" * 1000))
        await asyncio.sleep(0.1)
        intervals.append(perf_counter() - last)
        last = perf_counter()
    return intervals


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100]


def ended_by_hub(running: RunningHub) -> int:
    """Return the number that the hub has closed: a page that never reads answers no ping either."""
    return running.hub.closed["slow"] + running.hub.closed["no-pong"]


@pytest.mark.parametrize("deaf", [20, pytest.param(255, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
async def test_clients_that_never_read_block_no_others(deaf: int) -> None:
    limits = Limits(
        sockets_per_user=256,
        sockets_per_address=256,
        coalesce=0.02,
        send=4.0,
        queued_bytes=16 * 2**20,
    )
    async with running_hub(limits) as running:
        position = running.index.position
        wanted = {"type": "sub", "id": 1, "kind": "jobs", "position": position}
        pages = [
            await RawSocket.connect(running.port, f"/ws?user={n}", receive_buffer=4096)
            for n in range(deaf)
        ]
        for page in pages:
            await page.send(wanted)
        healthy = await RawSocket.connect(running.port)
        await healthy.send(wanted)
        stop = asyncio.Event()
        begun, most = perf_counter(), 0
        publishing = asyncio.create_task(publish(running, stop))
        gaps: list[float] = []
        await healthy.receive_kind(
            "delta"
        )  # from here on it is sent to, beside all that do not read
        last = perf_counter()
        while ended_by_hub(running) < deaf:
            await healthy.receive_kind("delta", PATIENCE_S)
            gaps.append(perf_counter() - last)
            last = perf_counter()
            most = max(most, running.hub.budget.used)
            assert last - begun < PATIENCE_S, dict(running.hub.closed)
        stop.set()
        lag = p99(await publishing)
        print(  # noqa: T201
            f"{deaf} readers that never read: all closed after {perf_counter() - begun:.1f} s; a "
            f"healthy one waits {p99(gaps) * 1000:.0f} ms (p99 of {len(gaps)}), between two changes "
            f"are {lag * 1000:.0f} ms; at most {most} B queued of {limits.queued_bytes}"
        )
        # Milliseconds on an idle machine. A server that sends to one after the other would wait for a whole
        # deadline at the first that does not read, while the changes continue at the same rate. On a machine
        # that is stalled repeatedly, both are late together.
        assert p99(gaps) < max(limits.send, 5 * lag)
        assert most <= limits.queued_bytes
        async with asyncio.timeout(30):
            while running.hub.admission.used > 1:
                await asyncio.sleep(0.05)
        for page in (*pages, healthy):
            page.close()
