"""Settings: the only reader of the environment.

Each is a variable `TRAININGJOB_<GROUP>__<NAME>`, or a key of the YAML file that
`TRAININGJOB_CONFIG` names; a variable wins over the file. Durations take seconds or `90s`, `15m`,
`24h`, `7d`.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from trainingjob_api.constants import MAX_NODES
from trainingjob_api.errors import SettingsError
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.gitops import ARGO_CD_LABEL
from trainingjob_operator.core.lease import LeaseTimes
from trainingjob_web.env_settings import parse_duration

PREFIX: Final = "TRAININGJOB_"
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
CLEANUP_VARIABLE: Final = "PERIODIC_CLEANUP_INTERVAL"
"""Another name of the variable below, which wins where both are set."""

INTERVAL_VARIABLE: Final = f"{PREFIX}GC__INTERVAL"
LABEL_PATTERN: Final = (
    r"^(([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$"
)
NAMESPACE_PATTERN: Final = r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"
LEASE_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_TRIES: Final = 3
"""Renewals that are tried before the deadline, at least."""
_NESTED: Final = "__"
_MAX_PORT: Final = 65535
_MAX_ECHO: Final = 63
_SIZES: Final = {
    "": 1,
    **{f"{unit}i": 1024**power for power, unit in enumerate("KMGTP", start=1)},
    **{unit: 1000**power for power, unit in enumerate("kMGTP", start=1)},
}


def parse_size(value: object) -> object:
    """Return bytes from `1048576`, `500Gi` or `2T`; other types as they are."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGTP]i|[kMGTP]|)\s*", value)
    if match is None:
        raise ValueError(
            "must be bytes or a number with Ki, Mi, Gi, Ti, Pi, k, M, G, T or P, like 500Gi"
        )
    return int(float(match[1]) * _SIZES[match[2]])


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _check_address(value: str) -> str:
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]*):([0-9]{1,5})", value)
    if match is None or int(match[1]) > _MAX_PORT:
        raise ValueError(f"must be host:port with a port up to {_MAX_PORT}, like 0.0.0.0:8080")
    return value


def _check_optional_address(value: str) -> str:
    return _check_address(value) if value else value


def _check_namespaces(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return whole names, each once: kopf takes patterns, for which no list of jobs would work."""
    for value in values:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value):
            raise ValueError(
                f"{value[:_MAX_ECHO]!r} is no name of a namespace; write whole names with commas "
                "in between, or leave it empty for all"
            )
    return tuple(dict.fromkeys(values))


def whole_namespaces(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of namespaces that a command was given, each once.

    Raises:
        SettingsError: one of them is not the name of a namespace.
    """
    try:
        return _check_namespaces(values)
    except ValueError as error:
        raise SettingsError(str(error)) from None


Seconds = Annotated[float, BeforeValidator(parse_duration)]
Bytes = Annotated[int, BeforeValidator(parse_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]


class _Group(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )


class KubernetesSettings(_Group):
    """Calls of the API server."""

    timeout: Seconds = Field(default=15.0, ge=1, le=300)
    """Total deadline of one call, in seconds."""


class LeaderElectionSettings(_Group):
    """Leader election: of several operators the one that holds a Lease works."""

    enabled: bool = False
    """Work only while this process holds the Lease. Off: there must be no second operator."""

    lease_name: str = Field(default="trainingjob-operator", pattern=LEASE_PATTERN)
    """Name of the Lease, in the operator's own namespace."""

    lease_duration: Seconds = Field(default=15.0, ge=3, le=3600)
    """Seconds after which an operator that does not renew the Lease is replaced."""

    renew_deadline: Seconds = Field(default=10.0, ge=2, le=3600)
    """Seconds after which an operator that cannot renew the Lease ends. Less than
    `lease_duration`."""

    retry_period: Seconds = Field(default=2.0, ge=0.5, le=600)
    """Seconds between two tries to take or renew the Lease. At most a third of `renew_deadline`."""

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.lease_duration <= self.renew_deadline:
            raise ValueError("lease_duration must be greater than renew_deadline")
        if self.lease_duration != int(self.lease_duration):
            raise ValueError("lease_duration must be whole seconds: a Lease has no fractions")
        if self.retry_period * _TRIES > self.renew_deadline:
            raise ValueError("retry_period must be at most a third of renew_deadline")
        return self

    @property
    def times(self) -> LeaseTimes:
        """The times of the election."""
        return LeaseTimes(self.lease_duration, self.renew_deadline, self.retry_period)


class ReconcilerSettings(_Group):
    """Work on jobs."""

    workers: int = Field(default=32, ge=1, le=64)
    """Jobs worked on at once. Most of the time they wait for the API server, and with few requests in
    flight they wait longer while it is busy."""

    resync_interval: Seconds = Field(default=300.0, ge=1, le=86400)
    """Seconds between two complete comparisons of the index with the cluster."""

    accelerators: Names = ()
    """Resources that count as accelerators, in addition to names that end in `/gpu`; comma list."""


class RestartSettings(_Group):
    """Waiting times before a job starts again."""

    backoff: Seconds = Field(default=1.0, ge=0, le=3600)
    """Seconds before the first restart; doubles with each further restart or disruption."""

    backoff_cap: Seconds = Field(default=60.0, ge=0, le=86400)
    """The longest wait before a restart, in seconds."""

    partial_hold: Seconds = Field(default=60.0, ge=0, le=86400)
    """Seconds for which, at least, a gang keeps its pods while the rest of them is rejected. Then it
    gives them back and starts again later, which counts as no restart. 0: it keeps them for ever."""


class IndexSettings(_Group):
    """Limits of the index in memory."""

    max_jobs: int = Field(default=20_000, ge=1, le=1_000_000)
    """Jobs in the index. At the limit finished ones are evicted first, and suspended ones without
    pods; then new jobs wait, visibly."""

    max_pods: int = Field(default=100_000, ge=MAX_NODES, le=10_000_000)
    """Pods of all jobs. A job whose ranks would exceed it waits with its start, visibly; existing
    pods are always followed. At least as many as the largest job has."""

    retention: Seconds = Field(default=3600.0, ge=0, le=31_536_000)
    """Seconds for which a finished job, or a suspended one without pods, stays in the index."""


class MemorySettings(_Group):
    """Memory pressure: the index evicts jobs sooner, and nothing else changes."""

    pressure_percent: float = Field(default=80.0, ge=1, le=100)
    """Pressure begins above this much of the memory limit, or of the node's memory without one."""

    resume_percent: float = Field(default=70.0, ge=0, le=100)
    """Pressure ends below this much. Less than `pressure_percent`."""

    retention: Seconds = Field(default=900.0, ge=0, le=31_536_000)
    """Seconds for which a finished job stays in the index under pressure."""

    @model_validator(mode="after")
    def _check_marks(self) -> Self:
        if self.resume_percent >= self.pressure_percent:
            raise ValueError("resume_percent must be less than pressure_percent")
        return self


class PersistSettings(_Group):
    """The endpoint for the records of finished jobs."""

    url: str = Field(default="", pattern=r"^(https?://[^\s/@?#]+(/[^\s@?#]*)?)?$")
    """The record endpoint, as `https://host/path`; a job's uid is appended. Empty: no records. No
    user, password or query: a token belongs into `token_file`."""

    token_file: Path | None = None
    """File with the bearer token; read anew for every write."""

    ca_file: Path | None = None
    """File with the certificates to trust instead of the machine's own."""

    timeout: Seconds = Field(default=10.0, ge=0.1, le=300)
    """Total deadline of one write, in seconds."""

    concurrency: int = Field(default=8, ge=1, le=64)
    """Writes in flight at most."""

    retry_cache_size: int = Field(default=1000, ge=1, le=100_000)
    """Keys that wait in memory at most; further ones wait in the cluster alone."""

    deadline: Seconds = Field(default=86_400.0, ge=0, le=31_536_000)
    """Seconds for which a job that its user deleted waits for its record to be stored."""


class VolumeSettings(_Group):
    """The log volume, and the sweep of its old files."""

    root: str = Field(default="", pattern=r"^(/.*[^/])?$")
    """The volume's root, an absolute path. Empty: there is no volume."""

    max_age: Seconds = Field(default=604_800.0, ge=1, le=3_153_600_000)
    """Seconds without a change after which files that no job owns are removed."""

    quota: Bytes = Field(default=0, ge=0, le=1 << 62)
    """Bytes for files that no job owns. Above it the oldest are removed before their time, archived
    logs and data sets before results, until a tenth less is used. 0: no limit."""

    sweep_share: float = Field(default=20.0, ge=0, le=100)
    """Of all entries, in percent, that one sweep may remove."""

    sweep_entries: int = Field(default=200, ge=1, le=1_000_000)
    """Entries that one sweep may remove in any case."""

    sweep_time: Seconds = Field(default=120.0, ge=1, le=86_400)
    """Seconds after which a sweep leaves the rest to the next one."""

    processes: int = Field(default=2, ge=0, le=16)
    """Processes at most that delete files while the sweep goes on; 0: it deletes them itself."""


class GcSettings(_Group):
    """Retention of finished jobs, where neither a policy nor the job sets another."""

    interval: Seconds = Field(default=600.0, ge=1, le=86_400)
    """Seconds between two passes of the retention. PERIODIC_CLEANUP_INTERVAL means the same."""

    ttl: Seconds = Field(default=3600.0, ge=0, le=2_147_483_647)
    """Seconds for which a finished job is kept once its record is stored; 0: it is deleted at once."""

    argocd_label: str = Field(default=ARGO_CD_LABEL, max_length=317, pattern=LABEL_PATTERN)
    """The label by which Argo CD recognises its objects, its `application.instanceLabelKey`: it
    creates such a job again when it is deleted. Empty: no label marks a job as Argo CD's."""


class WebSettings(_Group):
    """The server of `/healthz`, `/readyz` and `/metrics`."""

    address: Annotated[str, AfterValidator(_check_address)] = "0.0.0.0:8080"
    """`host:port`, as in `[::]:8080`; without a host every address, port 0: a free one."""


class MetricsSettings(_Group):
    """`/metrics` over TLS, for callers that the API server lets read it."""

    secure_address: Annotated[str, AfterValidator(_check_optional_address)] = ""
    """`host:port` of `/metrics` with TLS, which is then not served beside the probes any more.
    Callers show a token of the cluster, and need the right to `get` the URL `/metrics`. Empty: off."""

    certificate_dir: str = ""
    """Folder with `tls.crt` and `tls.key`, read again when they change."""

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if self.secure_address and not self.certificate_dir:
            raise ValueError("secure_address needs a certificate_dir")
        return self


class LoggingSettings(_Group):
    """The level and format of the log."""

    format: Literal["json", "console"] | None = None
    """`json`: one object a line; `console`: for people. Unset: console on a terminal, else json."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""


class Settings(_Group):
    """All settings, in the order of the chart's values."""

    namespaces: Annotated[Names, AfterValidator(_check_namespaces)] = ()
    """Namespaces to watch, comma list. Empty: all."""

    operator_namespace: str = Field(default="", pattern=NAMESPACE_PATTERN)
    """Namespace of the default RetentionPolicy. Empty: the service account's namespace, else that
    of the kubeconfig's context, else `default`."""

    cluster_name: str = Field(default="default", min_length=1, max_length=253)
    """The name of this cluster in the records."""

    kubernetes: KubernetesSettings = KubernetesSettings()
    leader_election: LeaderElectionSettings = LeaderElectionSettings()
    reconciler: ReconcilerSettings = ReconcilerSettings()
    restart: RestartSettings = RestartSettings()
    index: IndexSettings = IndexSettings()
    memory: MemorySettings = MemorySettings()
    persist: PersistSettings = PersistSettings()
    volume: VolumeSettings = VolumeSettings()
    gc: GcSettings = GcSettings()
    web: WebSettings = WebSettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()

    def own_namespace(self, connected: str) -> str:
        """Return the operator's own namespace, with its Lease and the default RetentionPolicy.

        Args:
            connected: that of the connection, where the settings name none.
        """
        return self.operator_namespace or connected

    @property
    def decision_settings(self) -> DecisionSettings:
        """The settings that decisions need."""
        return DecisionSettings(
            restart_backoff_s=self.restart.backoff,
            restart_backoff_cap_s=self.restart.backoff_cap,
            partial_hold_s=self.restart.partial_hold,
            recording=bool(self.persist.url),
            record_deadline_s=self.persist.deadline,
            archiving=bool(self.volume.root),
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from the environment and the file that it names.

        Raises:
            SettingsError: a variable or key is unknown or has a wrong value; the message names it
                and says what it takes.
        """
        variables = os.environ if environment is None else environment
        document = _read_file(variables.get(CONFIG_VARIABLE))
        if (interval := variables.get(CLEANUP_VARIABLE)) and INTERVAL_VARIABLE not in variables:
            _set_variable(document, INTERVAL_VARIABLE, interval)
        for name, value in variables.items():
            _set_variable(document, name, value)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from error


def kubeconfig_from_environment(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the kubeconfig that KUBECONFIG names, if it names one."""
    variables = os.environ if environment is None else environment
    return variables.get("KUBECONFIG") or None


def _read_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{CONFIG_VARIABLE}: cannot read {path}: {error}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{CONFIG_VARIABLE}: {path} must hold a mapping of settings")
    return document


def _set_variable(document: dict[str, Any], name: str, value: str) -> None:
    """Set one variable in the document, if it is one of ours.

    Names with `__` are ours alone, so an unknown one is an error. Others may have another origin:
    Kubernetes injects TRAININGJOB_..._SERVICE_HOST for a Service of such a name.
    """
    if not name.startswith(PREFIX):
        return
    path = name.removeprefix(PREFIX).lower().split(_NESTED)
    if len(path) == 1:
        if path[0] in _top_level_values():
            document[path[0]] = value
        return
    group = Settings.model_fields.get(path[0])
    model = group.annotation if group is not None else None
    known = isinstance(model, type) and issubclass(model, _Group) and path[1] in model.model_fields
    if len(path) != 2 or not known:  # noqa: PLR2004 - group and name
        near = difflib.get_close_matches(name, list(variable_names()), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"{name} is no setting of this version{hint}")
    section = document.setdefault(path[0], {})
    if not isinstance(section, dict):
        raise SettingsError(f"{CONFIG_VARIABLE}: `{path[0]}` must be a mapping")
    section[path[1]] = value


def _top_level_values() -> set[str]:
    return {
        name
        for name, field in Settings.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, _Group))
    }


def variable_names() -> Iterable[str]:
    """Yield the names of all variables that are understood."""
    yield from (PREFIX + name.upper() for name in _top_level_values())
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Group):
            for inner in field.annotation.model_fields:
                yield f"{PREFIX}{name}{_NESTED}{inner}".upper()


def _explain(error: ValidationError) -> str:
    sentences = []
    for fault in error.errors(include_url=False, include_input=False):
        name = PREFIX + _NESTED.join(str(part) for part in fault["loc"]).upper()
        sentences.append(f"{name}: {fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(sentences)
