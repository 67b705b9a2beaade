"""A server of the tests that goes and comes back keeps a port that no client is given meanwhile."""

from pathlib import Path
from urllib.parse import urlsplit

import yaml

from hack.ports import listening_range
from tests.support.apiserver.fault_proxy import FaultProxy
from tests.support.records.http_endpoint import HttpEndpoint


def is_kept(url: str) -> bool:
    """True for a port that is given out to those who listen alone."""
    first, end = listening_range()
    return first <= (urlsplit(url).port or 0) < end


def test_a_ledger_comes_up_again_where_it_was() -> None:
    with HttpEndpoint() as ledger:
        before = ledger.url
        ledger.go_down()
        ledger.come_up()
        assert ledger.url == before
    assert is_kept(before)


def test_a_proxy_comes_up_again_where_it_was(tmp_path: Path) -> None:
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "t"}}
    upstream = {"clusters": [cluster], "contexts": [context], "users": [user]}
    (tmp_path / "upstream").write_text(yaml.safe_dump(upstream | {"current-context": "c"}))
    with FaultProxy(tmp_path / "upstream", tmp_path) as proxy:
        before = server_of(proxy.kubeconfig)
        proxy.stop()
        proxy.start()
        assert server_of(proxy.kubeconfig) == before
    assert is_kept(before)


def server_of(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
