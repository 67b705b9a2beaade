"""The first error of an archived log is searched once, and the cache is bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.console.archives import section_of, write_archive
from trainingjob_console.logs.archive import Archive, SectionBody
from trainingjob_console.logs.first_errors import FirstErrors


class Counted(Archive):
    """An archive that counts reads."""

    reads = 0

    def lines(self, body: SectionBody) -> Iterator[bytes]:
        self.reads += 1
        return super().lines(body)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Counted]:
    logs = [b"fine\nERROR: bad\n", b"fine\n" * 100, b"Error at once\n", b""]
    uid = write_archive(tmp_path, *(section_of(log, rank=rank) for rank, log in enumerate(logs)))
    found = Counted.open(tmp_path, uid)
    assert found is not None
    with found:
        yield found


def test_each_log_is_read_once(archive: Counted) -> None:
    errors, bodies = FirstErrors(), archive.bodies()
    for _ in range(3):
        assert errors.find("uid", archive, bodies) == [5, None, 0, None]
    assert archive.reads == 4
    errors.find("another", archive, bodies)
    assert archive.reads == 8


def test_logs_above_the_scan_limit_are_searched_later(archive: Counted) -> None:
    bodies = archive.bodies()
    errors = FirstErrors(max_scan=bodies[1].end - bodies[1].start)
    found = [errors.find("uid", archive, bodies) for _ in range(2)]
    assert found[0][0] == found[1][0] == 5
    assert archive.reads == 4
    assert len(errors) == 4


def test_the_cache_is_bounded(archive: Counted) -> None:
    errors, bodies = FirstErrors(limit=2), archive.bodies()
    assert errors.find("uid", archive, bodies) == [5, None, 0, None]
    assert len(errors) == errors.limit == 2
    errors.find("uid", archive, bodies[2:])
    assert archive.reads == 4
