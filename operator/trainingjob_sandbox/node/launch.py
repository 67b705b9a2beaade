"""From a container of a pod to what its supervisor is told to run."""

import shutil
import sys
from collections.abc import Mapping
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
from trainingjob_sandbox.node.mounts import Mount
from trainingjob_sandbox.node.names import Object
from trainingjob_sandbox.node.supervisor import Launch
from trainingjob_sandbox.node.volumes import VolumeError, Volumes

_PYTHONS: Final = frozenset({"python", "python3"})
_TERMINATION_PATH: Final = "/dev/termination-log"


class LaunchError(Exception):
    """The container can never be started as it is described. The message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What the node lends to a container.

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
    metadata = pod["metadata"]
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    variables = base_variables(workspace) | container_variables(
        pod, container, sources, place, lambda text: addresses.resolve(namespace, name, text)
    )
    variables["HOSTNAME"] = str(pod["spec"].get("hostname") or name)
    try:
        mounts = volumes.mounts(container, variables)
    except VolumeError as error:
        raise LaunchError(str(error)) from error
    if mounts and not workspace.isolated:
        mounts = _without_namespace(mounts)
    elif workspace.isolated:
        target = str(container.get("terminationMessagePath") or _TERMINATION_PATH)
        mounts.append(Mount(str(workspace.termination), target))
    return Launch(
        argv=_argv(container, variables),
        env=variables,
        directory=str(container.get("workingDir") or workspace.scratch),
        scratch=str(workspace.scratch),
        isolated=workspace.isolated,
        mounts=mounts,
    )


def base_variables(workspace: Workspace) -> dict[str, str]:
    """What every container gets: enough for a shell and a Python, and nothing of the node's."""
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


def _without_namespace(mounts: list[Mount]) -> list[Mount]:
    """Mounts that are real without mounting: a host path that appears where it lies."""
    for mount in mounts:
        if mount.source != mount.target or mount.read_only:
            raise LaunchError(
                f"{mount.target} cannot be mounted: this machine allows neither root nor user "
                "namespaces to the sandbox; allow unprivileged user namespaces, or mount a "
                "hostPath at its own path"
            )
    return []
