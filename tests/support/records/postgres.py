"""A PostgreSQL server for the tests, on loopback, and for pods on the address of their node."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from ipaddress import IPv4Interface
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import pytest

from hack.cluster.process import tether
from hack.ports import free_port
from tests.support.processes.processes import SHARED, children

PASSWORD = "s3cret-of-the-database"
_REQUIRED = "TRAININGJOB_TEST_REQUIRE_POSTGRES"
_USER = "records"
_ENVIRONMENT = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C"}
_PATIENCE_S = 60.0
_LOOK_S = 0.02


def find_binaries() -> Path | None:
    """Return the directory with `initdb` and `pg_ctl`, on PATH or in Debian's location."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in candidates if (path / "pg_ctl").exists()), None)


def reason_unavailable() -> str | None:
    """Return the reason why no server can run here; None: it can."""
    if find_binaries() is None:
        return "PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql/*/bin"
    if os.geteuid() == 0 and not _has_postgres_user():
        return "PostgreSQL does not run as root, and there is no user `postgres`"
    return None


def skip_without_postgres() -> None:
    """Skip the calling test where no server can run; fail it where one is required."""
    if reason := reason_unavailable():
        if os.environ.get(_REQUIRED):
            pytest.fail(f"{_REQUIRED} is set, and {reason}")
        pytest.skip(reason)


def _has_postgres_user() -> bool:
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return True


class Postgres:
    """One server; each test uses its own database. The server stops when the tests end, in any way."""

    def __init__(self, *options: str, interface: IPv4Interface | None = None) -> None:
        """Prepare one.

        Args:
            options: further settings like `work_mem=8MB`.
            interface: an address of this machine to listen on beside loopback, whose whole network
                may log in; databases are then named by it.
        """
        self._interface = interface
        self._host = str(interface.ip) if interface else "127.0.0.1"
        self._options = ("dynamic_shared_memory_type=mmap", *options)
        binaries = find_binaries()
        assert binaries is not None
        self._binaries = binaries
        # Not below pytest's folder, which nobody but its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="trainingjob-postgres-"))
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self.port: int = free_port()

    def __enter__(self) -> Self:
        self._create()
        self.start()
        return self

    def _create(self) -> None:
        """Create its data directory."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, "postgres", "postgres")
        initdb = (f"--pgdata={self._data}", f"--username={_USER}", f"--pwfile={password}")
        self._run("initdb", *initdb, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync")
        if self._interface is not None:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self._interface.network} scram-sha-256\n")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)

    @property
    def pid(self) -> int:
        """The process id of its main process."""
        return self._server.pid

    def start(self) -> None:
        """Start the server; return when it accepts connections."""
        where = ("-D", str(self._data), "-k", str(self.folder), "-p", str(self.port))
        addresses = ",".join(dict.fromkeys(("127.0.0.1", self._host)))
        options = [*where, "-c", f"listen_addresses={addresses}"]
        for option in self._options:
            options += ["-c", option]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                # As `stop` does it: SIGKILL would leave its shared memory.
                [*tether("QUIT"), self._binaries / "postgres", *options],
                cwd=self.folder,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=_owner(),
                start_new_session=True,
            )
        SHARED.add(self.pid)
        deadline = time.monotonic() + _PATIENCE_S
        while not self._is_ready():
            assert self._server.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """Stop it without a checkpoint, so that it must recover its commits from its write-ahead log."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(_PATIENCE_S)
        SHARED.discard(self.pid)

    def kill(self) -> None:
        """Send SIGKILL to all of its processes: nothing more is written, and no connection is closed."""
        memory = (self._data / "postmaster.pid").read_text().splitlines()[6].split()[1]
        processes = self._processes()
        for pid in (self.pid, *processes):  # the first one first: it would start the others again
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait(_PATIENCE_S)
        SHARED.discard(self.pid)
        subprocess.run(["ipcrm", "-m", memory], check=True)

    def freeze(self) -> None:
        """Make it silent, as behind a broken network: connections stay open without a response."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        return [*children(self.pid), self.pid]

    def _is_ready(self) -> bool:
        """True once the last line of its file says that it is ready."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)] and "".join(lines[7:]).strip() == "ready"

    def new_database(self) -> str:
        """An empty database, as a DSN."""
        name = f"db_{uuid4().hex[:12]}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, name)
        return f"postgresql://{_USER}:{PASSWORD}@{self._host}:{self.port}/{name}"

    def ask(self, sql: str, *, database: str = "postgres") -> str:
        """Return the result of a statement in the database of this name."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, "-d", database)
        return self._run("psql", *where, "-Atc", sql).strip()

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server."""
        self.ask(f"ALTER SYSTEM SET {name} = '{value}'")
        self.ask("SELECT pg_reload_conf()")

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            check=False,
            cwd=self.folder,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=_owner(),
        )
        assert done.returncode == 0, f"{program}: {done.stdout}"
        return done.stdout


class Standby(Postgres):
    """A standby that replicates a running server until it is promoted."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__()
        self._primary = primary

    def _create(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        of = ("-h", "127.0.0.1", "-p", str(self._primary.port), "-U", _USER)
        how = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        self._run("pg_basebackup", *of, f"--pgdata={self._data}", *how)

    def promote(self) -> None:
        """Promote it: it accepts writes from then on."""
        self._run("pg_ctl", "promote", f"--pgdata={self._data}", "--wait")


def _owner() -> str | None:
    """Return the user that runs its programs, which refuse root; None: the current user."""
    return "postgres" if os.geteuid() == 0 else None
