"""A PostgreSQL server of the tests' own, on loopback, and for pods on the address of their node."""

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


def skip_where_there_is_none() -> None:
    """Skip the test that asks where there can be no server; fail it where one is required."""
    if reason := why_not():
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
    """One server; each test takes a database of its own. It ends with the tests, however they end."""

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
        """Make its data directory."""
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
        """The number of its first process, which was started."""
        return self._server.pid

    def start(self) -> None:
        """Start the server; returns when it takes connections."""
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
        """Stop it as a crash would, so that what it promised must come from its log."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(_PATIENCE_S)
        SHARED.discard(self.pid)

    def kill(self) -> None:
        """SIGKILL to all of its processes: nothing is written any more, and nobody says good-bye."""
        memory = (self._data / "postmaster.pid").read_text().splitlines()[6].split()[1]
        processes = self._processes()
        for pid in (self.pid, *processes):  # the first one first: it would start the others again
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait(_PATIENCE_S)
        SHARED.discard(self.pid)
        subprocess.run(["ipcrm", "-m", memory], check=True)

    def freeze(self) -> None:
        """Make it as silent as one behind a broken network: connections stay, nobody answers."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def _processes(self) -> list[int]:
        return [*children(self.pid), self.pid]

    def _is_ready(self) -> bool:
        """True once the last line of its file says so."""
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
        """What a statement answers, in the database of this name."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, "-d", database)
        return self._run("psql", *where, "-Atc", sql).strip()

    def set(self, name: str, value: str) -> None:
        """Change a setting of the server that runs."""
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
    """A copy of a server that runs, which follows it until it is promoted."""

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
        """Let it take writes."""
        self._run("pg_ctl", "promote", f"--pgdata={self._data}", "--wait")


def _owner() -> str | None:
    """Who runs its programs, which refuse to be run by root; None: who runs the tests."""
    return "postgres" if os.geteuid() == 0 else None
