"""Deletes in a process of its own: `python -m trainingjob_operator.volume.sweep.deleter_process`.

A `Deleter` starts it, sends requests and gets responses as packets of JSON. It deletes only
condemned entries, so it may be killed at any moment.
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
"""Maximum bytes of a packet: two names of 255 bytes, each of which JSON may escape as six."""

_SOCKET: Final = 0
_NICENESS: Final = 10
_HUNG_UP: Final = select.poll()


class _HungUpError(OperatorError):
    """The sweep has closed its end of the socket."""


def _tick() -> None:
    if _HUNG_UP.poll(0):
        raise _HungUpError("the sweep has hung up")


def _serve(trash: Trash) -> None:
    """Handle requests until the socket is closed."""
    while request := os.read(_SOCKET, PACKET):
        name, origin = json.loads(request)
        tally, fault = RemovalCounts(), None
        try:
            _tick()
            trash.delete(name, origin, tally)
        except OSError as error:
            fault = [error.errno, error.strerror]
        except _HungUpError:
            _respond(tally, None, done=False)
            return
        _respond(tally, fault, done=True)


def _respond(tally: RemovalCounts, fault: list[int | str | None] | None, *, done: bool) -> None:
    os.write(_SOCKET, json.dumps([tally.files, tally.directories, fault, done]).encode())


def main() -> int:
    """Handle requests until the sweep hangs up.

    The arguments are the trash's descriptor, its device number, and the prefix of its names.
    """
    _HUNG_UP.register(_SOCKET, select.POLLRDHUP)
    set_idle_io_class()
    os.nice(_NICENESS)  # safe here: the event loop does not wait for the GIL of this process
    trash = Trash(int(sys.argv[1]), int(sys.argv[2]), _tick, prefix=sys.argv[3])
    with suppress(BrokenPipeError, ConnectionResetError):  # the parent has exited
        _serve(trash)
    return 0


if __name__ == "__main__":
    sys.exit(main())
