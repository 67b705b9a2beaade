"""Settings of the record service; the only module that reads its environment variables.

Each setting is a variable `TRAININGJOB_RECORDS_<NAME>`. The operator's are
`TRAININGJOB_<GROUP>__<NAME>`, with two underscores, so both programs can share one environment.
"""

import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from trainingjob_records.errors import SettingsError
from trainingjob_records.quantities import SizeLimit, parse_age, parse_size
from trainingjob_web.env_settings import explain, names_of, values_of
from trainingjob_web.listener import is_loopback

PREFIX: Final = "TRAININGJOB_RECORDS_"

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    address: str = Field(default="127.0.0.1:8090", pattern=r"^.*:\d{1,5}$")
    """`host:port` to serve on. Without a host: every address. Port 0: any free port."""

    database: str = Field(default="sqlite:///trainingjob-records.db", repr=False)
    """`sqlite:///PATH` (relative; four slashes for an absolute path) or
    `postgresql://USER:PASSWORD@HOST/NAME`, with libpq's own parameters after a `?`."""

    token_file: Path | None = None
    """A file of accepted bearer tokens, one a line; reloaded when it changes."""

    read_token_file: Path | None = None
    """A file of bearer tokens that may only read records. It requires `token_file`."""

    anonymous: bool = False
    """Serve other machines without a token. Only for use behind a proxy that authenticates."""

    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """Maximum bytes of a record; a larger one is refused with 413. etcd accepts no object of more
    than 1.5 MiB, so no record of the operator is larger."""

    queue_records: int = Field(default=256, ge=1, le=10_000)
    """Maximum number of records that wait for their commit; further ones are refused with 503."""

    queue_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024)
    """Maximum bytes that wait for their commit; further records are refused with 503."""

    batch_records: int = Field(default=64, ge=1, le=500)
    """Maximum number of records in one commit."""

    commit_timeout: float = Field(default=8.0, ge=0.1, le=60)
    """Seconds after which a request whose record is not committed is refused with 503."""

    pool_size: int = Field(default=5, ge=1, le=50)
    """Database connections for readers; the writer has a connection of its own."""

    max_connections: int = Field(default=256, ge=8, le=10_000)
    """Maximum number of open HTTP connections; at the limit, one is closed for each new one."""

    retention_age: str = "400d"
    """How long a record is kept after it was completed and received: `400d`, `12h`, or seconds; 0:
    for ever."""

    retention_size: str = "80%"
    """Size limit of the records, above which the oldest are removed: a share of the volume of
    SQLite's file (PostgreSQL: no limit), or bytes like `20Gi`; 0: no limit."""

    retention_interval: float = Field(default=3600.0, ge=1, le=86400)
    """Seconds between two removals by age. Each removes at most 0.2 % of the records, or 50."""

    log_format: Literal["json", "console"] | None = None
    """`json`: one JSON object a line; `console`: for people. Unset: console on a terminal, else json."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""

    @property
    def host(self) -> str:
        """The host of `address`, without the brackets of an IPv6 address."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port of `address`."""
        return int(self.address.rpartition(":")[2])

    @property
    def url(self) -> URL:
        """The database URL for SQLAlchemy. Its string form masks the password."""
        url = make_url(self.database)
        return url.set(drivername=_DRIVERS[url.drivername])

    @property
    def age_limit(self) -> timedelta:
        """`retention_age`, parsed; 0: for ever."""
        return parse_age(self.retention_age)

    @property
    def size_limit(self) -> SizeLimit:
        """`retention_size`, parsed."""
        return parse_size(self.retention_size)

    @field_validator("retention_age")
    @classmethod
    def _check_age(cls, text: str) -> str:
        parse_age(text)
        return text

    @field_validator("retention_size")
    @classmethod
    def _check_size(cls, text: str) -> str:
        parse_size(text)
        return text

    @model_validator(mode="after")
    def _check_database(self) -> Self:
        try:
            url = make_url(self.database)
        except (ArgumentError, ValueError):
            url = None
        if url is None or url.drivername not in _DRIVERS:
            raise ValueError("database must begin with sqlite:/// or postgresql://")
        if url.drivername == "sqlite" and (not url.database or url.database == ":memory:"):
            raise ValueError("database must name a file: records in memory would be lost")
        return self

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.token_file is None and not self.anonymous and not is_loopback(self.host):
            raise ValueError(
                f"{self.address} can be reached by other machines: name a token file in "
                f"{PREFIX}TOKEN_FILE, or set {PREFIX}ANONYMOUS=true"
            )
        if self.read_token_file is not None and self.token_file is None:
            raise ValueError(
                f"{PREFIX}READ_TOKEN_FILE requires {PREFIX}TOKEN_FILE: without it, no token is "
                "required at all"
            )
        return self

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **overrides: str | None
    ) -> Self:
        """Read the settings from the environment; `overrides` take precedence.

        Raises:
            SettingsError: a variable is unknown or invalid; the message names it and its valid
                values.
        """
        variables = os.environ if environment is None else environment
        try:
            values = values_of(variables, PREFIX, cls.model_fields)
            values |= {name: value for name, value in overrides.items() if value is not None}
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(explain(error, PREFIX)) from error
        except ValueError as error:
            raise SettingsError(str(error)) from error


def variable_names() -> Iterable[str]:
    """Return the names of all environment variables of the record service."""
    return names_of(PREFIX, Settings.model_fields)
