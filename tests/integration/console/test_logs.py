"""The log of a real process is followed while it is written, then read from the archive without a gap."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.apiserver.retention import forget_volume
from tests.support.builders import make_job
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.console.raw_socket import RawSocket
from tests.support.processes.operator import OperatorProcess
from tests.support.processes.process_node import ProcessNode
from trainingjob_sandbox.client import ApiClient

JOBS = "/apis/trainingjob.dev/v1alpha1/namespaces/default/trainingjobs"
WRITES = (
    "printf 'caf\\303\\251 rank %s\\n' ${HOSTNAME##*-}; "
    "for n in 1 2 3 4 5; do printf '\\r%s%%' $n; done; echo; "
    "head -c 2000000 /dev/zero | tr '\\0' y; echo; "
    "while [ ! -e {flag} ]; do sleep 0.05; done; seq 1 2000; echo 'ERROR: the end'; exit 0"
)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)


def written(rank: int) -> bytes:
    bar = b"".join(b"\r%d%%" % n for n in range(1, 6))
    numbers = b"".join(b"%d\n" % n for n in range(1, 2001))
    return (
        f"café rank {rank}\n".encode() + bar + b"\n" + b"y" * 2_000_000 + b"\n" + numbers
    ) + b"ERROR: the end\n"


@asynccontextmanager
async def job_that_writes(node: ProcessNode, folder: Path, root: Path) -> AsyncIterator[Any]:
    """Return a job of two ranks that write the rest of their logs once the flag file exists."""
    settings = {"TRAININGJOB_NAMESPACES": "default", "TRAININGJOB_VOLUME__ROOT": str(root)}
    operator = OperatorProcess(node.kubeconfig, folder / "operator.log", **settings)
    script = WRITES.replace("{flag}", str(folder / "flag"))
    job = make_job(
        f"logs-{uuid4().hex[:8]}", namespace="default", nodes=2, command=["sh", "-c", script]
    )
    async with ApiClient.from_kubeconfig(node.kubeconfig) as client:
        try:
            with operator:
                operator.wait_until_ready()
                yield (await client.create(JOBS, job))["metadata"]
        finally:
            await forget_volume(client)


async def sources(console: ConsoleUnderTest, uid: str, state: str, number: int) -> Any:
    async with asyncio.timeout(90):
        while True:
            answer = await console.get(f"/api/jobs/{uid}/logs")
            found = [
                each for each in (answer.json or {}).get("sources", ()) if each["state"] == state
            ]
            if len(found) == number:
                return found
            await asyncio.sleep(0.1)


async def read_all(console: ConsoleUnderTest, path: str) -> tuple[str, int]:
    """Read the log window by window; return it with the number of cut lines."""
    text, cut, at = "", 0, 0
    while True:
        window = (await console.get(f"{path}?offset={at}")).json
        assert window["offset"] == at
        text, cut = text + window["text"], cut + window["truncatedLines"]
        if window["next"] == at:
            return text, cut
        at = window["next"]


async def is_as_written(
    console: ConsoleUnderTest, base: str, rank: int, archived: dict[str, Any]
) -> None:
    """Check that the archive, read in each way, has the bytes that the rank wrote."""
    path = f"{base}/archive:0:{rank}:main"
    log = written(rank)
    downloaded = await console.get(f"{path}/download")
    assert downloaded.text.encode() == log
    assert archived["firstError"] == log.index(b"ERROR")
    shown, cut = await read_all(console, path)
    assert cut == 1
    assert re.sub("y+ … [0-9]+ bytes more: download", "y" * 2_000_000, shown).encode() == log
    hits = (await console.get(f"{path}/search?text=1999")).json
    assert hits["hits"] == [{"offset": log.index(b"\n1999\n") + 1, "line": "1999"}]
    assert hits["complete"]
    last = (await console.get(f"{path}?offset=-16")).json
    assert (last["text"], last["next"]) == ("ERROR: the end\n", len(log))


async def test_a_log_is_followed_and_then_read_from_the_archive_with_equal_bytes(
    process_node: ProcessNode, tmp_path: Path
) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    async with (
        job_that_writes(process_node, tmp_path, root) as job,
        running_console(
            process_node.kubeconfig, namespaces=["default"], log_volume=root
        ) as console,
    ):
        uid = job["uid"]
        base = f"/api/jobs/{uid}/logs"
        live = await sources(console, uid, "live", 2)
        assert [each["id"] for each in live] == ["live:0:0:main", "live:0:1:main"]
        page = await RawSocket.connect(int(console.url.rpartition(":")[2]))
        await page.send(
            {
                "type": "sub",
                "id": 1,
                "kind": "logs",
                "uid": uid,
                "source": "live:0:1:main",
                "offset": 0,
            }
        )
        text, at = "", 0
        while at < 2_000_000:
            piece = await page.receive_kind("log")
            assert piece["offset"] == at
            text, at = text + piece["text"], piece["next"]
        window = (await console.get(f"{base}/live:0:1:main?offset=-100")).json
        assert window["growing"]
        assert window["truncatedLines"] == 1
        (tmp_path / "flag").touch()
        while (frame := await page.receive(60)) is not None:
            if frame["type"] == "ping":
                await page.send({"type": "pong"})
            elif frame["type"] == "log":
                assert frame["offset"] == at
                text, at = text + frame["text"], frame["next"]
            elif frame["type"] == "end":
                break
            else:
                raise AssertionError(frame)
        page.close()
        assert text.encode() == written(1)
        archived = await sources(console, uid, "archived", 2)
        assert [each["id"] for each in archived] == ["archive:0:0:main", "archive:0:1:main"]
        for rank in (0, 1):
            await is_as_written(console, base, rank, archived[rank])
        merged = (await console.get(f"{base}/merged/download")).text.encode()
        assert merged == (root / f"job_{uid}.log").read_bytes()
        other = await console.get(f"/api/jobs/{uuid4()}/logs")
        assert other.status == 404
        assert (await console.get(f"{base}/archive:9:0:main")).status == 404
        assert (await console.get(f"{base}/..%2f..%2fetc")).status == 404
