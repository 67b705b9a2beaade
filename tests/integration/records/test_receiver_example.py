"""The example receiver in docs/persistence.md fulfils the contract that the page describes."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.records.records import encode, make_record
from tests.support.records.service import TOKEN, Client
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "persistence.md"


def example() -> str:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(source)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    """The example as a program; its URL."""
    program = tmp_path / "receiver.py"
    program.write_text(example())
    process = subprocess.Popen(
        [sys.executable, program, tmp_path / "records.db", "0"],
        env={"TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().split()[-1]}"
        process.kill()


async def test_the_example_receiver_fulfils_the_contract(receiver: str) -> None:
    record = make_record()
    path = f"/records/{record['uid']}"

    async def put(sent: dict[str, object], *, to: str = path) -> tuple[int, object]:
        answer = await client.request("PUT", to, data=io.BytesIO(encode(sent)))
        return answer.status, answer.json.get("revision")

    async with Client(receiver) as client:
        assert await put(record | {"revision": 2}) == (200, 2)
        assert await put(record | {"revision": 2}) == (200, 2)
        assert await put(record | {"revision": 1}) == (200, 2)
        assert await put(record | {"revision": 2, "phase": "Failed"}) == (409, None)
        assert await put(record | {"revision": 3, "phase": "Failed"}) == (200, 3)
        assert await put(record, to="/records/another") == (422, None)
        assert await put(record | {"message": "x" * 2**21}) == (413, None)
        assert (await client.request("PUT", path, data=b"<html>")).status == 400
        assert (await client.request("PUT", path, data=b"[]")).status == 400
        echoed = await client.request("PUT", path, data=encode(record | {"revision": 4}))
        assert echoed.json == {"uid": record["uid"], "revision": 4}
    async with Client(receiver, token="wrong") as stranger:
        assert (await stranger.request("PUT", path, data=encode(record))).status == 401


def test_the_example_receiver_is_short() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 50
