"""Parses requests (path, verb, query options), and rejects those of browsers."""

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
    """The path of a request, parsed.

    Attributes:
        group: the API group; empty for the core group.
        version: the version; empty if the path is not below `/api` or `/apis`.
        plural: the resource; empty for discovery.
        namespace: the namespace; empty for cluster scope and all namespaces.
        name: the object; empty for the collection.
        subresource: the subresource; empty for the object itself.
    """

    group: str = ""
    version: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @classmethod
    def read(cls, path: str) -> "Path":
        """Parse a path; if it is not below `/api` or `/apis`, all fields are empty."""
        parts = [part for part in path.split("/") if part]
        match parts:
            case ["api", version, *rest]:
                group = ""
            case ["apis", group, version, *rest]:
                pass
            case _:
                return cls()
        namespace = ""
        # `namespaces/x/status` is a subresource of the namespace, `namespaces/x/pods` a collection.
        if rest[:1] == ["namespaces"] and rest[2:] and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        plural, name = [*rest, "", ""][:2]
        subresource = "/".join(rest[2:])
        return cls(group, version, plural, namespace, name, subresource)


def verb(method: str, path: Path, query: Mapping[str, str]) -> str:
    """Return the Kubernetes verb of a request."""
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
        verb: the Kubernetes verb.
        resource: the resource.
        path: the parsed path.
        query: the query parameters.
        headers: the headers, by lower-case name.
        body: the body.
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
        """True if the client prefers a Table."""
        return _wants_table(self.headers.get("accept", ""))

    @property
    def include(self) -> str:
        """The part of each object that a table's rows include (`includeObject`)."""
        return self.query.get("includeObject") or "Metadata"

    def flag(self, name: str) -> bool:
        """Parse a boolean parameter."""
        return self.query.get(name) in _TRUE

    def integer(self, name: str) -> int | None:
        """Parse an integer parameter.

        Raises:
            ApiError: 400, it is not an integer.
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

    def matcher(self) -> Matcher:
        """Return the matcher of namespace, label selector and field selector together.

        Raises:
            ApiError: 400, a selector cannot be parsed.
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
        """Parse the options of a write.

        Raises:
            ApiError: 422, the value of an option is not supported.
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
    """Return True if the client's first acceptable JSON type is a Table."""
    for item in accept.split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        if media_type == "application/json":
            return "as=Table" in parameters
    return False


def check_no_browser(headers: Mapping[str, str]) -> None:
    """Reject requests of web pages: a job that a page creates would run with the user's rights.

    A browser lets any page send a POST to loopback, with the page in the header `Origin`. A page
    whose host name resolves to loopback (DNS rebinding) sends that name in `Host`. Kubernetes
    clients do neither.

    Args:
        headers: the headers of the request, by lower-case name.

    Raises:
        ApiError: 403, the request comes from a web page.
    """
    host = headers.get("host", "").lower()
    name = host.rpartition("]")[0].lstrip("[") if "]" in host else host.partition(":")[0]
    if "origin" not in headers and (name in ("", "localhost") or _is_address(name)):
        return
    raise errors.ApiError(
        403,
        "Forbidden",
        "the sandbox rejects requests of web pages: use a Kubernetes client and its IP address",
    )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def check_acceptable(accept: str) -> None:
    """Check that the client accepts JSON.

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
