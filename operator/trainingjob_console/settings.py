"""Settings of the console, read from the environment variables `TRAININGJOB_CONSOLE_<NAME>`.

No other module reads the environment.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from trainingjob_console.errors import SettingsError
from trainingjob_web.env_settings import explain, names_of, parse_duration, values_of
from trainingjob_web.listener import is_loopback

PREFIX: Final = "TRAININGJOB_CONSOLE_"


def _split_list(value: Any) -> Any:
    return (
        [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value
    )


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split_list)]
"""A comma-separated list."""

Seconds = Annotated[float, BeforeValidator(parse_duration)]


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    address: str = Field(default="127.0.0.1:8070", pattern=r"^.*:\d{1,5}$")
    """`host:port` to serve on. No host: all addresses; port 0: a free port."""

    tls_cert: Path | None = None
    """A file with the certificate chain to serve with. Reloaded when it changes. Unset: plain HTTP."""

    tls_key: Path | None = None
    """A file with the private key of the certificate."""

    metrics_address: str | None = Field(default=None, pattern=r"^.*:\d{1,5}$")
    """`host:port` for /metrics and the probes only, without a log-in. Unset: no metrics."""

    auth: Literal["token", "none"] = "token"
    """`token`: each user logs in with a Kubernetes token, and has the rights of that token. `none`: no log-in, and
    the rights of the console's own account; on a loopback address only."""

    origins: CommaSeparated = ()
    """Additional origins under which a proxy serves the console, such as https://jobs.example.com."""

    kubeconfig: Path | None = None
    """The kubeconfig of the console's own account. Unset: KUBECONFIG, else the service account of the pod."""

    namespaces: CommaSeparated = ()
    """Namespaces whose jobs are watched. Unset: all."""

    max_jobs: int = Field(default=20_000, ge=10, le=200_000)
    """Maximum number of jobs in memory. Above it, the jobs that finished longest ago are shown from the history only."""

    cluster_name: str = Field(default="default", min_length=1, max_length=253)
    """The name of this cluster in the records, equal to the operator's TRAININGJOB_CLUSTER_NAME. Records of other
    clusters are not shown."""

    records_url: str | None = None
    """URL of the record service, such as http://records:8090/api/v1/jobs. Unset: no history."""

    records_token_file: Path | None = None
    """A file with the token for the record service, in its first line."""

    log_volume: Path | None = None
    """The root of the log volume, mounted read-only. Unset: logs of deleted pods are not shown."""

    log_max_age: Seconds = Field(default=604_800.0, ge=1, le=3_153_600_000)
    """Time after the last change at which the operator removes the files of a deleted job from the log volume, equal
    to the operator's TRAININGJOB_VOLUME__MAX_AGE. With s, m, h or d."""

    operator_metrics: CommaSeparated = ()
    """URLs of the operators' /metrics, such as http://10.0.0.1:8080/metrics. If a name, such as that of a headless
    Service, has several addresses, all are scraped. Unset: no housekeeping."""

    operator_metrics_certificate: Path | None = None
    """A file with the certificate of operators whose /metrics require authorization, over https. The console sends
    its token only to servers with this certificate. Reloaded when it changes. Unset: no token is sent."""

    max_connections: int = Field(default=512, ge=16, le=10_000)
    """Maximum number of open HTTP connections; at the limit, one is closed for each new one."""

    log_format: Literal["json", "console"] | None = None
    """`json`: one object per line; `console`: readable text. Unset: console on a terminal, else json."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""

    @property
    def is_on_loopback(self) -> bool:
        """True if the console is reachable only from this machine."""
        return is_loopback(host_and_port(self.address)[0])

    @field_validator("records_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url and urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        _check_no_password(url or "")
        return url.rstrip("/") if url else None

    @field_validator("operator_metrics")
    @classmethod
    def _check_metrics(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ValueError("must be like http://10.0.0.1:8080/metrics")
            _check_no_password(url)
        return urls

    @field_validator("origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or parts.path or not parts.hostname:
                raise ValueError("must be like https://jobs.example.com, without a path")
        return tuple(origin.lower() for origin in origins)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError(f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY must be set together")
        return self

    @model_validator(mode="after")
    def _check_metrics_certificate(self) -> Self:
        plain = [url for url in self.operator_metrics if urlsplit(url).scheme != "https"]
        if self.operator_metrics_certificate is not None and plain:
            raise ValueError(
                f"with {PREFIX}OPERATOR_METRICS_CERTIFICATE all addresses in {PREFIX}OPERATOR_METRICS "
                "must begin with https://"
            )
        return self

    @model_validator(mode="after")
    def _check_auth(self) -> Self:
        if self.auth == "none" and not self.is_on_loopback:
            raise ValueError(
                f"{PREFIX}AUTH=none requires a loopback address: everyone who can reach {self.address} would have "
                "the console's rights"
            )
        return self

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **overrides: str | None
    ) -> Self:
        """Read the settings from the environment; `overrides` take precedence.

        Raises:
            SettingsError: a variable is unknown or invalid. The message names it and its valid values.
        """
        variables = os.environ if environment is None else environment
        values: dict[str, str] = {}
        if fallback := variables.get("KUBECONFIG"):
            values["kubeconfig"] = fallback.split(os.pathsep)[0]
        try:
            values |= values_of(variables, PREFIX, cls.model_fields)
            values |= {name: value for name, value in overrides.items() if value is not None}
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(explain(error, PREFIX)) from error
        except ValueError as error:
            raise SettingsError(str(error)) from error


def _check_no_password(url: str) -> None:
    """Reject a URL with credentials, which would be shown on the page and in messages."""
    if "@" in urlsplit(url).netloc:
        raise ValueError("must not have a user or a password before the host")


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host:port`, without the brackets of an IPv6 address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def variable_names() -> Iterable[str]:
    """Return the names of all supported variables."""
    return names_of(PREFIX, Settings.model_fields)
