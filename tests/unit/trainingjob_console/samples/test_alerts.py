import pytest
import yaml

from tests.support.repository import ROOT
from trainingjob_console.samples.alerts import ALERTS, AlertStates
from trainingjob_console.samples.series import parse

RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load(
        (ROOT / "charts/trainingjob-operator/files/alerts.yaml").read_text()
    )["groups"]
    for rule in group["rules"]
}
WELL = """
trainingjob_operator_build_info{version="1"} 1
trainingjob_operator_leader 1
trainingjob_operator_ready 1
trainingjob_operator_volume_size_bytes 100
trainingjob_operator_volume_free_bytes 50
trainingjob_operator_bounded_used{structure="index"} 5
trainingjob_operator_bounded_limit{structure="index"} 10
"""


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_alerts_equal_those_of_the_prometheus_rules(alert: object) -> None:
    assert isinstance(alert, type(ALERTS[0]))
    rule = RULES[alert.name]
    wait = rule.get("for", "0m")
    seconds = int(wait[:-1]) * {"s": 1, "m": 60, "h": 3600}[wait[-1]]
    found = (rule["labels"]["severity"], seconds, rule["annotations"]["summary"])
    assert (alert.severity, alert.after, alert.summary) == found


def firing(text: str) -> set[str]:
    states = AlertStates()
    states.update(0, [parse(text)] if text else [])
    assert {each["name"] for each in states.firing(1)} <= {"TrainingJobLogVolumeFull"}
    return {each["name"] for each in states.firing(10_000)}


def test_no_alert_fires_while_all_is_well_and_each_fires_after_its_delay() -> None:
    assert firing(WELL) == set()
    assert firing("") == {"TrainingJobOperatorAbsent"}
    assert firing(WELL.replace("leader 1", "leader 0")) == {"TrainingJobOperatorNoLeader"}
    assert firing(WELL.replace("ready 1", "ready 0")) == {"TrainingJobOperatorNotReady"}
    assert firing(WELL.replace("free_bytes 50", "free_bytes 5")) == {"TrainingJobLogVolumeFilling"}
    full = firing(WELL.replace("free_bytes 50", "free_bytes 1"))
    assert full == {"TrainingJobLogVolumeFilling", "TrainingJobLogVolumeFull"}
    assert firing(WELL.replace('"index"} 5', '"index"} 10')) == {"TrainingJobOperatorIndexFull"}


def test_an_alert_that_ends_starts_its_delay_again() -> None:
    states = AlertStates()
    bad, good = [parse(WELL.replace("ready 1", "ready 0"))], [parse(WELL)]
    for now, found in ((0, bad), (500, good), (600, bad)):
        states.update(now, found)
    assert states.firing(1100) == []
    assert [each["since"] for each in states.firing(1200)] == ["1970-01-01T00:10:00Z"]
