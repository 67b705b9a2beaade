"""The record service on a real PostgreSQL that is restarted and killed while jobs finish."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hack.cluster.node.bridge import ADDRESS
from tests.support.real.installed_chart import (
    CONSOLE,
    SYSTEM,
    TEAM,
    InstalledChart,
    Object,
    shell_job,
)
from tests.support.real.port_forward import port_forward
from tests.support.records.postgres import PASSWORD, Postgres, skip_without_postgres

pytestmark = pytest.mark.e2e

SECRET = "postgres"
RECORDS = "app.kubernetes.io/component=record-service"
LABEL = "test=postgresql"
NAME = "stored-"
AT_ONCE = 4
WAITING = 12


class Load:
    """Short jobs, `AT_ONCE` at a time, for as long as something is waited for.

    Each second one is deleted from the cluster as soon as its record is acknowledged. While records of
    `WAITING` jobs are not, one runs at a time: a job says that its record waits for the endpoint if the
    endpoint was down when it ended, and those that run when the database goes may all end before.
    """

    def __init__(self, installed: InstalledChart) -> None:
        self._installed = installed
        self.names: list[str] = []

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Keep running jobs until a condition is true."""

        def go_on() -> bool:
            self._fill_up()
            return holds()

        self._installed.wait(go_on, what)

    def acknowledged(self) -> set[str]:
        """Return the jobs that are stored by their status, or that are gone."""
        found = self._found()
        return {
            name
            for name in self.names
            if name not in found or found[name]["status"].get("recordState") == "Stored"
        }

    def one_waits(self) -> bool:
        """Return True if a record was sent and could not be stored."""
        conditions = [
            each for job in self._found().values() for each in job["status"].get("conditions", [])
        ]
        return any(
            (each["type"], each["reason"]) == ("Persisted", "Unavailable") for each in conditions
        )

    def gone(self) -> set[str]:
        """Return the jobs that are no longer in the cluster."""
        return set(self.names) - set(self._found())

    def _fill_up(self) -> None:
        at_work = [job for job in self._found().values() if "completionTime" not in job["status"]]
        owed = len(self.names) - len(self.acknowledged())
        at_once = min(AT_ONCE, max(WAITING - owed, 1))
        jobs = [self._job() for _ in range(at_once - len(at_work))]
        if jobs:
            self._installed.submit(*jobs)

    def _job(self) -> Object:
        number = len(self.names)
        spec: Object = {"ttlSecondsAfterFinished": 0} if number % 2 else {}
        job = shell_job(f"{NAME}{number}", "echo stored", **spec)
        key, _, value = LABEL.partition("=")
        job["metadata"]["labels"] = {key: value}
        self.names.append(job["metadata"]["name"])
        return job

    def _found(self) -> dict[str, Object]:
        jobs = self._installed.get("trainingjobs", "-n", TEAM, "-l", LABEL)["items"]
        return {job["metadata"]["name"]: {"status": {}, **job} for job in jobs}


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server that pods reach at the address of their node, like one outside of the cluster."""
    skip_without_postgres()
    with Postgres(interface=ADDRESS) as running:
        yield running


@pytest.fixture
def database(installed: InstalledChart, server: Postgres) -> Iterator[str]:
    """The name of a database that the release has by the chart's value, until SQLite has it again."""
    url = server.new_database()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": SYSTEM},
        "stringData": {"url": url},
    }
    installed.apply(secret)
    values = {"recordService": {"databaseUrlSecret": {"name": SECRET}}}
    installed.install(values, command="upgrade")
    yield url.rpartition("/")[2]
    installed.install(command="upgrade")


def test_no_acknowledged_record_is_lost_by_a_restart_and_a_crash(
    installed: InstalledChart,
    server: Postgres,
    database: str,
    tmp_path: Path,
    say: Callable[[str], None],
) -> None:
    load = Load(installed)

    def stored() -> list[str]:
        # Only of this load: a record of another test's job may have been pending until now.
        which = f"namespace = '{TEAM}' AND name LIKE '{NAME}%'"
        sql = f"SELECT name FROM records WHERE {which} ORDER BY name"
        return server.ask(sql, database=database).split()

    load.until(lambda: len(load.acknowledged()) >= 5, "the first records")
    server.stop()
    server.start()
    before = load.acknowledged()
    load.until(lambda: len(load.acknowledged()) >= len(before) + 5, "records after a restart")
    server.kill()
    before = load.acknowledged()
    load.until(load.one_waits, "a record to wait while there is no database")
    server.start()
    assert before <= set(stored())
    installed.wait(
        lambda: load.acknowledged() == set(load.names), "all records, and no job at work"
    )
    assert stored() == sorted(load.names)
    say(
        f"{len(load.names)} records in PostgreSQL, {len(before)} acknowledged before it was killed"
    )

    # Jobs that are no longer in the cluster are the console's history.
    token = installed.viewer("reads-history")
    kubeconfig = installed.node.plane.kubeconfig
    with port_forward(kubeconfig, SYSTEM, CONSOLE, 8070, tmp_path / "forward.log") as page:
        user = page.log_in(token)

        def shows_the_past() -> bool:
            status, found, _ = page.ask(f"/api/jobs?label={LABEL}&limit=200", headers=user)
            assert status == 200
            past = {row["name"] for row in found["items"] if row["source"] == "history"}
            return load.gone() == set(load.names[1::2]) <= past

        installed.wait(shows_the_past, "the jobs that are gone to be in the history")

    said = said_by_the_release(installed)
    assert SECRET in said
    assert PASSWORD not in said
    [pod] = installed.get("pods", "-n", SYSTEM, "-l", RECORDS)["items"]
    assert [each["restartCount"] for each in pod["status"]["containerStatuses"]] == [0]


def said_by_the_release(installed: InstalledChart) -> str:
    """Return the logs of all pods of the release, and its objects and Events."""
    where = ("-n", SYSTEM)
    release = "app.kubernetes.io/part-of=trainingjob-operator"
    options = ("--all-containers", "--prefix", "--tail=-1", "--max-log-requests=20")
    objects = installed.kubectl("get", "deployments,pods,events", *where, "-o", "json")
    return installed.kubectl("logs", *where, "-l", release, *options) + objects
