"""A process that deletes what is in the trash, seen from the sweep."""

import json
import select
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from trainingjob_operator.volume.sweep.deleter_process import PACKET
from trainingjob_operator.volume.sweep.trash import Tally, Trash

_MODULE: Final = "trainingjob_operator.volume.sweep.deleter_process"
_GRACE_S: Final = 1.0


@dataclass(slots=True)
class Deletion:
    """What is to be deleted, and what became of that.

    Attributes:
        name: in the trash.
        origin: its own name.
        bytes: that it frees.
        tally: what was removed.
        error: of something that cannot be removed; what is left stays condemned.
        done: False, and no error: it was not finished, and the next sweep goes on.
    """

    name: str
    origin: str
    bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    error: OSError | None = None
    done: bool = False


class Emptier:
    """One process."""

    def __init__(self, trash: Trash) -> None:
        """Start it.

        Raises:
            OSError: the system lets none be started.
        """
        self.waiting: Final[deque[Deletion]] = deque()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -P: no module comes from the working directory, which may be anybody's.
        command = [sys.executable, "-P", "-m", _MODULE]
        arguments = [str(trash.fd), str(trash.device), trash.prefix]
        try:
            self.process: Final = subprocess.Popen(  # noqa: S603 - our own module
                [*command, *arguments],
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=(trash.fd,),
                process_group=0,  # Ctrl-C is for the parent, which hangs up
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            other.close()

    def fileno(self) -> int:
        """For `poll`: readable when there is an answer, or when it has died."""
        return self._socket.fileno()

    def ask(self, deletion: Deletion) -> None:
        """Have something deleted that is condemned.

        Raises:
            OSError: the process has died.
        """
        self._socket.send(json.dumps([deletion.name, deletion.origin]).encode())
        self.waiting.append(deletion)

    def answer(self) -> Deletion:
        """The next one, which has to be there.

        Raises:
            OSError: the process has died.
        """
        packet = self._socket.recv(PACKET)
        if not packet:
            raise ConnectionResetError
        deletion = self.waiting.popleft()
        files, directories, fault, deletion.done = json.loads(packet)
        deletion.tally = Tally(files, directories)
        deletion.error = OSError(*fault, deletion.name) if fault else None
        return deletion

    def is_ready(self, wait_ms: int) -> bool:
        """Whether `answer` need not wait, after so long at most."""
        watch = select.poll()
        watch.register(self, select.POLLIN)
        return bool(watch.poll(wait_ms))

    def hang_up(self) -> None:
        """Have it stop in mid-work; an answer may still come."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def end(self, *, held: bool = False) -> None:
        """End it.

        Args:
            held: the volume holds it: it is left behind, and ends when the volume lets it.
        """
        self._socket.close()
        if not held:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE_S)
                return
        self.process.kill()
        # Somebody has to wait for it. Without a thread, the next process that is started does.
        with suppress(RuntimeError):
            threading.Thread(target=self.process.wait, name="volume-held", daemon=True).start()
