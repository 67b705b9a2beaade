"""Compiles and evaluates the CEL rules of a CRD (`x-kubernetes-validations`).

Difference from the real server: its CEL libraries (`quantity`, `url`, `isIP`, `isSorted`) are not
available. A rule that uses them fails with an error.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import cel

from trainingjob_sandbox.apiserver.errors import Cause, quote, required
from trainingjob_sandbox.apiserver.validation import ROOT, type_name

_VALIDATIONS: Final = "x-kubernetes-validations"


class CelError(ValueError):
    """A rule cannot be compiled.

    Attributes:
        path: the path of the rule in the schema.
        rule: the text of the rule.
    """

    def __init__(self, path: str, rule: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.rule = rule
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    program: cel.Program
    message: str
    message_program: cel.Program | None
    reason: str
    field_path: str
    transition: bool


@dataclass(slots=True)
class _Node:
    """The rules of one schema node, and its child nodes that have rules or date-times."""

    rules: list[_Rule] = field(default_factory=list)
    date_time: bool = False
    properties: dict[str, "_Node"] = field(default_factory=dict)
    items: "_Node | None" = None
    additional: "_Node | None" = None
    list_keys: tuple[str, ...] = ()

    def is_needed(self) -> bool:
        return bool(
            self.rules or self.date_time or self.properties or self.items or self.additional
        )


class CelRules:
    """All rules of one version of one CRD.

    Args:
        schema: the version's `openAPIV3Schema`.

    Raises:
        CelError: a rule cannot be compiled.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = _read(schema, "openAPIV3Schema")

    def validate(self, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[Cause]:
        """Evaluate the rules of all changed fields; rules with `oldSelf` only on updates."""
        visible = _visible_to_rules(new)
        before = None if old is None else _visible_to_rules(old)
        return list(_evaluate(self._root, visible, before, "", known=old is not None))


def _visible_to_rules(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object as a root rule sees it: with only the name of its metadata."""
    names = ("name", "generateName")
    metadata = {name: obj["metadata"][name] for name in names if name in obj["metadata"]}
    return {**obj, "metadata": metadata}


def _read(schema: Mapping[str, Any], path: str) -> _Node:
    node = _Node(
        rules=[_compile(rule, path) for rule in schema.get(_VALIDATIONS) or ()],
        date_time=schema.get("format") == "date-time",
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
    )
    for name, inner in (schema.get("properties") or {}).items():
        child = _read(inner, f"{path}.properties[{name}]")
        if child.is_needed():
            node.properties[name] = child
    for attribute, keyword in (("items", "items"), ("additional", "additionalProperties")):
        inner = schema.get(keyword)
        if isinstance(inner, dict):
            child = _read(inner, f"{path}.{keyword}")
            if child.is_needed():
                setattr(node, attribute, child)
    return node


def _compile(rule: Mapping[str, str], path: str) -> _Rule:
    def compiled(text: str) -> cel.Program:
        try:
            return cel.compile(text)
        except ValueError as error:
            raise CelError(path, text, f"compilation failed: {error}") from error

    program = compiled(rule["rule"])
    expression = rule.get("messageExpression")
    return _Rule(
        text=rule["rule"].strip(),
        program=program,
        message=rule.get("message") or f"failed rule: {rule['rule'].strip()}",
        message_program=compiled(expression) if expression else None,
        reason=rule.get("reason") or "FieldValueInvalid",
        field_path=rule.get("fieldPath", ""),
        transition="oldSelf" in program.variables(),
    )


def _evaluate(node: _Node, new: Any, old: Any, path: str, *, known: bool) -> Iterator[Cause]:
    """Walk the new and the old object in parallel, and yield the failures of the rules.

    Args:
        node: the rules of this value.
        new: the new value.
        old: the old value.
        path: the path of the value.
        known: True if the old value exists and corresponds to the new one.
    """
    if known and new == old:
        return
    if node.rules:
        yield from _apply(node, new, old, path, known=known)
    if isinstance(new, dict):
        yield from _fields(node, new, old if known else None, path)
    elif isinstance(new, list) and node.items is not None:
        for index, item in enumerate(new):
            match = _counterpart(node, item, old if known else None)
            yield from _evaluate(
                node.items, item, match, f"{path}[{index}]", known=match is not None
            )


def _fields(node: _Node, new: dict[str, Any], old: Any, path: str) -> Iterator[Cause]:
    before = old if isinstance(old, dict) else {}
    for name, value in new.items():
        child = node.properties.get(name) or node.additional
        if child is not None:
            yield from _evaluate(
                child,
                value,
                before.get(name),
                f"{path}.{name}" if path else name,
                known=name in before,
            )


def _counterpart(node: _Node, item: Any, old: Any) -> Any:
    """Return the old element with the same map keys; None in other lists, whose elements have no identity."""
    if not node.list_keys or not isinstance(old, list) or not isinstance(item, dict):
        return None
    key = [item.get(name) for name in node.list_keys]
    for candidate in old:
        if isinstance(candidate, dict) and [candidate.get(n) for n in node.list_keys] == key:
            return candidate
    return None


def _apply(node: _Node, new: Any, old: Any, path: str, *, known: bool) -> Iterator[Cause]:
    variables = {"self": _typed(node, new)}
    if known:
        variables["oldSelf"] = _typed(node, old)
    context = cel.Context(variables)
    for rule in node.rules:
        if rule.transition and not known:
            continue
        try:
            passed = rule.program.execute(context)
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            yield Cause(
                path or ROOT,
                f"Invalid value: {quote(type_name(new))}: {_sentence(error)} "
                f"evaluating rule: {rule.text}",
            )
            continue
        if passed is not True:
            yield _failure(rule, new, path, context)


def _sentence(error: Exception) -> str:
    return f"no such key: {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _failure(rule: _Rule, new: Any, path: str, context: cel.Context) -> Cause:
    message = rule.message
    if rule.message_program is not None:
        # As on the real server: if messageExpression fails, `message` is used.
        with contextlib.suppress(RuntimeError, ValueError, TypeError, LookupError):
            message = str(rule.message_program.execute(context))
    where = (path + rule.field_path).lstrip(".") or ROOT
    match rule.reason:
        case "FieldValueRequired":
            return required(where, message)
        case "FieldValueForbidden":
            return Cause(where, f"Forbidden: {message}", rule.reason)
        case "FieldValueDuplicate":
            return Cause(where, f"Duplicate value: {quote(type_name(new))}", rule.reason)
        case _:
            pass
    shown = "" if isinstance(new, dict | list) else f"{quote(new)}: "
    return Cause(where, f"Invalid value: {shown}{message}", rule.reason)


def _typed(node: _Node, value: Any) -> Any:
    """Return a value with its date-time strings as timestamps, for CEL."""
    if node.date_time and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)
        return value
    if isinstance(value, dict):
        return {
            name: _typed(node.properties.get(name) or node.additional or _PLAIN, inner)
            for name, inner in value.items()
        }
    if isinstance(value, list) and node.items is not None:
        return [_typed(node.items, item) for item in value]
    return value


_PLAIN: Final = _Node()
