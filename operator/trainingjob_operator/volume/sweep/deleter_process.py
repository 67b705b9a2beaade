"""`python -m trainingjob_operator.volume.sweep.deleter_process`: the process at the other end of a `Deleter`.

A packet of JSON in says what to delete, one out says what became of it. Whatever it deletes was
condemned before, so it may die at any moment.
"""

import json
import os
import select
import sys
from contextlib import suppress
from typing import Final

from trainingjob_api.errors import OperatorError
from trainingjob_operator.volume.sweep.budget import set_idle_io_class
from trainingjob_operator.volume.sweep.trash import RemovalCounts, Trash

PACKET: Final = 16_384
"""Bytes of a packet at most: two names of 255 bytes, each of which JSON may write as six."""

_SOCKET: Final = 0
_NICENESS: Final = 10
_HUNG_UP: Final = select.poll()


class _HungUpError(OperatorError):
    """The other end has gone, or waits no longer."""


def _tick() -> None:
    if _HUNG_UP.poll(0):
        raise _HungUpError("the sweep has hung up")


def _serve(trash: Trash) -> None:
    """Answer one question after the other."""
    while request := os.read(_SOCKET, PACKET):
        name, origin = json.loads(request)
        tally, fault = RemovalCounts(), None
        try:
            _tick()
            trash.delete(name, origin, tally)
        except OSError as error:
            fault = [error.errno, error.strerror]
        except _HungUpError:
            _say(tally, None, done=False)
            return
        _say(tally, fault, done=True)


def _say(tally: RemovalCounts, fault: list[int | str | None] | None, *, done: bool) -> None:
    os.write(_SOCKET, json.dumps([tally.files, tally.directories, fault, done]).encode())


def main() -> int:
    """Answer until the sweep hangs up. Arguments: the trash's descriptor, its device, the names' prefix."""
    _HUNG_UP.register(_SOCKET, select.POLLRDHUP)
    set_idle_io_class()
    os.nice(_NICENESS)  # no other thread waits for a lock of this process
    trash = Trash(int(sys.argv[1]), int(sys.argv[2]), _tick, prefix=sys.argv[3])
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent has gone
        _serve(trash)
    return 0


if __name__ == "__main__":
    sys.exit(main())
