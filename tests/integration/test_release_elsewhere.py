"""`trainingjob release-finalizers` on a cluster without our definitions."""

from pathlib import Path

import pytest

from trainingjob_operator.kube.deployments import DeploymentGateway
from trainingjob_operator.release import release
from trainingjob_operator.settings import Settings
from trainingjob_sandbox.apiserver import ApiServerThread
from trainingjob_sandbox.apiserver.thread import kubeconfig

pytestmark = pytest.mark.sandbox_only


@pytest.mark.parametrize("is_its_cluster", [True, False])
async def test_nothing_is_held_only_where_the_operator_is_known_to_have_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    is_its_cluster: bool,
) -> None:
    """The kubeconfig of another cluster must not make anybody believe that all is released."""

    async def stand_still(*_: object, **__: object) -> bool:
        return is_its_cluster

    monkeypatch.setattr(DeploymentGateway, "stand_still", stand_still)
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
    assert ("nothing is held" if is_its_cluster else "right cluster") in said
