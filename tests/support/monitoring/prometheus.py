"""Runs the `prometheus` and `promtool` programs of this machine."""

import contextlib
import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest

from hack.ports import free_port
from tests.support.processes.child import ChildProcess

REQUIRE_PROMETHEUS: Final = "TRAININGJOB_TEST_REQUIRE_PROMETHEUS"
_PATIENCE_S: Final = 180.0


def find_program(name: str) -> Path:
    """Return the path of `prometheus` or `promtool`; the test is skipped, or fails, without it."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    reason = f"no {name} on PATH (`apt-get install prometheus`)"
    if os.environ.get(REQUIRE_PROMETHEUS):
        pytest.fail(f"{REQUIRE_PROMETHEUS} is set, and there is {reason}")
    pytest.skip(reason)


class Prometheus(ChildProcess):
    """A server on loopback that scrapes operators every second."""

    def __init__(self, folder: Path, targets: list[str], **scrape: Any) -> None:
        """Prepare the server.

        Args:
            folder: for its data; recreated.
            targets: `host:port` of what it scrapes.
            scrape: further fields of the scrape's configuration.
        """
        super().__init__(folder / "prometheus.log")
        folder.mkdir()
        self._folder = folder
        self._address = f"127.0.0.1:{free_port()}"
        self._program = find_program("prometheus")
        job = {"job_name": "operator", "static_configs": [{"targets": targets}], **scrape}
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}}
        (folder / "prometheus.json").write_text(json.dumps({**config, "scrape_configs": [job]}))

    def start(self) -> None:
        """Start it; it is ready when the first query is answered."""
        self.spawn(
            [
                str(self._program),
                f"--config.file={self._folder / 'prometheus.json'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
            ]
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now.

        Raises:
            AssertionError: Prometheus does not understand it.
            urllib.error.URLError: it is not up yet, or is still reading its data.
        """
        asked = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                f"http://{self._address}/api/v1/query?{asked}", timeout=10
            ) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                raise AssertionError(f"{expression}: {error.read().decode()}") from error
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression as soon as there are any."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            assert self.is_running, self.log()
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if found := self.query(expression):
                    return found
            assert time.monotonic() < deadline, f"{expression} never came\n{self.log()}"
            time.sleep(0.2)
