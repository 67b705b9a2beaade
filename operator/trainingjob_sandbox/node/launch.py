"""Builds the `Launch` (command, variables, mounts) of a container for its supervisor."""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainingjob_sandbox.node.addresses import AddressBook
from trainingjob_sandbox.node.constants import Object
from trainingjob_sandbox.node.environment import (
    PodPlacement,
    Sources,
    container_variables,
    expand,
)
from trainingjob_sandbox.node.host_names import host_name, resolver
from trainingjob_sandbox.node.mounts import Mount
from trainingjob_sandbox.node.path_substitution import PathSubstitution, SubstitutionError
from trainingjob_sandbox.node.supervisor import Launch
from trainingjob_sandbox.node.volumes import VolumeError, Volumes

_PYTHONS: Final = frozenset({"python", "python3"})
_TERMINATION_PATH: Final = "/dev/termination-log"


class LaunchError(Exception):
    """The container cannot be started as it is specified. The message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The node's files and settings for one container.

    Attributes:
        scratch: its home, temporary folder and default working directory.
        termination: the file that is mounted at its terminationMessagePath.
        path: the machine's PATH.
        isolated: True if it gets a private mount namespace.
    """

    scratch: Path
    termination: Path
    path: str
    isolated: bool

    def prepare(self) -> None:
        """Create the folder and an empty termination message."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.termination.parent.mkdir(parents=True, exist_ok=True)
        self.termination.write_bytes(b"")


def build_launch(
    pod: Object,
    container: Object,
    *,
    sources: Sources,
    placement: PodPlacement,
    volumes: Volumes,
    addresses: AddressBook,
    workspace: Workspace,
) -> Launch:
    """Return the launch specification of a container.

    Raises:
        ConfigError: a ConfigMap, a Secret or a key is missing; it may be created later.
        LaunchError: the container cannot be started as it is specified.
    """
    variables = base_variables(workspace) | container_variables(
        pod, container, sources, placement, resolver(pod, addresses)
    )
    variables["HOSTNAME"] = host_name(pod, placement.node)
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
        replace = _path_replacer(mounts, argv, variables, directory, workspace)
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
    """Return the variables of every container: the minimum for a shell and Python, none of the node's own."""
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
            f"container {container.get('name')!r} has no command: the sandbox pulls no images, so "
            "their entrypoint is unknown; set `command` in the pod template"
        )
    words = [*command, *(container.get("args") or [])]
    argv = [expand(str(word), variables) for word in words]
    if argv[0] in _PYTHONS and shutil.which(argv[0], path=variables["PATH"]) is None:
        argv[0] = sys.executable
    return argv


def _path_replacer(
    mounts: list[Mount],
    argv: list[str],
    variables: Mapping[str, str],
    directory: str,
    workspace: Workspace,
) -> Callable[[str], str]:
    """Return the function that replaces mount paths in each word, for a process without mounts."""
    ours = base_variables(workspace)
    words = [*argv, directory, *(value for name, value in variables.items() if name not in ours)]
    pod_folder = workspace.scratch.parents[1]  # the container's own is home/<container> in it
    try:
        return PathSubstitution(mounts, words, own=pod_folder).replace
    except SubstitutionError as error:
        raise LaunchError(str(error)) from error
