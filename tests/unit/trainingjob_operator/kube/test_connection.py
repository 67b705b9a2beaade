"""Connecting to the API server: the proxy from the environment, and the token file."""

from pathlib import Path

import pytest
import yaml
from kubernetes.aio.config import ConfigException

from trainingjob_api.errors import UnavailableError
from trainingjob_operator.kube.connection import connect

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    path = tmp_path / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://k8s.example.com:6443"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


async def test_without_a_proxy_there_is_none(kubeconfig: str) -> None:
    assert not (await connect(kubeconfig)).configuration.proxy


async def test_the_proxy_of_the_environment_is_used(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    assert (await connect(kubeconfig)).configuration.proxy == "http://proxy.example.com:3128"


async def test_a_server_that_needs_no_proxy_gets_none(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "localhost,.example.com")
    assert not (await connect(kubeconfig)).configuration.proxy


async def test_proxy_variables_are_read_once_and_not_for_each_request(kubeconfig: str) -> None:
    connection = await connect(kubeconfig)
    session = await connection.open_session()
    assert session.trust_env is False
    await session.close()


async def test_an_unreadable_token_file_is_a_transient_error(
    kubeconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is being replaced, or the disk is full: a permanent error would end a watch for ever."""
    connection = await connect(kubeconfig)
    assert await connection.authorization() == {"Authorization": "Bearer t"}
    token = tmp_path / "token"
    for content in (b"", b"\xff\xfe"):
        token.write_bytes(content)
        monkeypatch.setattr(
            connection.configuration, "refresh_api_key_hook", lambda _: _read(token)
        )
        with pytest.raises(UnavailableError, match="the token of the service account"):
            await connection.authorization()


def _read(token: Path) -> None:
    """Read the file as the client does."""
    if not token.read_text():
        raise ConfigException("Token file exists but empty.")
