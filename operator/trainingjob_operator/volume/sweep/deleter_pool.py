"""Runs a pool of processes that delete condemned entries of the trash in parallel with the sweep.

Deleting takes several times as long as judging. Threads would not help: they contend for the GIL at
each file, and two are hardly faster than one. So the sweep judges, and separate processes delete.
They run with the idle I/O class and a raised nice value, and are abandoned if the volume hangs.
Starting one takes as long as deleting a few thousand files, so a sweep that removes fewer deletes
them itself.

Bound: `limit` processes, each with `_MAX_UNANSWERED` unanswered requests. They end with the sweep, and also
if the process that started them dies.
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

MIN_FILES_FOR_PROCESS: Final = 4096
"""Number of files that a sweep deletes itself before it starts a process."""

MIN_FILES_TO_SEND: Final = 64
"""Minimum number of files of a tree that is sent to a process."""

_MODULE: Final = "trainingjob_operator.volume.sweep.deleter_process"
_GRACE_S: Final = 1.0
_MAX_UNANSWERED: Final = 32
_TICK_MS: Final = 50
_GRACE_MS: Final = 1000


@dataclass(slots=True)
class Deletion:
    """An entry of the trash to delete, and the result.

    Attributes:
        name: its name in the trash.
        origin: its original name.
        bytes: the bytes that it frees.
        tally: the number of removed files and directories.
        error: the error of a file that cannot be removed; the rest stays condemned.
        done: whether the deletion came to its end. If False without an error, the next sweep
            continues it.
    """

    name: str
    origin: str
    bytes: int = 0
    tally: RemovalCounts = field(default_factory=RemovalCounts)
    error: OSError | None = None
    done: bool = False


class Deleter:
    """The sweep's handle of one process that deletes entries of the trash."""

    def __init__(self, trash: Trash) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started.
        """
        self.waiting: Final[deque[Deletion]] = deque()
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -P: import no module from the working directory, which any user may own.
        command = [sys.executable, "-P", "-m", _MODULE]
        arguments = [str(trash.fd), str(trash.device), trash.prefix]
        try:
            self.process: Final = subprocess.Popen(  # noqa: S603 - our own module
                [*command, *arguments],
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=(trash.fd,),
                process_group=0,  # Ctrl-C goes to the parent only, which then hangs up
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            other.close()

    def fileno(self) -> int:
        """Return the descriptor for `poll`: readable on a response, or if the process died."""
        return self._socket.fileno()

    def ask(self, deletion: Deletion) -> None:
        """Send a request to delete a condemned entry.

        Raises:
            OSError: the process has died.
        """
        self._socket.send(json.dumps([deletion.name, deletion.origin]).encode())
        self.waiting.append(deletion)

    def answer(self) -> Deletion:
        """Receive the response to the oldest request; call only when one is readable.

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
        """True if a response is readable; waits up to `wait_ms` for one."""
        watch = select.poll()
        watch.register(self, select.POLLIN)
        return bool(watch.poll(wait_ms))

    def hang_up(self) -> None:
        """Tell the process to stop at once; it may still send a response."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def end(self, *, held: bool = False) -> None:
        """Wait for the process to exit, or kill it.

        Args:
            held: it hangs in a call to the volume: do not wait, it exits when the call returns.
        """
        self._socket.close()
        if not held:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE_S)
                return
        self.process.kill()
        # Reap it, else it stays a zombie. If no thread can be started, the next Popen reaps it.
        with suppress(RuntimeError):
            threading.Thread(target=self.process.wait, name="volume-held", daemon=True).start()


class DeleterPool:
    """The deleter processes of one sweep. Not thread-safe."""

    def __init__(
        self,
        trash: Trash,
        *,
        limit: int,
        tick: Callable[[], None],
        settle: Callable[[Deletion], None],
    ) -> None:
        """Prepare; no process is started yet.

        Args:
            trash: the trash that they empty.
            limit: maximum number of processes.
            tick: called regularly; an exception from it ends the work.
            settle: called once with each deletion and its result. An entry that is not done is
                still in the trash, where the next sweep finds it.
        """
        self._trash: Final = trash
        self._limit = limit if sys.executable else 0
        self._tick: Final = tick
        self._settle: Final = settle
        self._running: Final[list[Deleter]] = []
        self._files = 0

    @property
    def running(self) -> int:
        """Number of running processes."""
        return len(self._running)

    # --- for the sweep ------------------------------------------------------------------------

    def delete(self, deletion: Deletion, *, files: int) -> None:
        """Delete an entry: immediately, or by a request to a process if it is large.

        Args:
            deletion: the entry.
            files: the approximate number of files in it.

        Raises:
            Exception: as raised by `tick`; `settle` is called all the same.
        """
        self._files += files
        deleter: Deleter | None = None
        if files >= MIN_FILES_TO_SEND and self._files >= MIN_FILES_FOR_PROCESS:
            try:
                deleter = self._next()
            except BaseException:
                self._settle(deletion)
                raise
        if deleter is None or not self._ask(deleter, deletion):
            self._delete_here(deletion)

    def finish(self) -> None:
        """Wait for all responses.

        Raises:
            Exception: as raised by `tick`.
        """
        while any(each.waiting for each in self._running):
            self._collect(_TICK_MS)

    def close(self) -> None:
        """Stop the processes, even with work unfinished; hung ones get one second in total."""
        running, grace_ms = self._running.copy(), _GRACE_MS
        self._running.clear()
        for deleter in running:
            deleter.hang_up()
        with ExitStack() as settling:  # settle all of them, even if `settle` raises for one
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
        """Send the request; False: delete it here instead, where the error shows as well."""
        try:
            deletion.name = self._trash.condemn(deletion.name, deletion.origin)
            deleter.ask(deletion)
        except OSError:
            return False
        return True

    # --- the processes ------------------------------------------------------------------------

    def _next(self) -> Deleter | None:
        """Return a process with a free slot; None: there is none, and none can be started."""
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
                if len(deleter.waiting) < _MAX_UNANSWERED:
                    return deleter
            if not self._running:
                return None
            self._collect(_TICK_MS)

    def _collect(self, wait_ms: int) -> None:
        """Collect the readable responses; wait up to `wait_ms` for the first one."""
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
        """Delete here the entries of a process that died, and start no further processes.

        Files that it had removed of its current entry are not counted.
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
        """Collect the responses after the hang-up; False: the process does not stop."""
        try:
            while deleter.is_ready(grace_ms):
                settling.callback(self._settle, deleter.answer())
        except OSError:
            return True
        return False
