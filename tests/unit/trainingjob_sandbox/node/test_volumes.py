"""Volumes become folders, and volumeMounts become bind mounts."""

from pathlib import Path
from typing import Any

import pytest

from trainingjob_sandbox.node.environment import ConfigError, PodPlacement, Sources
from trainingjob_sandbox.node.mounts import Mount
from trainingjob_sandbox.node.volumes import (
    VolumeError,
    Volumes,
    claim_directory,
    claims,
    references,
)

PLACEMENT = PodPlacement(node="n", pod_ip="127.64.0.1", host_ip="127.0.0.1", capacity={"cpu": "4"})
SOURCES = Sources(
    configmaps={"code": {"train.py": b"pass", "util.py": b"1"}},
    secrets={"keys": {"token": b"s3"}},
)


def made(root: Path, *volumes: dict[str, Any], sources: Sources = SOURCES) -> Volumes:
    pod = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "1"}},
        "spec": {"volumes": list(volumes)},
    }
    found = Volumes(pod, root, root / "pods" / "u", PLACEMENT)
    found.make(sources)
    return found


def folder(volumes: Volumes, name: str = "v", **mount: Any) -> Path:
    [found] = volumes.mounts(
        {"volumeMounts": [{"name": name, "mountPath": "/m", **mount}]}, {"RANK": "3"}
    )
    return Path(found.source)


def content(path: Path) -> dict[str, str]:
    return {
        str(file.relative_to(path)): file.read_text()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_a_configmap_volume_has_a_file_for_each_key(tmp_path: Path) -> None:
    path = folder(made(tmp_path, {"name": "v", "configMap": {"name": "code"}}))

    assert content(path) == {"train.py": "pass", "util.py": "1"}


def test_items_choose_keys_paths_and_modes(tmp_path: Path) -> None:
    items = [{"key": "train.py", "path": "bin/train", "mode": 0o755}]
    path = folder(made(tmp_path, {"name": "v", "configMap": {"name": "code", "items": items}}))

    assert content(path) == {"bin/train": "pass"}
    assert (path / "bin/train").stat().st_mode & 0o777 == 0o755


def test_the_default_mode_holds_for_every_file(tmp_path: Path) -> None:
    volume = {"name": "v", "secret": {"secretName": "keys", "defaultMode": 0o400}}

    assert (folder(made(tmp_path, volume)) / "token").stat().st_mode & 0o777 == 0o400


def test_a_projected_volume_is_all_its_sources_and_no_token(tmp_path: Path) -> None:
    sources = [
        {"configMap": {"name": "code", "items": [{"key": "util.py", "path": "util.py"}]}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "sa"}},
    ]
    path = folder(made(tmp_path, {"name": "v", "projected": {"sources": sources}}))

    assert content(path) == {"util.py": "1", "token": "s3", "l": 'a="1"\nb="2"'}


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "code", "items": [{"key": "k", "path": "k"}]}},
            "references non-existent config key: k",
        ),
    ],
)
def test_a_missing_configmap_or_secret_is_a_config_error_that_may_be_retried(
    tmp_path: Path, volume: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made(tmp_path, {"name": "v", **volume})


def test_an_optional_source_leaves_the_folder_empty(tmp_path: Path) -> None:
    path = folder(made(tmp_path, {"name": "v", "configMap": {"name": "none", "optional": True}}))

    assert path.is_dir()
    assert content(path) == {}


def test_content_is_read_only_and_an_empty_folder_is_not(tmp_path: Path) -> None:
    volumes = made(
        tmp_path, {"name": "c", "configMap": {"name": "code"}}, {"name": "e", "emptyDir": {}}
    )
    mounts = [{"name": "c", "mountPath": "/c"}, {"name": "e", "mountPath": "/e"}]

    found = volumes.mounts({"volumeMounts": mounts}, {})

    assert [(mount.target, mount.read_only) for mount in found] == [("/c", True), ("/e", False)]


def test_a_claim_is_one_folder_for_all_pods(tmp_path: Path) -> None:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}

    path = folder(made(tmp_path, volume), subPath="job_1")

    assert path == claim_directory(tmp_path, "ns", "data") / "job_1"
    assert path.is_dir()


def test_a_sub_path_may_be_made_of_variables(tmp_path: Path) -> None:
    path = folder(made(tmp_path, {"name": "v", "emptyDir": {}}), subPathExpr="rank-$(RANK)")

    assert path.name == "rank-3"


@pytest.mark.parametrize("sub_path", ["../x", "a/../../x", "/etc", "link/x"])
def test_a_sub_path_may_not_leave_its_volume(tmp_path: Path, sub_path: str) -> None:
    volumes = made(tmp_path, {"name": "v", "emptyDir": {}})
    (folder(volumes) / "link").symlink_to("/etc")

    with pytest.raises(VolumeError, match="leaves its volume"):
        folder(volumes, subPath=sub_path)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"nfs": {"server": "s", "path": "/"}}, "'v' is of kind nfs, which the sandbox does not"),
        ({"hostPath": {"path": "/no/such"}}, "hostPath /no/such does not exist"),
        ({"hostPath": {"path": "/dev/null", "type": "File"}}, "/dev/null is not a File"),
        ({"hostPath": {"path": "/", "type": "Nonsense"}}, "/ is not a Nonsense"),
        ({"persistentVolumeClaim": {"claimName": "../../x"}}, "leaves the node's folder"),
    ],
)
def test_an_unsupported_volume_is_an_error_that_names_it(
    tmp_path: Path, volume: dict[str, Any], message: str
) -> None:
    with pytest.raises(VolumeError, match=message):
        made(tmp_path, {"name": "v", **volume})


def test_a_host_path_is_the_path_itself(tmp_path: Path) -> None:
    host = {"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}
    volumes = made(tmp_path, {"name": "v", "hostPath": host})

    mounts = volumes.mounts({"volumeMounts": [{"name": "v", "mountPath": "/m"}]}, {})

    assert mounts == [Mount(str(tmp_path / "new"), "/m")]
    assert (tmp_path / "new").is_dir()


def test_a_mount_without_a_volume_is_named(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="no volume 'v'"):
        folder(made(tmp_path))


def test_references_are_found_wherever_they_are() -> None:
    pod = {
        "spec": {
            "volumes": [
                {"name": "a", "configMap": {"name": "c1"}},
                {"name": "b", "secret": {"secretName": "s1"}},
                {"name": "c", "projected": {"sources": [{"secret": {"name": "s2"}}]}},
                {"name": "d", "persistentVolumeClaim": {"claimName": "p1"}},
            ],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "s3"}}]}],
            "containers": [
                {"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c2"}}}]}
            ],
        }
    }

    assert references(pod) == ({"c1", "c2"}, {"s1", "s2", "s3"})
    assert claims(pod) == ["p1"]
