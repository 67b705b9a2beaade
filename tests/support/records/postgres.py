"""A PostgreSQL server of the tests' own, on loopback."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from tests.support.processes.processes import children

PASSWORD = "s3cret-of-the-database"
_USER = "records"


def find_binaries() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, on PATH or where Debian puts it."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in candidates if (path / "pg_ctl").exists()), None)


def why_not() -> str | None:
    """Why there can be no server here; None: there can."""
    if find_binaries() is None:
        return "PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql/*/bin"
    if os.geteuid() == 0 and not _has_postgres_user():
        return "PostgreSQL does not run as root, and there is no user `postgres`"
    return None


def _has_postgres_user() -> bool:
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return True


class Postgres:
    """One server; each test takes a database of its own."""

    def __init__(self) -> None:
        binaries = find_binaries()
        assert binaries is not None
        self._binaries = binaries
        # Not below pytest's folder, which nobody but its owner may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="trainingjob-postgres-"))
        self._data = self._folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]

    def __enter__(self) -> Self:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self._folder, password):
                shutil.chown(path, "postgres", "postgres")
        initdb = (f"--pgdata={self._data}", f"--username={_USER}", f"--pwfile={password}")
        self._run("initdb", *initdb, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start the server; returns when it takes connections."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        log = self._folder / "log"
        self._run("pg_ctl", "start", "-w", f"--pgdata={self._data}", f"--log={log}", "-o", options)

    def stop(self) -> None:
        """Stop it as a crash would, so that what it promised must come from its log."""
        self._run("pg_ctl", "stop", "-w", f"--pgdata={self._data}", "--mode=immediate")

    def freeze(self) -> None:
        """Make it as silent as one behind a broken network: connections stay, nobody answers."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        first = int((self._data / "postmaster.pid").read_text().split()[0])
        return [*children(first), first]

    def new_database(self) -> str:
        """An empty database, as a DSN."""
        name = f"db_{uuid4().hex[:12]}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", _USER, name)
        return f"postgresql://{_USER}:{PASSWORD}@127.0.0.1:{self._port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            check=False,
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            # A server keeps what it inherits; a pipe would be waited for as long as it lives.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user="postgres" if os.geteuid() == 0 else None,
        )
        log = self._folder / "log"
        assert done.returncode == 0, f"{program}: {log.read_text() if log.exists() else ''}"
