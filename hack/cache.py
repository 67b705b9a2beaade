"""Caches expensive build results outside the clone, once for each machine.

An entry's name identifies its inputs, so a second clone or the next CI run finds it.
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
    """Return the cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "trainingjob-operator"


def find_made(name: str) -> Path | None:
    """Return the entry `name` of the cache; None if it does not exist."""
    folder = cache() / name
    if not folder.is_dir():
        return None
    os.utime(folder)  # marks it as used
    return folder


def made_once(name: str, make: Callable[[Path], None], say: Say) -> Path:
    """Return the entry `name` of the cache; if it does not exist, `make` creates it.

    Two processes never build entries of one kind (the first word of the name) at once: the second
    waits for the first. An entry appears complete or not at all. Entries of the same kind that were
    not used for a month are deleted.
    """
    if (there := find_made(name)) is not None:
        return there
    target = cache() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = name.partition("-")[0]
    with _alone(target.parent / f"{kind}.lock", say):
        if (there := find_made(name)) is not None:  # another process built it while we waited
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
    """Delete entries of this kind that were not used for a month."""
    now = time.time()
    for other in folder.glob(f"{kind}-*"):
        if now - other.stat().st_mtime > _UNUSED_S:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def heartbeat(say: Say) -> Iterator[None]:
    """Print progress regularly, because minutes of silence look like a hang."""
    begun = time.monotonic()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_S):
            say(f"still running after {time.monotonic() - begun:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _alone(lock: Path, say: Say) -> Iterator[None]:
    """Hold a lock that the kernel releases when this process ends in any way."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building it: waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
