"""Creates a pod's volumes as folders of this machine, and resolves `volumeMounts` to them.

Under the node's root, `pods/<uid>/volumes/<name>` is removed with the pod, and
`claims/<namespace>/<claim>` is kept. ConfigMaps and Secrets are read when the pod starts, and not
refreshed.
"""

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from trainingjob_sandbox.node.constants import Object
from trainingjob_sandbox.node.environment import (
    ConfigError,
    PodPlacement,
    Sources,
    expand,
    field_value,
    resource_value,
)
from trainingjob_sandbox.node.mounts import Mount

_DEFAULT_MODE: Final = 0o644
_WITH_CONTENT: Final = frozenset({"configMap", "secret", "projected", "downwardAPI"})
_HOST_PATH_TYPES: Final[Mapping[str, Callable[[int], bool]]] = {
    "Directory": stat.S_ISDIR,
    "DirectoryOrCreate": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "FileOrCreate": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


class VolumeError(Exception):
    """A volume cannot be created as the pod specifies it."""


def claim_directory(root: Path, namespace: str, claim: str) -> Path:
    """Return the folder of a PersistentVolumeClaim, shared by all pods that use it."""
    return root / "claims" / namespace / claim


def references(pod: Object) -> tuple[set[str], set[str]]:
    """Return the names of the ConfigMaps and of the Secrets that volumes and variables refer to."""
    found: dict[str, set[str]] = {"configmap": set(), "secret": set()}
    for value in _walk(pod.get("spec") or {}):
        for key, name_field, kind in (
            ("configMap", "name", "configmap"),
            ("configMapRef", "name", "configmap"),
            ("configMapKeyRef", "name", "configmap"),
            ("secret", "secretName", "secret"),
            ("secret", "name", "secret"),  # as a projected source
            ("secretRef", "name", "secret"),
            ("secretKeyRef", "name", "secret"),
        ):
            reference = value.get(key)
            if isinstance(reference, dict) and reference.get(name_field):
                found[kind].add(str(reference[name_field]))
    return found["configmap"], found["secret"]


def claims(pod: Object) -> list[str]:
    """Return the names of the PersistentVolumeClaims that the pod's volumes refer to."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    named = (volume.get("persistentVolumeClaim") for volume in volumes)
    return [str(claim["claimName"]) for claim in named if claim and claim.get("claimName")]


class Volumes:
    """The volumes of one pod, created before its first container starts."""

    def __init__(self, pod: Object, root: Path, scratch: Path, placement: PodPlacement) -> None:
        self._pod = pod
        self._root = root
        self._scratch = scratch
        self._placement = placement
        self._paths: dict[str, Path] = {}
        self._read_only: set[str] = set()

    def make(self, sources: Sources) -> None:
        """Create every volume.

        Raises:
            ConfigError: a ConfigMap or Secret is missing; it may be created later.
            VolumeError: a volume's kind is not supported, or it cannot be created.
        """
        for volume in self._pod["spec"].get("volumes") or []:
            try:
                self._paths[volume["name"]] = self._make(volume, sources)
            except OSError as error:
                raise VolumeError(f"volume {volume['name']!r}: {error}") from error

    def mounts(self, container: Object, variables: Mapping[str, str]) -> list[Mount]:
        """Resolve the container's `volumeMounts`.

        Raises:
            VolumeError: a mount names an unknown volume, or a subPath outside of its volume.
        """
        found = []
        for mount in container.get("volumeMounts") or []:
            name = mount.get("name")
            if name not in self._paths:
                raise VolumeError(f"volumeMount {mount.get('mountPath')}: no volume {name!r}")
            path = self._paths[name]
            inside = mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables)
            if inside:
                path = _sub_path(path, inside)
            read_only = bool(mount.get("readOnly")) or name in self._read_only
            found.append(Mount(str(path), str(mount["mountPath"]), read_only))
        return found

    def _make(self, volume: Object, sources: Sources) -> Path:
        path = self._scratch / "volumes" / str(volume["name"])
        if claim := volume.get("persistentVolumeClaim"):
            namespace = self._pod["metadata"]["namespace"]
            path = claim_directory(self._root, namespace, str(claim["claimName"]))
            if claim.get("readOnly"):
                self._read_only.add(volume["name"])
        elif host := volume.get("hostPath"):
            return _host_path(host)
        elif unknown := set(volume) - {"name", "emptyDir"} - _WITH_CONTENT:
            raise VolumeError(
                f"volume {volume['name']!r} is of kind {min(unknown)}, which the sandbox does not "
                "support; use emptyDir, hostPath, persistentVolumeClaim, configMap or secret"
            )
        if not (_within(self._scratch, path) or _within(self._root / "claims", path)):
            raise VolumeError(f"volume {volume['name']!r}: its name leaves the node's folder")
        path.mkdir(parents=True, exist_ok=True)
        if _WITH_CONTENT & set(volume):
            _write(path, self._files(volume, sources))
            self._read_only.add(volume["name"])
        return path

    def _files(self, volume: Object, sources: Sources) -> "dict[str, tuple[bytes, int]]":
        """Return file name -> (content, mode), for volumes with content."""
        projected = volume.get("projected")
        if projected is None:
            return self._source_files(volume, sources, _mode_of(volume))
        mode = int(projected.get("defaultMode") or _DEFAULT_MODE)
        files: dict[str, tuple[bytes, int]] = {}
        for source in projected.get("sources") or []:
            files |= self._source_files(source, sources, mode)
        return files

    def _source_files(
        self, source: Object, sources: Sources, mode: int
    ) -> "dict[str, tuple[bytes, int]]":
        if reference := source.get("configMap"):
            data = sources.configmap(
                str(reference.get("name", "")), optional=bool(reference.get("optional"))
            )
            return _chosen(reference, data, mode)
        if reference := source.get("secret"):
            name = str(reference.get("secretName") or reference.get("name", ""))
            data = sources.secret(name, optional=bool(reference.get("optional")))
            return _chosen(reference, data, mode)
        if reference := source.get("downwardAPI"):
            return self._downward(reference, mode)
        return {}

    def _downward(self, reference: Object, mode: int) -> "dict[str, tuple[bytes, int]]":
        files = {}
        for item in reference.get("items") or []:
            if wanted := item.get("fieldRef"):
                text = field_value(str(wanted.get("fieldPath", "")), self._pod, self._placement)
            else:
                text = resource_value(
                    item.get("resourceFieldRef") or {}, self._pod, {}, self._placement
                )
            files[str(item["path"])] = (text.encode(), int(item.get("mode") or mode))
        return files


def _walk(value: Any) -> Iterator[Object]:
    if isinstance(value, dict):
        yield value
        for below in value.values():
            yield from _walk(below)
    elif isinstance(value, list):
        for below in value:
            yield from _walk(below)


def _mode_of(volume: Object) -> int:
    for kind in ("configMap", "secret", "downwardAPI"):
        if mode := (volume.get(kind) or {}).get("defaultMode"):
            return int(mode)
    return _DEFAULT_MODE


def _chosen(
    reference: Object, data: Mapping[str, bytes] | None, mode: int
) -> "dict[str, tuple[bytes, int]]":
    """Return the files of all keys, or of the keys in `items`, under the paths given there."""
    if data is None:
        return {}
    items = reference.get("items")
    if not items:
        return {key: (content, mode) for key, content in data.items()}
    files = {}
    for item in items:
        key = str(item["key"])
        if key in data:
            files[str(item["path"])] = (data[key], int(item.get("mode") or mode))
        elif not reference.get("optional"):
            raise ConfigError(f"references non-existent config key: {key}")
    return files


def _write(folder: Path, files: "Mapping[str, tuple[bytes, int]]") -> None:
    for name, (content, mode) in files.items():
        path = folder / name
        if not _within(folder, path):
            raise VolumeError(f"the path {name!r} leaves its volume")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(mode)


def _sub_path(volume: Path, inside: str) -> Path:
    path = volume / inside
    if not _within(volume, path):
        raise VolumeError(f"the subPath {inside!r} leaves its volume")
    if not path.exists():
        path.mkdir(parents=True)
    return path


def _within(folder: Path, path: Path) -> bool:
    """True if the path is inside the folder after resolving symbolic links."""
    return path.resolve().is_relative_to(folder.resolve())


def _host_path(host: Object) -> Path:
    path, kind = Path(str(host["path"])), str(host.get("type") or "")
    if kind == "DirectoryOrCreate":
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    if not path.exists():
        raise VolumeError(f"hostPath {path} does not exist")
    is_kind = _HOST_PATH_TYPES.get(kind)
    if kind and not (is_kind and is_kind(path.stat().st_mode)):
        raise VolumeError(f"hostPath type check failed: {path} is not a {kind}")
    return path
