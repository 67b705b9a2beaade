"""Tests of the runbooks: each alert has one, and its commands select the intended pod."""

import re

import pytest
import yaml

from hack.monitoring.alert import Alert
from hack.monitoring.alerts import ALERTS
from tests.support.repository import ROOT

RUNBOOKS = ROOT / "docs" / "runbooks"
OF_ONE_POD = re.compile(
    r"(?:logs|port-forward|exec|attach)\s[^`\n]*\bdeploy\w*/trainingjob-operator\b(?!-)"
)
"""kubectl takes one of the Deployment's pods, which may be the standby."""


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_a_page_that_says_what_to_do(alert: Alert) -> None:
    pages = {path.stem for path in RUNBOOKS.glob("TrainingJob*.md")}
    assert pages == {each.name for each in ALERTS}
    text = (RUNBOOKS / f"{alert.name}.md").read_text()
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert titles == [
        alert.name,
        "What it means",
        "What is at risk",
        "What to look at",
        "What to do",
    ]
    sections = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    assert min(len(section.split()) for section in sections) > 5


def test_no_page_asks_one_of_two_pods_whichever_it_is() -> None:
    assert OF_ONE_POD.search("kubectl -n ns logs deployment/trainingjob-operator --previous")
    text = {path.name: path.read_text() for path in RUNBOOKS.glob("*.md")}
    assert [name for name, page in text.items() if OF_ONE_POD.search(page)] == []
    selectors = {found for page in text.values() for found in re.findall(r" logs -l (\S+)", page)}
    [selector] = selectors
    label, _, value = selector.partition("=")
    deployments = [
        each
        for each in yaml.safe_load_all((ROOT / "manifests" / "install.yaml").read_text())
        if each["kind"] == "Deployment"
    ]
    chosen = [
        each["metadata"]["name"]
        for each in deployments
        if each["spec"]["template"]["metadata"]["labels"].get(label) == value
    ]
    assert len(deployments) > 1
    assert chosen == ["trainingjob-operator"]
