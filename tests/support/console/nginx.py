"""nginx before a console, as an Ingress has it."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from hack.ports import free_port

_CONFIG = """\
daemon off;
master_process on;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 128; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{
    default upgrade;
    '' '';
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {url};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Authorization "Bearer {token}";
      proxy_read_timeout {idle_s}s;
      proxy_send_timeout {idle_s}s;
    }}
  }}
}}
"""
_PATIENCE_S = 20.0


def find_nginx() -> str | None:
    """nginx, on PATH or where Debian puts it."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


class Nginx:
    """A proxy that shows a token of its own for each user, and ends what is idle.

    Attributes:
        port: of 127.0.0.1.
    """

    def __init__(self, folder: Path, url: str, *, token: str, idle_s: int) -> None:
        self.port = free_port()
        self._folder = folder
        self._config = folder / "nginx.conf"
        self._config.write_text(
            _CONFIG.format(folder=folder, port=self.port, url=url, token=token, idle_s=idle_s)
        )

    def __enter__(self) -> Self:
        program = find_nginx()
        assert program is not None
        self._process = subprocess.Popen(
            [program, "-c", str(self._config), "-e", str(self._folder / "error.log")],
            stdin=subprocess.DEVNULL,
        )
        self._wait_for(self._is_open, "nginx to listen")
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
        """Let new processes take over; the old ones stay with what is open."""
        before = self.log().count("start worker process ")
        self._process.send_signal(signal.SIGHUP)
        self._wait_for(
            lambda: (
                self.log().count("start worker process ") > before
                and "gracefully shutting down" in self.log()
            ),
            "nginx to reload",
        )

    def log(self) -> str:
        path = self._folder / "error.log"
        return path.read_text() if path.exists() else ""

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _wait_for(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, f"waited for {what}\n{self.log()}"
            time.sleep(0.02)
