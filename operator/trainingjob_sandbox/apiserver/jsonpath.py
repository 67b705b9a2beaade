"""Evaluates the JSONPath of printer columns: fields, indexes, `[*]` and simple filters."""

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

Step = Callable[[Any], Iterator[Any]]

_PART: Final = re.compile(
    r"""\.?\[\?\(\s*@(?P<field>(?:\.[\w-]+)+)\s*
          (?:(?P<operator>==|!=|<=|>=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|[\w.-]+)\s*)?\)\]
      | \.?\[(?P<index>-?\d+)\]
      | \.?\[(?P<all>\*)\]
      | \.?\['(?P<quoted>[^']+)'\]
      | \.(?P<name>(?:\\\.|[\w/-])+)
    """,
    re.VERBOSE,
)
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class JsonPathError(ValueError):
    """A path cannot be parsed."""


@lru_cache(maxsize=512)
def compile_path(text: str) -> Callable[[Any], list[Any]]:
    """Compile a path such as `.status.conditions[?(@.type=="Ready")].reason`.

    Returns:
        A function that returns all values in an object that the path selects.

    Raises:
        JsonPathError: the path cannot be parsed.
    """
    steps = []
    inner = text.removeprefix("{").removesuffix("}").removeprefix("$")
    at = 0
    while at < len(inner):
        found = _PART.match(inner, at)
        if found is None:
            raise JsonPathError(f"cannot parse {text!r} from {inner[at:]!r} on")
        steps.append(_step(found))
        at = found.end()

    def find(obj: Any) -> list[Any]:
        values: Iterable[Any] = [obj]
        for step in steps:
            values = [inner for value in values for inner in step(value)]
        return list(values)

    return find


def parse_field(text: str) -> tuple[str, ...]:
    """Parse a path of plain fields, such as `.status.phase`."""
    return tuple(text.lstrip(".").split("."))


def _step(found: re.Match[str]) -> Step:
    if found["field"]:
        return _filter(found)
    if found["index"]:
        return _at_index(int(found["index"]))
    if found["all"]:
        return _every
    return _field(found["quoted"] or found["name"].replace("\\.", "."))


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and value.get(name) is not None:
            yield value[name]

    return step


def _at_index(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _filter(found: re.Match[str]) -> Step:
    fields = [_field(name) for name in found["field"].lstrip(".").split(".")]
    compare = _OPERATORS.get(found["operator"] or "")
    wanted = _literal(found["value"] or "")

    def holds(item: Any) -> bool:
        values = [item]
        for field in fields:
            values = [inner for value in values for inner in field(value)]
        if compare is None:
            return bool(values)
        try:
            return any(compare(value, wanted) for value in values)
        except TypeError:
            return False

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from filter(holds, value)

    return step


def _literal(text: str) -> Any:
    if text[:1] in ("'", '"'):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text
