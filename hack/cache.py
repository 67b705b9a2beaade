"""What is expensive to make is made once for each machine and kept outside the clone.

Its name says what it was made from: a second clone, or the next run of CI, finds it there.
"""

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

Say = Callable[[str], None]
"""Tells whoever waits what is going on, in a line."""

_HEARTBEAT_S: Final = 20.0
_UNUSED_S: Final = 30 * 24 * 3600.0


def cache() -> Path:
    """The folder for all of it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "trainingjob-operator"


def find_made(name: str) -> Path | None:
    """The folder `name` in the cache if it has been made."""
    folder = cache() / name
    if not folder.is_dir():
        return None
    os.utime(folder)  # says that it is still in use
    return folder


def made_once(name: str, make: Callable[[Path], None], say: Say) -> Path:
    """The folder `name` in the cache; if it is not there, `make` fills it.

    Two processes never make things of one kind (the name's first word) at once: the second waits
    for the first. The folder appears whole or not at all. Others of its kind that nobody has used
    for a month make room for it.
    """
    if (there := find_made(name)) is not None:
        return there
    target = cache() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = name.partition("-")[0]
    with _alone(target.parent / f"{kind}.lock", say):
        if (there := find_made(name)) is not None:  # somebody else has made it while we waited
            return there
        draft = Path(tempfile.mkdtemp(prefix="making-", dir=target.parent))
        try:
            make(draft)
            draft.chmod(0o755)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _forget_unused(target.parent, kind)
    return target


def _forget_unused(folder: Path, kind: str) -> None:
    """A cache has a bound too."""
    now = time.time()
    for other in folder.glob(f"{kind}-*"):
        if now - other.stat().st_mtime > _UNUSED_S:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def heartbeat(say: Say) -> Iterator[None]:
    """Say now and then that it is still going on: minutes of silence look like a hang."""
    begun = time.monotonic()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_S):
            say(f"still at it after {time.monotonic() - begun:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _alone(lock: Path, say: Say) -> Iterator[None]:
    """Hold a lock that the kernel releases however this process ends."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("somebody else is making it: waiting for that")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
