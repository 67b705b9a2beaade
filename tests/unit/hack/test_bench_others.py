"""Tests of the changes to other projects' manifests in the benchmark."""

from pathlib import Path

import pytest

from hack.bench.__main__ import main
from hack.bench.other_process import configured, reached_at
from hack.cluster.other_operators import ALL, find_operator


def test_the_version_is_the_one_that_is_pinned() -> None:
    assert {name: each.version for name, each in ALL.items()} == {
        "jobset": "0.12.0",
        "trainer": "2.3.0",
    }


def test_who_is_asked_for_and_not_built_is_not_left_out_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "own"
    own.mkdir()
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        (own / name).touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(own))
    assert find_operator("jobset") is None
    assert main(["--only", "jobset"]) == 1
    assert (
        "jobset has not been built on this machine: `make bench-build`" in capsys.readouterr().err
    )


def test_the_webhooks_are_called_on_this_machine_and_otherwise_as_shipped() -> None:
    service = {"name": "webhook-service", "namespace": "system", "path": "/mutate--v1-pod"}
    shipped = {
        "kind": "MutatingWebhookConfiguration",
        "webhooks": [
            {"name": "mpod.kb.io", "failurePolicy": "Fail", "clientConfig": {"service": service}}
        ],
    }
    [webhook] = reached_at(shipped, 9443, b"PEM")["webhooks"]
    assert webhook == {
        "name": "mpod.kb.io",
        "failurePolicy": "Fail",
        "clientConfig": {"url": "https://127.0.0.1:9443/mutate--v1-pod", "caBundle": "UEVN"},
    }


def test_the_configuration_is_the_shipped_one_but_for_where_it_runs_and_its_limits() -> None:
    shipped = {
        "kind": "Configuration",
        "leaderElection": {"leaderElect": True},
        "controller": {"groupKindConcurrency": {"TrainJob.trainer.kubeflow.org": 5}},
        "health": {"readinessEndpointName": "readyz"},
        "certManagement": {"enable": True, "webhookSecretName": "x"},
        "clientConnection": {"qps": 50, "burst": 100},
    }
    found = configured("trainer", shipped, webhooks=9443, health="127.0.0.1:8081")
    assert found["controller"] == shipped["controller"]
    assert found["leaderElection"] == {"leaderElect": True, "resourceNamespace": "default"}
    assert found["clientConnection"] == {"qps": 2000, "burst": 4000}
    assert found["certManagement"] == {"enable": False}
    assert found["health"] == {
        "readinessEndpointName": "readyz",
        "healthProbeBindAddress": "127.0.0.1:8081",
    }
