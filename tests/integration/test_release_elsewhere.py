"""`trainingjob release-finalizers`: selection of the cluster and the namespaces."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.apiserver.api import Api
from tests.support.builders import make_job
from trainingjob_api.constants import FINALIZER_RECORD
from trainingjob_cli.main import main
from trainingjob_cli.shared import WRONG_USE
from trainingjob_operator.commands.release_finalizers import release
from trainingjob_operator.kube.deployments import DeploymentGateway
from trainingjob_operator.settings import Settings
from trainingjob_sandbox.apiserver import ApiServerThread
from trainingjob_sandbox.apiserver.server_thread import kubeconfig


@pytest.mark.sandbox_only
@pytest.mark.parametrize("is_its_cluster", [True, False])
async def test_nothing_to_release_is_reported_only_where_the_operator_is_known_to_have_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    is_its_cluster: bool,
) -> None:
    """With the kubeconfig of another cluster, the command must not report that all is released."""

    async def scale_to_zero(*_: object, **__: object) -> bool:
        return is_its_cluster

    monkeypatch.setattr(DeploymentGateway, "scale_to_zero", scale_to_zero)
    path = tmp_path / "kubeconfig"
    with ApiServerThread(crds=[]) as bare:
        path.write_text(kubeconfig(bare.url))
        freed = await release(
            Settings(),
            kubeconfig=str(path),
            context=None,
            discard=False,
            deployment="ops/operator",
        )
    assert freed is is_its_cluster
    said = capsys.readouterr().err
    assert ("not installed any more" if is_its_cluster else "the operator's cluster and") in said


@pytest.mark.sandbox_only
async def test_finalizers_are_released_only_in_removed_namespaces(own_api: Api) -> None:
    """The settings name what is served: there the operator would put the finalizer back.

    On a server of its own: `--all-but` frees the jobs of all other tests.
    """
    api = own_api

    async def is_held(name: str) -> bool:
        return FINALIZER_RECORD in (await api.job(name))["metadata"].get("finalizers", [])

    job = make_job("job")
    job["metadata"]["finalizers"] = [FINALIZER_RECORD]
    await api.apply(job)
    served = Settings(namespaces=("served",))

    async def free(*, only: Sequence[str] = (), spared: Sequence[str] = ()) -> bool:
        path = str(api.server.kubeconfig)
        return await release(
            served, kubeconfig=path, context=None, discard=False, only=only, spared=spared
        )

    assert await free(only=["another"])
    assert await free(spared=[api.namespace])
    assert await is_held("job")
    assert await free(only=["another", api.namespace])
    assert not await is_held("job")


@pytest.mark.parametrize("name", ["", "team-*", "team-a,team-b"])
@pytest.mark.parametrize("option", ["--only", "--all-but"])
def test_invalid_namespace_names_are_rejected(
    option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["release-finalizers", option, name]) == WRONG_USE
    assert "is not the name of a namespace" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--only", "--all-but"])
def test_stop_is_rejected_for_an_operator_that_is_not_uninstalled(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["release-finalizers", "--stop", "trainingjob-operator", option, "team-a"]
    assert main(command) == WRONG_USE
    assert "--stop is for an operator that is uninstalled" in capsys.readouterr().err
