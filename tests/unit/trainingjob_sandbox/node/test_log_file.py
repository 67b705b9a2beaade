"""A container's log on disk is bounded, and can be read while it is written."""

# A test has its loop to itself: blocking it harms nobody.
# ruff: noqa: ASYNC240

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trainingjob_sandbox.node.log_file import LogFile


def everything(log: LogFile, position: int = 0) -> bytes:
    data = b""
    while True:
        chunk, position = log.read(position, 7)
        if not chunk:
            return data
        data += chunk


async def test_a_log_can_be_read_from_any_position(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.write(b"one\ntwo\n")

    assert everything(log) == b"one\ntwo\n"
    assert everything(log, 4) == b"two\n"
    log.close()


async def test_the_disk_holds_no_more_than_the_limit_and_the_newest_bytes(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", max_bytes=100)
    written = b"".join(b"line %05d\n" % i for i in range(100))

    for start in range(0, len(written), 33):
        log.write(written[start : start + 33])
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 100

    kept = everything(log)
    assert 50 <= len(kept) <= 100
    assert written.endswith(kept)
    assert log.start == len(written) - len(kept)
    log.close()


async def test_one_write_larger_than_the_limit_keeps_its_end(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", max_bytes=10)

    log.write(bytes(range(64)))

    assert bytes(range(64)).endswith(everything(log))
    assert len(everything(log)) >= 4
    log.close()


@given(
    lines=st.lists(st.sampled_from([b"", b"a", b"bc", b"\r", b"long line"]), max_size=12),
    wanted=st.integers(0, 15),
    ended=st.booleans(),
)
def test_the_tail_is_the_last_so_many_lines(
    lines: list[bytes], wanted: int, *, ended: bool
) -> None:
    async def tail(path: Path) -> bytes:
        log = LogFile(path)
        log.write(b"".join(pieces))
        log.close()
        return everything(log, log.tail(wanted))

    pieces = [line + b"\n" for line in lines]
    if not ended:
        pieces.append(b"no newline")
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(tail(Path(folder) / "log"))

    assert found == b"".join(pieces[-wanted:] if wanted else [])


async def test_a_reader_is_woken_by_a_write_and_by_close(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    waiting = asyncio.create_task(log.wait_for_data())
    await asyncio.sleep(0)

    log.write(b"x")
    await asyncio.wait_for(waiting, 1)

    waiting = asyncio.create_task(log.wait_for_data())
    await asyncio.sleep(0)
    log.close()
    await asyncio.wait_for(waiting, 1)
