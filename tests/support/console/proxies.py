"""nginx and HAProxy before a console, with the configurations of docs/console.md."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import pytest

from hack.ports import free_port
from tests.support.console.documented_proxy import CONSOLE, documented_config

_PATIENCE_S = 60.0

_NGINX = """\
daemon off;
master_process on;
worker_processes 1;
worker_shutdown_timeout {leave_s}s;
pid {folder}/pid;
error_log {folder}/log info;
events {{ worker_connections 128; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{server}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings of a proxy beside those of the document.

    Attributes:
        folder: for its files.
        console: the console's `host:port`.
        certificate: a file with the certificate that it shows, and with the key.
        idle_s: seconds after which it ends what is idle: a minute, in the document.
        leave_s: seconds for which its old process goes on after a reload.
        token: of its own for each user; empty: the user logs in.
    """

    folder: Path
    console: str
    certificate: Path
    idle_s: int = 1
    leave_s: int = 60
    token: str = ""


class Proxy(ABC):
    """A proxy that speaks TLS with browsers, and ends what is idle.

    Attributes:
        program: its name.
        package: Debian's.
        required: the variable that makes its absence a failure.
        port: of 127.0.0.1.
    """

    program: ClassVar[str]
    package: ClassVar[str]
    required: ClassVar[str]

    def __init__(self, setting: Setting) -> None:
        self.port = free_port()
        self._log = setting.folder / "log"
        self._config = setting.folder / f"{self.program}.conf"
        self._config.write_text(self._configuration(setting))

    @classmethod
    def find(cls) -> str:
        """Return the program's path; the test is skipped, or fails, without it."""
        # Debian installs servers in sbin, which is only on root's PATH.
        found = shutil.which(cls.program) or shutil.which(cls.program, path="/usr/sbin")
        if found is not None:
            return found
        reason = f"{cls.program} is not installed (apt-get install {cls.package})"
        if os.environ.get(cls.required):
            pytest.fail(f"{cls.required} is set, and {reason}")
        pytest.skip(reason)

    @property
    def url(self) -> str:
        """As a browser takes it, without a trailing slash."""
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.find(), *self._arguments()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait_for(self._is_open, "to listen")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE_S)

    def reload(self) -> None:
        """Reload: a new process takes over, and the old one keeps its open connections."""
        before = len(self.log())
        self._process.send_signal(self._reload_signal)
        self._wait_for(lambda: self._has_reloaded(self.log()[before:]), "to reload")

    def log(self) -> str:
        """Return its log."""
        return self._log.read_text() if self._log.exists() else ""

    _reload_signal: ClassVar[signal.Signals]

    @abstractmethod
    def _configuration(self, setting: Setting) -> str: ...

    @abstractmethod
    def _arguments(self) -> list[str]: ...

    @abstractmethod
    def _has_reloaded(self, said: str) -> bool: ...

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _wait_for(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"waited for {self.program} {what}\n{self.log()}"
            time.sleep(0.02)


class Nginx(Proxy):
    """nginx, as in an ingress controller."""

    program = "nginx"
    package = "nginx-light"
    required = "TRAININGJOB_TEST_REQUIRE_NGINX"
    _reload_signal = signal.SIGHUP

    def _configuration(self, setting: Setting) -> str:
        # A minute is nginx's default, so that the document does not set it.
        times = f"proxy_read_timeout {setting.idle_s}s; proxy_send_timeout {setting.idle_s}s;"
        shown = f'proxy_set_header Authorization "Bearer {setting.token}";'
        files = (
            f"ssl_certificate {setting.certificate}; ssl_certificate_key {setting.certificate};"
        )
        server = documented_config(
            "For nginx:",
            {
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl; {files}",
                "location / {": f"location / {{ {times} {shown if setting.token else ''}",
                CONSOLE: setting.console,
            },
        )
        return _NGINX.format(folder=setting.folder, leave_s=setting.leave_s, server=server)

    def _arguments(self) -> list[str]:
        return ["-c", str(self._config), "-e", str(self._log)]

    def _has_reloaded(self, said: str) -> bool:
        return "start worker process " in said and "gracefully shutting down" in said


class HaProxy(Proxy):
    """HAProxy, whose first process goes on for ever and starts the ones that work."""

    program = "haproxy"
    package = "haproxy"
    required = "TRAININGJOB_TEST_REQUIRE_HAPROXY"
    _reload_signal = signal.SIGUSR2

    def _configuration(self, setting: Setting) -> str:
        assert not setting.token, "here a user logs in"
        return documented_config(
            "For HAProxy:",
            {
                "global\n": f"global\n  hard-stop-after {setting.leave_s}s\n",
                "bind :443 ssl crt /etc/haproxy/jobs.pem": (
                    f"bind 127.0.0.1:{self.port} ssl crt {setting.certificate}"
                ),
                "60s": f"{setting.idle_s}s",
                CONSOLE: setting.console,
            },
        )

    def _arguments(self) -> list[str]:
        return ["-W", "-f", str(self._config)]

    def _has_reloaded(self, said: str) -> bool:
        return "Loading success" in said and "Proxy jobs stopped" in said
