"""The console with its own certificate, over real TLS."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from yarl import URL

from tests.support.apiserver.api import Api
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.processes.processes import eventually
from trainingjob_console.errors import SettingsError
from trainingjob_console.server import Console
from trainingjob_console.settings import Settings
from trainingjob_web.tls import HANDSHAKES


class Authority:
    """A CA, and certificate files as in a mounted Secret of cert-manager."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.files: dict[str, Any] = {
            "tls_cert": folder / "tls.crt",
            "tls_key": folder / "tls.key",
        }

    def certify(self, name: str) -> None:
        """Replace the files, as the kubelet does: by renaming."""
        made = self._authority.issue_cert("127.0.0.1", common_name=name)
        contents = (made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes())
        for file, content in zip(self.files.values(), contents, strict=True):
            fresh = file.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.rename(file)

    @property
    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    async def shown(self, console: ConsoleUnderTest) -> str:
        """Return the name in the certificate that a new connection gets."""
        where = URL(console.url)
        _, writer = await asyncio.open_connection(where.host, where.port, ssl=self.trust)
        subject = dict(each[0] for each in writer.get_extra_info("peercert")["subject"])
        writer.close()
        return str(subject["commonName"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    found = Authority(tmp_path)
    found.certify("first")
    return found


async def test_the_page_and_its_socket_are_served_over_tls_only(
    api: Api, authority: Authority
) -> None:
    async with running_console(
        api.server, namespaces=[api.namespace], **authority.files
    ) as console:
        assert console.url.startswith("https://127.0.0.1:")
        page = await console.get("/", ssl=authority.trust)
        assert (page.status, "<!doctype html>" in page.text.lower()) == (200, True)
        async with console.session.ws_connect(
            f"{console.url}/ws", ssl=authority.trust, origin=console.url
        ) as opened:
            assert not opened.closed
        with pytest.raises(aiohttp.ClientError):
            await console.session.get(console.url.replace("https", "http"))


@pytest.mark.sandbox_only  # which knows every token
async def test_a_log_in_over_tls_works_under_any_host_name_and_its_cookie_is_secure(
    api: Api, authority: Authority
) -> None:
    async def log_in(console: ConsoleUnderTest, scheme: str) -> tuple[int, str]:
        names = {"Host": "jobs.example", "Origin": f"{scheme}://jobs.example"}
        answer = await console.post(
            "/api/login", {"token": "anybodys"}, headers=names, ssl=authority.trust
        )
        return answer.status, answer.headers.get("Set-Cookie", "")

    async with running_console(api.server, auth="token") as console:
        assert await log_in(console, "http") == (403, "")
    async with running_console(api.server, auth="token", **authority.files) as console:
        status, cookie = await log_in(console, "https")
        assert status == 204
        assert cookie.startswith("__Host-")
        assert "; Secure" in cookie


async def test_a_rotated_certificate_is_used_without_a_restart(
    api: Api, authority: Authority
) -> None:
    async with running_console(api.server, **authority.files) as console:
        assert await authority.shown(console) == "first"
        authority.certify("second")
        assert await authority.shown(console) == "second"
        authority.files["tls_key"].write_text("no key")
        assert await authority.shown(console) == "second"


async def test_connections_without_a_tls_handshake_are_limited_and_block_no_client(
    api: Api, authority: Authority
) -> None:
    loop = asyncio.get_running_loop()
    async with running_console(api.server, **authority.files) as console:
        where = URL(console.url)
        silent = [socket.socket() for _ in range(3 * HANDSHAKES)]
        for each in silent:
            each.setblocking(False)
            await loop.sock_connect(each, (where.host, where.port))
        gone = 0
        for each in silent[: 2 * HANDSHAKES]:
            gone += await asyncio.wait_for(loop.sock_recv(each, 1), 60) == b""
        assert gone == 2 * HANDSHAKES
        assert (await console.get("/healthz", ssl=authority.trust)).status == 200
        metrics = console.console.components.metrics.render().decode()
        assert f"trainingjob_console_handshakes_limit {HANDSHAKES:.1f}" in metrics
        for each in silent:
            each.close()
        await eventually(
            lambda: "handshakes 0.0" in console.console.components.metrics.render().decode()
        )


async def test_invalid_certificate_files_are_named_in_the_error(
    api: Api, authority: Authority
) -> None:
    authority.files["tls_key"].write_text("no key")
    given = {"kubeconfig": api.server.kubeconfig, "auth": "none", **authority.files}
    with pytest.raises(SettingsError, match=r"TLS_CERT: cannot use .*tls\.crt"):
        Console(Settings.model_validate(given))
    alone = {"TRAININGJOB_CONSOLE_TLS_CERT": str(authority.files["tls_cert"])}
    with pytest.raises(SettingsError, match="TLS_CERT and TRAININGJOB_CONSOLE_TLS_KEY must"):
        Settings.from_environment(alone)
