"""The identity of a resource (group, version, kind, plural), and validation of names and labels."""

import re
from dataclasses import dataclass
from typing import Final

MAX_NAME: Final = 253
MAX_LABEL: Final = 63

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = f"({_QUALIFIED})?"
_SUBDOMAIN_RE: Final = re.compile(_SUBDOMAIN)
_LABEL_RE: Final = re.compile(_LABEL)
_QUALIFIED_RE: Final = re.compile(_QUALIFIED)
_VALUE_RE: Final = re.compile(_VALUE)


@dataclass(frozen=True, slots=True)
class Identity:
    """The names of a resource.

    Attributes:
        group: the API group; empty for the core group.
        version: the version within the group.
        kind: the kind, in CamelCase.
        plural: the resource's name in paths.
    """

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified_plural(self) -> str:
        """`pods`, or `widgets.example.dev`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """`Pod`, or `Widget.example.dev`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


def check_subdomain(name: str) -> str | None:
    """Return the error of an object's name; None if it is a valid DNS subdomain."""
    if len(name) > MAX_NAME:
        return f"must be no more than {MAX_NAME} characters"
    if _SUBDOMAIN_RE.fullmatch(name):
        return None
    return (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
        "'-' or '.', and must start and end with an alphanumeric character "
        f"(e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
    )


def check_label_name(name: str) -> str | None:
    """Return the error of a name that must be a DNS label; None if it is valid."""
    if len(name) > MAX_LABEL:
        return f"must be no more than {MAX_LABEL} characters"
    if _LABEL_RE.fullmatch(name):
        return None
    return (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character "
        f"(e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
    )


def check_qualified_name(key: str) -> str | None:
    """Return the error of the key of a label or annotation; None if it is valid."""
    prefix, slash, name = key.rpartition("/")
    if slash and (problem := check_subdomain(prefix)):
        return f"prefix part {problem}"
    if len(name) > MAX_LABEL:
        return f"name part must be no more than {MAX_LABEL} characters"
    if _QUALIFIED_RE.fullmatch(name):
        return None
    return (
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
        f"regex used for validation is '{_QUALIFIED}')"
    )


def check_label_value(value: str) -> str | None:
    """Return the error of a label's value; None if it is valid."""
    if len(value) > MAX_LABEL:
        return f"must be no more than {MAX_LABEL} characters"
    if _VALUE_RE.fullmatch(value):
        return None
    return (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', "
        "'_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  "
        "or 'my_value',  or '12345', regex used for validation is "
        f"'{_VALUE}')"
    )
