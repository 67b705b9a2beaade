"""Masks credentials in users' text: finds them by heuristics and replaces them with `***`.

Users put credentials into URLs, arguments and shell command lines. A record outlives the job and is
read by more people than the job is. The heuristics miss credentials that do not look like one, and
sometimes mask other text. All functions are pure and idempotent.

All patterns run in linear time: the text may come from an attacker.
"""

import re
from typing import Any, Final

MASKED: Final = "***"

_WORDS: Final = re.compile(
    r"token(?!i[sz])|passw(?:or)?d|passphrase|key|secret|credential|authorization|signature",
    re.IGNORECASE,
)
_EXACTLY: Final = frozenset({"sig", "auth", "pass", "pwd"})
_NEVER_A_NUMBER: Final = re.compile(r"passw(?:or)?d|passphrase|secret", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[\"']?\d{1,7}(?:\.\d{1,7})?[\"']?")
_VARIABLE: Final = re.compile(r"\"?\$(?:\(\w{1,128}\)|\{\w{1,128}\})\"?")
_USER: Final = re.compile(r"://[^\s/?#'\"]*@")
_QUERY: Final = re.compile(r"([?&])([\w.%-]{1,128}+)=([^&\s#'\"]*+)")
_BEARER: Final = re.compile(r"\b(bearer|basic)(\s{1,8})[\w.~+/=-]{16,}+", re.IGNORECASE)
_PAIR: Final = re.compile(
    r"(?<![\w./?&-])(?P<dashes>-{0,2}+)(?P<name>\w[\w.-]*+)(?P<between>=|[ \t]++|[\"']\s*+:\s*+)"
)
_QUOTED: Final = re.compile(r"\"(?:[^\"\\]|\\.){0,65536}+\"|'[^']{0,65536}+'", re.DOTALL)
_VALUE: Final = re.compile(
    r"(?:\"(?:[^\"\\]|\\.){0,65536}+\"|'[^']{0,65536}+'|[^\s\"']|[\"'])++", re.DOTALL
)
_FLAG: Final = re.compile(r"-{1,2}(?P<name>\w[\w.-]*+)")
_FLAG_WITH_VALUE: Final = re.compile(r"-{1,2}(?P<name>\w[\w.-]*+)=(?P<value>.*)", re.DOTALL)
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def mask_text(text: str) -> str:
    """Return a text with everything that looks like a credential replaced by `***`.

    - In URLs: the user and the password, and parameters named like a credential.
    - In command lines and configuration: the values of arguments, variables and quoted keys named
      like a credential.
    - The token after `Bearer` or `Basic`.

    References to variables, as in `--token=$(TOKEN)`, and plain numbers (`--max-tokens 512`) stay.
    """
    text = _USER.sub(f"://{MASKED}@", text)
    text = _QUERY.sub(_masked_parameter, text)
    text = _BEARER.sub(rf"\1\2{MASKED}", text)
    return _mask_pairs(text)


def mask_arguments(arguments: list[Any]) -> list[Any]:
    """Return the masked argument list; an argument can be the value of the flag before it."""
    masked: list[Any] = []
    previous = ""
    for argument in arguments:
        if not isinstance(argument, str):
            masked.append(mask_object(argument))
        elif previous and not argument.startswith("-"):
            masked.append(_masked_value(previous, argument))
        elif match := _FLAG_WITH_VALUE.fullmatch(argument):
            masked.append(_masked_flag(argument, match))
        else:
            masked.append(mask_text(argument))
        flag = _FLAG.fullmatch(argument) if isinstance(argument, str) else None
        previous = flag["name"] if flag is not None and _is_secret(flag["name"]) else ""
    return masked


def mask_object(value: Any) -> Any:
    """Return a decoded JSON value with every string in it masked, except keys."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, list):
        return mask_arguments(value)
    if isinstance(value, dict):
        return {key: _masked_member(value, key, member) for key, member in value.items()}
    return value


def _masked_member(owner: dict[str, Any], key: str, member: Any) -> Any:
    if key == "annotations" and isinstance(member, dict):
        return {name: _masked_annotation(name, value) for name, value in member.items()}
    name = owner.get("name")
    if key == "value" and isinstance(member, str) and isinstance(name, str) and _is_secret(name):
        return MASKED  # a header, for instance
    return mask_object(member)


def _masked_annotation(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return mask_object(value)
    # It holds the whole manifest as JSON text, with the values of environment variables.
    if name == _LAST_APPLIED:
        return MASKED
    return _masked_value(name, value) if _is_secret(name) else mask_text(value)


def _masked_parameter(match: re.Match[str]) -> str:
    value = _masked_value(match[2], match[3]) if _is_secret(match[2]) else match[3]
    return f"{match[1]}{match[2]}={value}"


def _masked_flag(argument: str, match: re.Match[str]) -> str:
    if not _is_secret(match["name"]):
        return mask_text(argument)
    return argument[: match.start("value")] + _masked_value(match["name"], match["value"])


def _mask_pairs(text: str) -> str:
    """Replace the values of `--name=value`, `--name value`, `NAME=value` and `"name": value`."""
    parts: list[str] = []
    done = start = 0
    while (pair := _PAIR.search(text, start)) is not None:
        start = pair.end()
        by_space = pair["between"].isspace()
        if not _is_secret(pair["name"]) or (by_space and not pair["dashes"]):
            continue
        quoted = _QUOTED.match(text, start) if ":" in pair["between"] else None
        value = quoted or _VALUE.match(text, start)
        if value is None or (by_space and value[0].startswith("-")):
            continue
        masked = _masked_value(pair["name"], value[0])
        quote = text[start] if quoted is not None and masked == MASKED else ""  # JSON stays JSON
        parts += [text[done:start], f"{quote}{masked}{quote}"]
        done = start = value.end()
    return "".join([*parts, text[done:]])


def _masked_value(name: str, value: str) -> str:
    """Mask the value of a name like a credential, unless it is a variable reference or a plain number."""
    is_count = _NUMBER.fullmatch(value) and not _NEVER_A_NUMBER.search(name)
    return value if is_count or _VARIABLE.fullmatch(value) else MASKED


def _is_secret(name: str) -> bool:
    return _WORDS.search(name) is not None or name.lower() in _EXACTLY
