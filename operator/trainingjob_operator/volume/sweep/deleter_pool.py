"""Deleting beside the sweep, in other processes.

To delete takes several times as long as to judge, and Python lets only one thread of a process at
its files: two threads hand its lock to and fro at each of them, and are hardly faster than one. So
the sweep judges, and processes with locks of their own delete what it has condemned; idle in their
I/O, nice to the operator, and left behind if the volume hangs. To start one takes as long as to
remove a few thousand files: a sweep that removes fewer deletes them itself.

Bound: `limit` processes, each with `_AHEAD` entries that it has not answered for. They end with the
sweep, or with the process that started them, however that ends.
"""

import json
import select
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from trainingjob_operator.volume.sweep.deleter_process import PACKET
from trainingjob_operator.volume.sweep.trash import RemovalCounts, Trash

WORTH_STARTING: Final = 4096
"""Files that a sweep removes by itself before it starts a process."""

WORTH_ASKING: Final = 64
"""Files of a tree that is worth a question to a process."""

_MODULE: Final = "trainingjob_operator.volume.sweep.deleter_process"
_GRACE_S: Final = 1.0
_AHEAD: Final = 32
_TICK_MS: Final = 50
_GRACE_MS: Final = 1000


@dataclass(slots=True)
class Deletion:
    """An entry of the trash that is to be deleted, and the result.

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
    tally: RemovalCounts = field(default_factory=RemovalCounts)
    error: OSError | None = None
    done: bool = False


class Deleter:
    """One process that deletes what is in the trash, seen from the sweep."""

    def __init__(self, trash: Trash) -> None:
        """Start it.

        Raises:
            OSError: the system lets none be started.
        """
        self.waiting: Final[deque[Deletion]] = deque()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -P: no module comes from the working directory, which any user may own.
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
        """Return the descriptor for `poll`: readable on an answer, or when the process has died."""
        return self._socket.fileno()

    def ask(self, deletion: Deletion) -> None:
        """Have something deleted that is condemned.

        Raises:
            OSError: the process has died.
        """
        self._socket.send(json.dumps([deletion.name, deletion.origin]).encode())
        self.waiting.append(deletion)

    def answer(self) -> Deletion:
        """Return the next deletion that is done; its answer has to be there.

        Raises:
            OSError: the process has died.
        """
        packet = self._socket.recv(PACKET)
        if not packet:
            raise ConnectionResetError
        deletion = self.waiting.popleft()
        files, directories, fault, deletion.done = json.loads(packet)
        deletion.tally = RemovalCounts(files, directories)
        deletion.error = OSError(*fault, deletion.name) if fault else None
        return deletion

    def is_ready(self, wait_ms: int) -> bool:
        """True if `answer` need not wait, after so long at most."""
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
        # It has to be waited for. Without a thread, the next start of a process does that.
        with suppress(RuntimeError):
            threading.Thread(target=self.process.wait, name="volume-held", daemon=True).start()


class DeleterPool:
    """The processes of one sweep. For one thread."""

    def __init__(
        self,
        trash: Trash,
        *,
        limit: int,
        tick: Callable[[], None],
        settle: Callable[[Deletion], None],
    ) -> None:
        """Start none yet.

        Args:
            trash: what they empty.
            limit: processes at most.
            tick: called now and then; what it raises ends the work.
            settle: called once with each deletion and its result. What is not done then is still
                in the trash, where the next sweep finds it.
        """
        self._trash: Final = trash
        self._limit = limit if sys.executable else 0
        self._tick: Final = tick
        self._settle: Final = settle
        self._running: Final[list[Deleter]] = []
        self._files = 0

    @property
    def running(self) -> int:
        """Processes that there are."""
        return len(self._running)

    # --- for the sweep ------------------------------------------------------------------------

    def delete(self, deletion: Deletion, *, files: int) -> None:
        """Delete something: at once, or soon and in a process.

        Args:
            deletion: what.
            files: about how many there are in it.

        Raises:
            Exception: what `tick` raises; the deletion is settled all the same.
        """
        self._files += files
        deleter: Deleter | None = None
        if files >= WORTH_ASKING and self._files >= WORTH_STARTING:
            try:
                deleter = self._next()
            except BaseException:
                self._settle(deletion)
                raise
        if deleter is None or not self._ask(deleter, deletion):
            self._delete_here(deletion)

    def finish(self) -> None:
        """Wait until everything is settled.

        Raises:
            Exception: what `tick` raises.
        """
        while any(each.waiting for each in self._running):
            self._collect(_TICK_MS)

    def close(self) -> None:
        """End the processes in mid-work. All that the volume holds are given one second."""
        running, grace_ms = self._running.copy(), _GRACE_MS
        self._running.clear()
        for deleter in running:
            deleter.hang_up()
        with ExitStack() as settling:  # each of them, whatever another one raises
            for deleter in running:
                is_held = not self._collect_last(deleter, grace_ms, settling)
                grace_ms = 0 if is_held else grace_ms
                deleter.end(held=is_held)
                for deletion in deleter.waiting:
                    settling.callback(self._settle, deletion)

    # --- one deletion -------------------------------------------------------------------------

    def _delete_here(self, deletion: Deletion) -> None:
        try:
            self._trash.delete(deletion.name, deletion.origin, deletion.tally)
            deletion.done = True
        except OSError as error:
            deletion.error = error
        finally:
            self._settle(deletion)

    def _ask(self, deleter: Deleter, deletion: Deletion) -> bool:
        """Hand it over; False: it has to be done here, where the error shows as well."""
        try:
            deletion.name = self._trash.condemn(deletion.name, deletion.origin)
            deleter.ask(deletion)
        except OSError:
            return False
        return True

    # --- the processes ------------------------------------------------------------------------

    def _next(self) -> Deleter | None:
        """Return one that may be asked; None: there is none, and none can be started."""
        self._collect(0)
        while True:
            for deleter in self._running:
                if not deleter.waiting:
                    return deleter
            if len(self._running) < self._limit:
                try:
                    self._running.append(Deleter(self._trash))
                except OSError:
                    self._limit = len(self._running)
                continue
            for deleter in self._running:
                if len(deleter.waiting) < _AHEAD:
                    return deleter
            if not self._running:
                return None
            self._collect(_TICK_MS)

    def _collect(self, wait_ms: int) -> None:
        """Collect the answers that are there, and wait so long for the first of them."""
        watch = select.poll()
        for deleter in self._running:
            watch.register(deleter, select.POLLIN)
        ready = {fd for fd, _ in watch.poll(wait_ms)} if self._running else set()
        for deleter in [each for each in self._running if each.fileno() in ready]:
            try:
                deletion = deleter.answer()
            except OSError:
                self._take_over(deleter)
            else:
                self._settle(deletion)
        self._tick()

    def _take_over(self, deleter: Deleter) -> None:
        """Delete here what one that has died was asked for, and start no other.

        What it had removed of the first is not counted.
        """
        self._running.remove(deleter)
        self._limit = len(self._running)
        deleter.end()
        left = list(deleter.waiting)
        try:
            while left:
                self._delete_here(left.pop(0))
        finally:
            for deletion in left:
                self._settle(deletion)

    def _collect_last(self, deleter: Deleter, grace_ms: int, settling: ExitStack) -> bool:
        """Collect what one still answers after the hang-up; False: it does not come to an end."""
        try:
            while deleter.is_ready(grace_ms):
                settling.callback(self._settle, deleter.answer())
        except OSError:
            return True
        return False
