"""What a supervisor is told to run."""

import sys
from pathlib import Path
from typing import Any

import pytest

from trainingjob_sandbox.node.addresses import AddressBook
from trainingjob_sandbox.node.environment import Place, Sources
from trainingjob_sandbox.node.launch import LaunchError, Workspace, build_launch
from trainingjob_sandbox.node.mounts import Mount
from trainingjob_sandbox.node.supervisor import Launch
from trainingjob_sandbox.node.volumes import Volumes

PLACE = Place(node="n", pod_ip="127.64.0.1", host_ip="127.0.0.1", capacity={})
NAME = "digits-0a1b2c3d-0-1"


def launch(
    root: Path, *, isolated: bool = True, path: str = "/usr/bin:/bin", **container: Any
) -> Launch:
    volumes = [
        {"name": "v", "emptyDir": {}},
        {"name": "here", "hostPath": {"path": str(root)}},
    ]
    pod = {
        "metadata": {"name": NAME, "namespace": "ns", "uid": "u"},
        "spec": {"volumes": volumes},
    }
    made = Volumes(pod, root, root / "pods/u", PLACE)
    made.make(Sources())
    return build_launch(
        pod,
        {"name": "trainer", **container},
        sources=Sources(),
        place=PLACE,
        volumes=made,
        addresses=AddressBook(own_addresses=True),
        workspace=Workspace(
            scratch=root / "home", termination=root / "message", path=path, isolated=isolated
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
        "HOME": f"{tmp_path}/home",
        "TMPDIR": f"{tmp_path}/home",
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


def test_another_program_is_left_as_it_is_written(tmp_path: Path) -> None:
    assert launch(tmp_path, command=["torchrun"], path="/none").argv == ["torchrun"]


@pytest.mark.parametrize("container", [{}, {"args": ["--lr=1"]}, {"command": []}])
def test_a_container_without_a_command_cannot_be_started(
    tmp_path: Path, container: dict[str, Any]
) -> None:
    with pytest.raises(LaunchError, match="write `command` in the pod template"):
        launch(tmp_path, **container)


def test_the_termination_message_is_mounted_where_the_container_expects_it(
    tmp_path: Path,
) -> None:
    message = str(tmp_path / "message")

    assert launch(tmp_path, command=["x"]).mounts == [Mount(message, "/dev/termination-log")]
    assert launch(tmp_path, command=["x"], terminationMessagePath="/m").mounts == [
        Mount(message, "/m")
    ]


def test_without_a_namespace_a_mount_says_what_would_help(tmp_path: Path) -> None:
    mounts = [{"name": "v", "mountPath": "/data"}]

    with pytest.raises(LaunchError, match=r"/data cannot be mounted: .* at its own path"):
        launch(tmp_path, isolated=False, command=["x"], volumeMounts=mounts)


def test_without_a_namespace_a_host_path_at_its_own_path_is_real(tmp_path: Path) -> None:
    mounts = [{"name": "here", "mountPath": str(tmp_path)}]

    assert launch(tmp_path, isolated=False, command=["x"], volumeMounts=mounts).mounts == []


def test_a_launch_is_one_line_and_back(tmp_path: Path) -> None:
    made = launch(tmp_path, command=["printf", "a\nb"])

    line = made.to_json()

    assert line.count(b"\n") == 1
    assert Launch.from_json(line) == made
