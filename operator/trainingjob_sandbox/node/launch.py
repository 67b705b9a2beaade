"""Turns a container of a pod into the command that its supervisor runs."""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainingjob_sandbox.node.addresses import AddressBook
from trainingjob_sandbox.node.environment import (
    Place,
    Sources,
    container_variables,
    expand,
)
from trainingjob_sandbox.node.host_names import host_name, resolver
from trainingjob_sandbox.node.mounts import Mount
from trainingjob_sandbox.node.names import Object
from trainingjob_sandbox.node.stand_ins import StandInError, StandIns
from trainingjob_sandbox.node.supervisor import Launch
from trainingjob_sandbox.node.volumes import VolumeError, Volumes

_PYTHONS: Final = frozenset({"python", "python3"})
_TERMINATION_PATH: Final = "/dev/termination-log"


class LaunchError(Exception):
    """The container can never be started as it is described. The message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The things that the node lends to a container.

    Attributes:
        scratch: its home, temporary folder and default working directory.
        termination: the file that appears at its terminationMessagePath.
        path: the machine's PATH.
        isolated: whether mount paths can be made real.
    """

    scratch: Path
    termination: Path
    path: str
    isolated: bool

    def prepare(self) -> None:
        """Make the folder, and an empty termination message."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.termination.parent.mkdir(parents=True, exist_ok=True)
        self.termination.write_bytes(b"")


def build_launch(
    pod: Object,
    container: Object,
    *,
    sources: Sources,
    place: Place,
    volumes: Volumes,
    addresses: AddressBook,
    workspace: Workspace,
) -> Launch:
    """Everything the supervisor needs to know.

    Raises:
        ConfigError: a ConfigMap, a Secret or a key is missing; it may come.
        LaunchError: it can never be started as it is.
    """
    variables = base_variables(workspace) | container_variables(
        pod, container, sources, place, resolver(pod, addresses)
    )
    variables["HOSTNAME"] = host_name(pod, place.node)
    try:
        mounts = volumes.mounts(container, variables)
    except VolumeError as error:
        raise LaunchError(str(error)) from error
    argv = _argv(container, variables)
    directory = str(container.get("workingDir") or workspace.scratch)
    if workspace.isolated:
        target = str(container.get("terminationMessagePath") or _TERMINATION_PATH)
        mounts.append(Mount(str(workspace.termination), target))
    elif mounts:
        replace = _without_namespace(mounts, argv, variables, directory, workspace)
        argv, directory = [replace(word) for word in argv], replace(directory)
        ours = base_variables(workspace)
        variables = {n: v if n in ours else replace(v) for n, v in variables.items()}
        mounts = []
    return Launch(
        argv=argv,
        env=variables,
        directory=directory,
        scratch=str(workspace.scratch),
        isolated=workspace.isolated,
        mounts=mounts,
    )


def base_variables(workspace: Workspace) -> dict[str, str]:
    """Return the variables of every container: enough for a shell and a Python, and nothing of the node's."""
    return {
        "PATH": workspace.path,
        "HOME": str(workspace.scratch),
        "TMPDIR": str(workspace.scratch),
        "LANG": "C.UTF-8",
    }


def _argv(container: Object, variables: Mapping[str, str]) -> list[str]:
    command = container.get("command") or []
    if not command:
        raise LaunchError(
            f"container {container.get('name')!r} has no command: images are not pulled here, so "
            "their entrypoint is unknown; write `command` in the pod template"
        )
    words = [*command, *(container.get("args") or [])]
    argv = [expand(str(word), variables) for word in words]
    if argv[0] in _PYTHONS and shutil.which(argv[0], path=variables["PATH"]) is None:
        argv[0] = sys.executable
    return argv


def _without_namespace(
    mounts: list[Mount],
    argv: list[str],
    variables: Mapping[str, str],
    directory: str,
    workspace: Workspace,
) -> Callable[[str], str]:
    """Return what replaces each word for a process that sees no mounts."""
    ours = base_variables(workspace)
    words = [*argv, directory, *(value for name, value in variables.items() if name not in ours)]
    pod_folder = workspace.scratch.parents[1]  # the container's own is home/<container> in it
    try:
        return StandIns(mounts, words, own=pod_folder).replace
    except StandInError as error:
        raise LaunchError(str(error)) from error
