"""Applies strategic merge patches, as `kubectl apply` and `kubectl edit` send them for built-in kinds.

Lists of objects are merged by a merge key. The real server has the keys in its Go types; here they
are in a table of field names. A list that is not in the table is replaced as a whole.
"""

from collections.abc import Mapping
from typing import Any, Final

from trainingjob_sandbox.apiserver import errors

MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    # containerPort for containers, port for Services: the first key that the elements have.
    "ports": ("containerPort", "port"),
    "secrets": ("name",),
    "taints": ("key",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""The merge keys of lists, by field name."""

MERGED_SCALARS: Final = frozenset({"finalizers"})
"""Lists of scalars that are merged as sets instead of replaced."""

_PATCH: Final = "$patch"
_ORDER: Final = "$setElementOrder/"
_DELETE: Final = "$deleteFromPrimitiveList/"
_RETAIN: Final = "$retainKeys"


def strategic_merge(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a strategic merge patch, and return the result; the object is not modified.

    Raises:
        ApiError: 400, a directive is unknown or an element lacks the merge key.
    """
    directive = patch.get(_PATCH)
    if directive == "replace":
        return _strip(patch)
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise errors.bad_request(f"unknown patch type found: {directive}")
    result = dict(target) if isinstance(target, dict) else {}
    if _RETAIN in patch:
        result = {name: result[name] for name in result if name in patch[_RETAIN]}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge_field(name, result.get(name), value)
    _remove_scalars(result, patch)
    _order_lists(result, patch)
    return result


def _merge_field(name: str, old: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return strategic_merge(old, value)
    if isinstance(value, list):
        return _merge_list(name, old if isinstance(old, list) else [], value)
    return value


def _merge_list(name: str, old: list[Any], patch: list[Any]) -> list[Any]:
    if name in MERGED_SCALARS:
        return old + [item for item in patch if item not in old]
    if name not in MERGE_KEYS or not all(isinstance(item, dict) for item in patch):
        return patch
    if any(set(item) == {_PATCH} and item[_PATCH] == "replace" for item in patch):
        return [_strip(item) for item in patch if set(item) != {_PATCH}]
    result = list(old)
    for item in patch:
        key = _merge_key(name, item, old)
        at = next((i for i, there in enumerate(result) if there.get(key) == item[key]), None)
        if item.get(_PATCH) == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(strategic_merge({}, item))
        else:
            result[at] = strategic_merge(result[at], item)
    return result


def _merge_key(name: str, item: Mapping[str, Any], old: list[Any]) -> str:
    for key in MERGE_KEYS[name]:
        if key in item:
            return key
    raise errors.bad_request(
        f"map: {dict(item)} does not contain declared merge key: {MERGE_KEYS[name][0]}"
    )


def _remove_scalars(result: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for directive, removed in patch.items():
        if directive.startswith(_DELETE):
            name = directive.removeprefix(_DELETE)
            kept = [item for item in result.get(name) or [] if item not in removed]
            result[name] = kept


def _order_lists(result: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for directive, order in patch.items():
        if not directive.startswith(_ORDER):
            continue
        name = directive.removeprefix(_ORDER)
        items = result.get(name)
        if isinstance(items, list):
            result[name] = _ordered(name, items, order)


def _ordered(name: str, items: list[Any], order: list[Any]) -> list[Any]:
    """Sort the elements by `order`; elements not in it (the server's own) come last."""

    def identity(item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        return next((item[key] for key in MERGE_KEYS.get(name, ()) if key in item), None)

    wanted = [identity(item) for item in order]
    return sorted(
        items,
        key=lambda item: wanted.index(identity(item)) if identity(item) in wanted else len(wanted),
    )


def _strip(patch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in patch.items() if not name.startswith("$")}
