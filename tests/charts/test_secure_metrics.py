"""Metrics over TLS with the rights that the chart gives, on a cluster that enforces them."""

import asyncio
import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import trustme

from hack.cluster.control_plane import ControlPlane
from tests.charts.test_account import account_namespace, asked, refused, requests_of
from tests.charts.test_rights import OF_CALLERS
from tests.support.console.console_under_test import ConsoleUnderTest, running_console
from tests.support.monitoring.prometheus import Prometheus
from tests.support.processes.operator import OperatorProcess
from tests.support.real.chart import Values, account_kubeconfig
from tests.support.real.real_cluster import kubectl
from trainingjob_operator.observability.metrics_auth import NEW_TOKEN_BURST

__all__ = ["account_namespace"]  # a fixture

pytestmark = pytest.mark.real_only

SECURE: Values = {"metrics": {"secure": {"enabled": True, "certificateSecret": "tls"}}}
FORGED = 100


def certify(folder: Path) -> Path:
    """Write a certificate as in a mounted Secret; return the CA file."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    (folder / "tls.crt").write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    (folder / "tls.key").write_bytes(made.private_key_pem.bytes())
    authority.cert_pem.write_to_path(folder / "ca.crt")
    return folder / "ca.crt"


def token_of(plane: ControlPlane, namespace: str, account: str) -> str:
    kubectl(plane.kubeconfig, "-n", namespace, "create", "serviceaccount", account)
    return kubectl(plane.kubeconfig, "-n", namespace, "create", "token", account).strip()


def scrape(operator: OperatorProcess, authority: Path, token: str = "") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(
        f"https://{operator.metrics_address()}/metrics", headers=headers
    )
    trusted = ssl.create_default_context(cafile=str(authority))
    try:
        with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_leader_and_standby_show_metrics_only_to_authorized_callers(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    namespace = account_namespace
    kubeconfig = account_kubeconfig(
        strict_plane, tmp_path / "account", SECURE, namespace=namespace
    )
    authority = certify(tmp_path)
    may, may_not = (token_of(strict_plane, namespace, name) for name in ("prometheus", "other"))
    kubectl(
        strict_plane.kubeconfig,
        *("create", "clusterrolebinding", "prometheus-reads-trainingjob-metrics"),
        "--clusterrole=trainingjob-operator-metrics-reader",
        f"--serviceaccount={namespace}:prometheus",
    )
    settings = {
        "TRAININGJOB_METRICS__SECURE_ADDRESS": "127.0.0.1:0",
        "TRAININGJOB_METRICS__CERTIFICATE_DIR": str(tmp_path),
        "TRAININGJOB_LEADER_ELECTION__ENABLED": "true",
    }
    try:
        with (
            OperatorProcess(kubeconfig, tmp_path / "first.log", **settings) as leader,
            OperatorProcess(kubeconfig, tmp_path / "second.log", **settings) as standby,
        ):
            operators = (leader, standby)
            for each in operators:
                each.wait_until_ready()
                assert each.probe("/metrics")[0] == 404
                assert scrape(each, authority)[0] == 401
                assert scrape(each, authority, "forged")[0] == 401
                assert scrape(each, authority, may_not)[0] == 403
                assert scrape(each, authority, may)[0] == 200
            begun = time.monotonic()
            answers = {scrape(leader, authority, f"forged-{n}")[0] for n in range(FORGED)}
            seconds = time.monotonic() - begun
            assert answers <= {401, 429}
            assert scrape(leader, authority, may)[0] == 200
            addresses = [each.metrics_address() or "" for each in operators]
            with Prometheus(
                tmp_path / "prometheus",
                addresses,
                scheme="https",
                tls_config={"ca_file": str(authority)},
                authorization={"credentials": may},
            ) as prometheus:
                prometheus.wait_for("count(trainingjob_operator_leader) == 2")
                [found] = prometheus.query("sum(trainingjob_operator_leader)")
                assert found["value"][1] == "1"
    finally:
        kubectl(
            strict_plane.kubeconfig,
            *("delete", "clusterrolebinding", "prometheus-reads-trainingjob-metrics"),
        )

    requests = requests_of(strict_plane, namespace)
    assert refused(requests) == []
    reviews = [each for each in requests if asked(each)[0] in OF_CALLERS]
    assert {asked(each) for each in reviews} == {(what, "create") for what in OF_CALLERS}
    assert len(reviews) <= 2 * (2 * NEW_TOKEN_BURST + seconds + 10)
    assert may not in json.dumps(requests)


async def test_the_console_of_the_same_release_shows_the_operators_metrics(
    strict_plane: ControlPlane, account_namespace: str, tmp_path: Path
) -> None:
    namespace = account_namespace
    operators, consoles = (
        account_kubeconfig(strict_plane, tmp_path / part, SECURE, namespace=namespace, part=part)
        for part in ("operator", "console")
    )
    certify(tmp_path)
    settings = {
        "TRAININGJOB_METRICS__SECURE_ADDRESS": "127.0.0.1:0",
        "TRAININGJOB_METRICS__CERTIFICATE_DIR": str(tmp_path),
    }
    with OperatorProcess(operators, tmp_path / "operator.log", **settings) as operator:
        operator.wait_until_ready()
        async with running_console(
            consoles,
            operator_metrics=[f"https://{operator.metrics_address()}/metrics"],
            operator_metrics_certificate=tmp_path / "tls.crt",
        ) as console:
            # The API server applies a new right only after a moment.
            async with asyncio.timeout(60):
                while not any(each["up"] for each in await operators_of(console)):
                    await asyncio.sleep(0.1)


async def operators_of(console: ConsoleUnderTest) -> list[dict[str, Any]]:
    return list((await console.get("/api/housekeeping")).json["operators"])
