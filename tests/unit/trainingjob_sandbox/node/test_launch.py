"""The launch specification that a supervisor gets for a container."""

import sys
from pathlib import Path
from typing import Any

import pytest

from trainingjob_sandbox.node.addresses import AddressBook
from trainingjob_sandbox.node.environment import PodPlacement, Sources
from trainingjob_sandbox.node.launch import LaunchError, Workspace, build_launch
from trainingjob_sandbox.node.mounts import Mount
from trainingjob_sandbox.node.supervisor import Launch
from trainingjob_sandbox.node.volumes import Volumes

PLACEMENT = PodPlacement(node="n", pod_ip="127.64.0.1", host_ip="127.0.0.1", capacity={})
NAME = "digits-0a1b2c3d-0-1"


def launch(
    root: Path, *, isolated: bool = True, path: str = "/usr/bin:/bin", **container: Any
) -> Launch:
    volumes = [
        {"name": "v", "emptyDir": {}},
        {"name": "here", "hostPath": {"path": str(root)}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
    ]
    pod = {
        "metadata": {"name": NAME, "namespace": "ns", "uid": "u"},
        "spec": {"volumes": volumes, "hostname": NAME, "subdomain": "digits-0a1b2c3d"},
    }
    made = Volumes(pod, root, root / "pods/u", PLACEMENT)
    made.make(Sources())
    return build_launch(
        pod,
        {"name": "trainer", **container},
        sources=Sources(),
        placement=PLACEMENT,
        volumes=made,
        addresses=AddressBook(own_addresses=True),
        workspace=Workspace(
            scratch=root / "pods/u/home/trainer",
            termination=root / "message",
            path=path,
            isolated=isolated,
        ),
    )


def test_a_rank_finds_the_first_one_by_its_address_and_knows_its_own_name(tmp_path: Path) -> None:
    env = [{"name": "MASTER_ADDR", "value": "digits-0a1b2c3d-0-0.digits-0a1b2c3d.ns.svc"}]

    made = launch(
        tmp_path, command=["train", "--to=$(MASTER_ADDR)"], args=["$(HOSTNAME)"], env=env
    )

    assert made.argv == ["train", "--to=127.64.0.1", NAME]
    assert made.env == {
        "PATH": "/usr/bin:/bin",
        "HOME": f"{tmp_path}/pods/u/home/trainer",
        "TMPDIR": f"{tmp_path}/pods/u/home/trainer",
        "LANG": "C.UTF-8",
        "HOSTNAME": NAME,
        "MASTER_ADDR": "127.64.0.1",
    }


@pytest.mark.parametrize("program", ["python", "python3"])
def test_python_is_found_even_where_the_path_has_none(tmp_path: Path, program: str) -> None:
    assert launch(tmp_path, command=[program, "x.py"], path="/none").argv == [
        sys.executable,
        "x.py",
    ]


def test_the_name_of_another_program_is_not_changed(tmp_path: Path) -> None:
    assert launch(tmp_path, command=["torchrun"], path="/none").argv == ["torchrun"]


@pytest.mark.parametrize("container", [{}, {"args": ["--lr=1"]}, {"command": []}])
def test_a_container_without_a_command_cannot_be_started(
    tmp_path: Path, container: dict[str, Any]
) -> None:
    with pytest.raises(LaunchError, match="set `command` in the pod template"):
        launch(tmp_path, **container)


def test_the_termination_message_is_mounted_where_the_container_expects_it(
    tmp_path: Path,
) -> None:
    message = str(tmp_path / "message")

    assert launch(tmp_path, command=["x"]).mounts == [Mount(message, "/dev/termination-log")]
    assert launch(tmp_path, command=["x"], terminationMessagePath="/m").mounts == [
        Mount(message, "/m")
    ]


def test_without_a_namespace_mount_paths_are_replaced_by_folders(
    tmp_path: Path,
) -> None:
    mounts = [{"name": "v", "mountPath": "/data"}, {"name": "claim", "mountPath": "/data/cache/"}]
    env = [{"name": "DATA", "value": "/data"}, {"name": "OTHER", "value": "/database:/x/data"}]

    made = launch(
        tmp_path,
        isolated=False,
        command=["sh", "-c", "cd /data/in; cat </data/cache/a >/data.txt"],
        args=["--from=/data/x"],
        env=env,
        workingDir="/data",
        volumeMounts=mounts,
    )

    data, cache = f"{tmp_path}/pods/u/volumes/v", f"{tmp_path}/claims/ns/c"
    script = f"cd {data}/in; cat <{cache}/a >/data.txt"
    assert made.argv == ["sh", "-c", script, f"--from={data}/x"]
    assert made.env["DATA"] == data
    assert made.env["OTHER"] == "/database:/x/data"
    assert made.directory == data
    assert made.mounts == []


def test_without_a_namespace_the_nodes_own_variables_are_not_changed(tmp_path: Path) -> None:
    mounts = [{"name": "v", "mountPath": str(tmp_path)}]

    made = launch(tmp_path, isolated=False, command=["ls", str(tmp_path)], volumeMounts=mounts)

    assert made.env["HOME"] == f"{tmp_path}/pods/u/home/trainer"


def test_without_a_namespace_a_mount_path_that_no_word_names_is_an_error_that_says_what_to_change(
    tmp_path: Path,
) -> None:
    mounts = [{"name": "v", "mountPath": "/data"}]

    with pytest.raises(LaunchError, match=r"/data cannot be mounted: .* name the path in the"):
        launch(tmp_path, isolated=False, command=["x", "/database"], volumeMounts=mounts)


@pytest.mark.parametrize("name", ["here", "claim"])
def test_without_a_namespace_a_volume_that_outlives_the_pod_cannot_be_read_only(
    tmp_path: Path, name: str
) -> None:
    path = str(tmp_path) if name == "here" else "/data"
    mounts = [{"name": name, "mountPath": path, "readOnly": True}]

    with pytest.raises(LaunchError, match="mount it without readOnly"):
        launch(tmp_path, isolated=False, command=["x", path], volumeMounts=mounts)


def test_without_a_namespace_a_host_path_at_its_own_path_needs_no_mount(tmp_path: Path) -> None:
    mounts = [{"name": "here", "mountPath": str(tmp_path)}]

    assert launch(tmp_path, isolated=False, command=["x"], volumeMounts=mounts).mounts == []


def test_a_launch_is_encoded_as_one_line_and_decoded(tmp_path: Path) -> None:
    made = launch(tmp_path, command=["printf", "a\nb"])

    line = made.to_json()

    assert line.count(b"\n") == 1
    assert Launch.from_json(line) == made
