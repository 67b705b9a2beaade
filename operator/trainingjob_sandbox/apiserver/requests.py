"""Reads requests: path, verb and query, once."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from trainingjob_sandbox.apiserver import errors
from trainingjob_sandbox.apiserver.deletion import is_dry_run
from trainingjob_sandbox.apiserver.resources import Resource
from trainingjob_sandbox.apiserver.selectors import Matcher, both, by_fields, by_labels
from trainingjob_sandbox.apiserver.store import WriteOptions

_OF_OBJECT: Final = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_COLLECTION: Final = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_TRUE: Final = ("1", "true", "True")
_JSON: Final = ("*/*", "application/*", "application/json")


@dataclass(frozen=True, slots=True)
class Path:
    """The target of a request.

    Attributes:
        group: the API group, empty for the core.
        version: the version, empty where the path is no resource's.
        plural: the resource, empty for discovery.
        namespace: empty for the cluster and across namespaces.
        name: the object, empty for the collection.
        subresource: what of the object, empty for the whole.
    """

    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @classmethod
    def read(cls, path: str) -> "Path":
        """Read a path; of one that is no resource's only the version is left empty."""
        parts = [part for part in path.split("/") if part]
        match parts:
            case ["api", version, *rest]:
                group = ""
            case ["apis", group, version, *rest]:
                pass
            case _:
                return cls()
        namespace = ""
        # `namespaces/x/status` is about the namespace, `namespaces/x/pods` about what is in it.
        if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in ("status", "finalize"):  # noqa: PLR2004 - the third part
            namespace, rest = rest[1], rest[2:]
        plural, name = [*rest, "", ""][:2]
        subresource = "/".join(rest[2:])
        return cls(group, version, plural, namespace, name, subresource)


def verb(method: str, path: Path, query: Mapping[str, str]) -> str:
    """Return what is to be done, in Kubernetes' words."""
    if not path.plural:
        return method.lower()
    if not path.name:
        if method == "GET" and query.get("watch") in _TRUE:
            return "watch"
        return _OF_COLLECTION.get(method, method.lower())
    if method == "POST":
        return "create"
    return _OF_OBJECT.get(method, method.lower())


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a resource.

    Attributes:
        verb: what is to be done, in Kubernetes' words.
        resource: what it is about.
        path: where it goes.
        query: its parameters.
        headers: its headers, by lower-case name.
        body: its body.
    """

    verb: str
    resource: Resource
    path: Path
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def as_table(self) -> bool:
        """True if the answer should be a table."""
        return _wants_table(self.headers.get("accept", ""))

    @property
    def include(self) -> str:
        """The part of an object that goes with a row of a table."""
        return self.query.get("includeObject") or "Metadata"

    def flag(self, name: str) -> bool:
        """Read a parameter that is true or false."""
        return self.query.get(name) in _TRUE

    def integer(self, name: str) -> int | None:
        """Read a parameter that is a number.

        Raises:
            ApiError: 400, it is none.
        """
        text = self.query.get(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError as error:
            raise errors.bad_request(
                f'strconv.ParseInt: parsing "{text}": invalid syntax'
            ) from error

    def selected(self) -> Matcher:
        """Read which objects are meant: namespace, labels and fields together.

        Raises:
            ApiError: 400, a selector cannot be read.
        """
        namespace = self.path.namespace
        resource = self.resource
        labels = by_labels(self.query.get("labelSelector", ""))
        fields = by_fields(
            self.query.get("fieldSelector", ""), resource.selectable, resource.unknown_field
        )
        chosen = both(labels, fields)
        if not namespace:
            return chosen
        return both(lambda obj: obj["metadata"].get("namespace") == namespace, chosen)

    def write_options(self, repeated: list[str] | None = None) -> WriteOptions:
        """Read how a write is to be taken.

        Raises:
            ApiError: 422, an option has a value that it cannot have.
        """
        kind = {"create": "CreateOptions", "patch": "PatchOptions"}.get(self.verb, "UpdateOptions")
        validation = self.query.get("fieldValidation") or "Warn"
        allowed = ("Ignore", "Warn", "Strict")
        if validation not in allowed:
            raise errors.invalid_options(
                kind, errors.unsupported("fieldValidation", validation, allowed)
            )
        return WriteOptions(
            dry_run=is_dry_run(self.query.get("dryRun"), kind),
            strict=validation == "Strict",
            repeated=repeated or [],
        )


def _wants_table(accept: str) -> bool:
    """Say whether the first of the acceptable types that we have is a table."""
    for item in accept.split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        if media_type == "application/json":
            return "as=Table" in parameters
    return False


def check_no_browser(headers: Mapping[str, str]) -> None:
    """Keep web pages out: a job that one of them creates would run with the user's rights.

    A browser lets any page send a POST to loopback, and names the page in `Origin`. A page whose
    host name was made to point to loopback sends that name. Kubernetes' clients do neither.

    Args:
        headers: the request's, by lower-case name.

    Raises:
        ApiError: 403, it comes from a web page.
    """
    host = headers.get("host", "").lower()
    name = host.rpartition("]")[0].lstrip("[") if "]" in host else host.partition(":")[0]
    if "origin" not in headers and (name in ("", "localhost") or _is_address(name)):
        return
    raise errors.ApiError(
        403, "Forbidden", "the sandbox answers no web pages: use its address, and no browser"
    )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def check_acceptable(accept: str) -> None:
    """Make sure that a client takes JSON.

    Raises:
        ApiError: 406, it does not.
    """
    if not accept:
        return
    for item in accept.split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        shape = next((part for part in parameters if part.startswith("as=")), "as=Table")
        if media_type in _JSON and shape == "as=Table":
            return
    raise errors.ApiError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )
