"""A real Prometheus scrapes operator and record service: every alert and dashboard expression returns series."""

import re
from pathlib import Path

import pytest

from hack.monitoring.alerts import ALERTS
from hack.monitoring.dashboard import expressions
from tests.support.apiserver.api import Api, ApiServerUnderTest
from tests.support.apiserver.retention import finish
from tests.support.monitoring.prometheus import Prometheus
from tests.support.processes.operator import operating
from tests.support.records.service import RecordServiceProcess
from tests.support.volume.volume import new_uid

EMPTY = {
    "TrainingJobOperatorAbsent": "there is an operator",
    "TrainingJobOperatorApiErrors": "the API server has answered every request",
    "TrainingJobFinishedJobsStuck": "no job was ever held up",
    "TrainingJobLogVolumeLeftAlone": "the volume was never left alone",
    "TrainingJobRecordServiceAbsent": "it is there",
    "TrainingJobRecordServiceFails": "no request has failed",
}
"""Alerts whose series may be missing in normal operation, with the reason."""

TRUE_FOR_MINUTES = {
    "TrainingJobOperatorWatchSilent": "the watches have just been opened",
    "TrainingJobFinishedJobsStuck": "a sweep may have come while a record was on its way",
}
"""Alerts that may be pending in the first minutes only, with the reason."""


def compared(expression: str) -> str:
    """Return an alert's expression with its comparisons as numbers, so that it has series when well."""
    return re.sub(r" (==|>|<) ", r" \1 bool ", expression)


def asked(expression: str) -> str:
    """Return a dashboard's expression as Grafana asks it, with all installs chosen."""
    return expression.replace("$__rate_interval", "1m").replace("$job", ".*")


@pytest.mark.long
async def test_every_expression_of_alerts_and_dashboard_returns_series(
    api_server: ApiServerUnderTest, api: Api, tmp_path: Path
) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    settings = {
        "TRAININGJOB_GC__INTERVAL": "1",
        "TRAININGJOB_GC__TTL": "0",
        "TRAININGJOB_VOLUME__ROOT": str(root),
    }
    with RecordServiceProcess(tmp_path, f"sqlite:///{tmp_path / 'records.db'}") as service:
        settings["TRAININGJOB_PERSIST__URL"] = f"{service.url}/api/v1/jobs"
        settings["TRAININGJOB_PERSIST__TOKEN_FILE"] = str(service.token_file)
        await service.wait_until_ready()
        with operating(api_server, api, tmp_path, **settings) as operator:
            address = operator.address()
            assert address is not None
            targets = [address, service.url.removeprefix("http://")]
            with Prometheus(tmp_path / "prometheus", targets) as prometheus:
                await finish(api, "done")
                await api.wait_until_gone("done")
                (root / f"job_{new_uid()}.log").write_text("young, so that it stays\n")
                prometheus.wait_for(
                    'increase(trainingjob_operator_gc_skipped_total{sweep="volume"}[1m]) > 0'
                )
                empty = {
                    alert.name: alert.expr
                    for alert in ALERTS
                    if not prometheus.query(compared(alert.expr))
                }
                assert empty.keys() <= EMPTY.keys(), empty
                true = {alert.name for alert in ALERTS if prometheus.query(alert.expr)}
                assert true <= TRUE_FOR_MINUTES.keys()
                unanswered = {
                    (title, query)
                    for title, query in expressions()
                    if not prometheus.query(asked(query))
                }
                assert unanswered == set()
                [row] = prometheus.query("trainingjob_operator_leader")
                assert row["value"][1] == "1"
