"""Parses label and field selectors into functions that match objects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainingjob_sandbox.apiserver import errors

Matcher = Callable[[Mapping[str, Any]], bool]
"""Returns True if an object is selected."""

_TOKEN: Final = re.compile(r"\s*(==|!=|=|!|>|<|,|\(|\)|[A-Za-z0-9_./-]+)")
_OPERATORS: Final = ("in", "notin", "=", "==", "!=", "gt", "lt")
_COMPARISONS: Final = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}


def everything(obj: Mapping[str, Any]) -> bool:
    """Match every object."""
    return True


@dataclass(frozen=True, slots=True)
class _Requirement:
    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        label = labels.get(self.key)
        match self.operator:
            case "exists":
                return label is not None
            case "!":
                return label is None
            case "in":
                return label in self.values
            case "notin":
                return label not in self.values
            case _:
                bound = next(iter(self.values))
                return label is not None and _compare(label, self.operator, bound)


def _compare(label: str, operator: str, bound: str) -> bool:
    try:
        return int(label) > int(bound) if operator == "gt" else int(label) < int(bound)
    except ValueError:
        return False


class _Parser:
    """Parses label selectors such as `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`."""

    def __init__(self, text: str) -> None:
        self.tokens = self._split(text)

    @staticmethod
    def _split(text: str) -> list[str]:
        tokens, at, text = [], 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise errors.bad_request(f"unable to parse requirement: found {text[at:]!r}")
            tokens.append(found[1])
            at = found.end()
        return tokens

    def parse(self) -> list[_Requirement]:
        requirements = []
        while self.tokens:
            requirements.append(self._requirement())
            if self.tokens:
                self._expect(",", "',' or 'end of string'")
                if not self.tokens:
                    raise errors.bad_request("found '', expected: identifier after ','")
        return requirements

    def _requirement(self) -> _Requirement:
        if self.tokens[0] == "!":
            self.tokens.pop(0)
            return _Requirement(self._word(), "!")
        key = self._word()
        if not self.tokens or self.tokens[0] == ",":
            return _Requirement(key, "exists")
        operator = self.tokens.pop(0)
        if operator in ("in", "notin"):
            return _Requirement(key, operator, self._values())
        if operator not in _COMPARISONS:
            expected = ", ".join(_OPERATORS)
            raise errors.bad_request(
                f"unable to parse requirement: found '{operator}', expected: {expected}"
            )
        return _Requirement(key, _COMPARISONS[operator], frozenset({self._value()}))

    def _values(self) -> frozenset[str]:
        self._expect("(", "'('")
        values = {self._value(")")}
        while self.tokens and self.tokens[0] == ",":
            self.tokens.pop(0)
            values.add(self._value(")"))
        self._expect(")", "',' or ')'")
        return frozenset(values)

    def _value(self, end: str = ",") -> str:
        # A value may be empty: `key=` selects the empty string.
        if not self.tokens or self.tokens[0] in (",", end):
            return ""
        return self._word()

    def _word(self) -> str:
        if not self.tokens or not (self.tokens[0][0].isalnum() or self.tokens[0][0] in "_./-"):
            found = self.tokens[0] if self.tokens else ""
            raise errors.bad_request(
                f"unable to parse requirement: found '{found}', expected: identifier"
            )
        return self.tokens.pop(0)

    def _expect(self, token: str, description: str) -> None:
        if not self.tokens or self.tokens[0] != token:
            found = self.tokens[0] if self.tokens else ""
            raise errors.bad_request(
                f"unable to parse requirement: found '{found}', expected: {description}"
            )
        self.tokens.pop(0)


def by_labels(text: str) -> Matcher:
    """Parse a label selector.

    Raises:
        ApiError: 400, it cannot be parsed.
    """
    requirements = _Parser(text).parse()
    if not requirements:
        return everything

    def matches(obj: Mapping[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(requirement.holds(labels) for requirement in requirements)

    return matches


FieldPaths = Mapping[str, tuple[str, ...]]
"""The supported fields of a field selector, each with its path in an object."""


def by_fields(text: str, paths: FieldPaths, unknown: Callable[[str], str]) -> Matcher:
    """Parse a field selector.

    Args:
        text: terms such as `status.phase=Running`, separated by commas.
        paths: the fields that the resource supports.
        unknown: returns the error message for any other field.

    Raises:
        ApiError: 400, it cannot be parsed, or has an unsupported field.
    """
    terms: list[tuple[tuple[str, ...], str, bool]] = []
    for term in filter(None, text.split(",")):
        found = re.fullmatch(r"\s*([^!=]+?)\s*(!=|==|=)(.*)", term)
        if found is None:
            raise errors.bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        field, operator, value = found.groups()
        if field not in paths:
            raise errors.bad_request(unknown(field))
        terms.append((paths[field], value, operator != "!="))
    if not terms:
        return everything

    def matches(obj: Mapping[str, Any]) -> bool:
        return all((_text(obj, path) == value) == wanted for path, value, wanted in terms)

    return matches


def _text(obj: Any, path: tuple[str, ...]) -> str:
    for step in path:
        if not isinstance(obj, dict):
            return ""
        obj = obj.get(step)
    if obj is None:
        return ""
    if isinstance(obj, bool):
        return "true" if obj else "false"
    return str(obj)


def both(first: Matcher, second: Matcher) -> Matcher:
    """Match the objects that both match."""
    if first is everything:
        return second
    if second is everything:
        return first
    return lambda obj: first(obj) and second(obj)
