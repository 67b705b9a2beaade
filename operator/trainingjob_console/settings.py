"""Settings of the console: the only reader of its environment.

Each is a variable `TRAININGJOB_CONSOLE_<NAME>`.
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


def _listed(value: Any) -> Any:
    return (
        [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value
    )


Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A list, written with commas."""

Seconds = Annotated[float, BeforeValidator(parse_duration)]


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    address: str = Field(default="127.0.0.1:8070", pattern=r"^.*:\d{1,5}$")
    """`host:port` to serve on; without a host every address, port 0: a free one."""

    tls_cert: Path | None = None
    """A file with the certificate to serve with, and those that lead to its authority. Read anew when
    it changes. Unset: plain HTTP."""

    tls_key: Path | None = None
    """The file with its key."""

    metrics_address: str | None = Field(default=None, pattern=r"^.*:\d{1,5}$")
    """`host:port` for /metrics and the probes alone, which need no log-in. Unset: no metrics."""

    auth: Literal["token", "none"] = "token"
    """`token`: each user logs in with a Kubernetes token and sees what it may see. `none`: without a
    log-in and with the console's own rights; on a loopback address only."""

    origins: Listed = ()
    """Origins besides its own that a proxy shows to browsers, such as https://jobs.example.com."""

    kubeconfig: Path | None = None
    """The kubeconfig of the console's own account. Unset: KUBECONFIG, else the pod's account."""

    namespaces: Listed = ()
    """Namespaces whose jobs are watched. Unset: all."""

    max_jobs: int = Field(default=20_000, ge=10, le=200_000)
    """Jobs kept in memory; beyond it those that finished longest ago are found in the history only."""

    cluster_name: str = Field(default="default", min_length=1, max_length=253)
    """The name of this cluster in the records: the same as the operator's TRAININGJOB_CLUSTER_NAME.
    Records of other clusters are not shown."""

    records_url: str | None = None
    """The record service's list, such as http://records:8090/api/v1/jobs. Unset: no history."""

    records_token_file: Path | None = None
    """A file with the token for the record service; its first line counts."""

    log_volume: Path | None = None
    """The root of the log volume, mounted read-only. Unset: logs of pods that are gone are not shown."""

    log_max_age: Seconds = Field(default=604_800.0, ge=1, le=3_153_600_000)
    """After so long without a change the operator removes a job's files from the log volume, once the
    job is gone: the same as the operator's TRAININGJOB_VOLUME__MAX_AGE. With s, m, h or d."""

    operator_metrics: Listed = ()
    """Addresses of the operators' /metrics, such as http://10.0.0.1:8080/metrics; of a name, as that of a
    headless Service, all addresses are asked. Unset: no housekeeping."""

    operator_metrics_certificate: Path | None = None
    """A file with the certificate of operators whose /metrics ask for a right, over https: the console's own
    account shows its token to servers with this certificate, and to no others. It is read anew when it
    changes. Unset: no token is shown."""

    max_connections: int = Field(default=512, ge=16, le=10_000)
    """Open HTTP connections; at the limit one is closed for each that comes."""

    log_format: Literal["json", "console"] | None = None
    """`json`: one object a line; `console`: for people. Unset: console on a terminal, else json."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""

    @property
    def is_on_loopback(self) -> bool:
        """True if only this machine can reach it."""
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
            raise ValueError(f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY need each other")
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
                f"{PREFIX}AUTH=none lets in whoever reaches {self.address}: it is for a loopback "
                "address only"
            )
        return self

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **overrides: str | None
    ) -> Self:
        """Read the settings from the environment; those given here win over it.

        Raises:
            SettingsError: a variable is unknown or has a wrong value; the message names it and
                says what it takes.
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
    """Refuse what would be shown on the page, and in messages."""
    if "@" in urlsplit(url).netloc:
        raise ValueError("must name no user and no password before the host")


def host_and_port(address: str) -> tuple[str, int]:
    """Split `host:port`; the host is without the brackets of an IPv6 address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def variable_names() -> Iterable[str]:
    """Return the names of all variables that are understood."""
    return names_of(PREFIX, Settings.model_fields)
