"""The operator's settings, read from environment variables and a YAML file.

Only this module reads the environment. Each setting is a variable `TRAININGJOB_<GROUP>__<NAME>`, or
a key of the YAML file that `TRAININGJOB_CONFIG` names; a variable takes precedence. Durations are
seconds or `90s`, `15m`, `24h`, `7d`.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainingjob_api.constants import MAX_NODES
from trainingjob_api.errors import SettingsError
from trainingjob_operator.core.decision import DecisionSettings
from trainingjob_operator.core.gitops import ARGO_CD_LABEL
from trainingjob_operator.core.lease import LeaseTimes
from trainingjob_operator.setting_types import (
    LABEL_PATTERN,
    LEASE_PATTERN,
    NAMESPACE_PATTERN,
    Address,
    Bytes,
    Names,
    Namespaces,
    OptionalAddress,
    Seconds,
)

PREFIX: Final = "TRAININGJOB_"
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
CLEANUP_VARIABLE: Final = "PERIODIC_CLEANUP_INTERVAL"
"""An alias of the variable below, which takes precedence if both are set."""

INTERVAL_VARIABLE: Final = f"{PREFIX}GC__INTERVAL"
_TRIES: Final = 3
"""The fewest tries to renew the Lease before the deadline."""
_NESTED: Final = "__"


class _Group(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )


class KubernetesSettings(_Group):
    """Calls of the API server."""

    timeout: Seconds = Field(default=15.0, ge=1, le=300)
    """Total timeout of one call, in seconds."""


class LeaderElectionSettings(_Group):
    """Leader election: only the operator that holds the Lease is active."""

    enabled: bool = False
    """Be active only while this process holds the Lease. Off: there must be no second operator."""

    lease_name: str = Field(default="trainingjob-operator", pattern=LEASE_PATTERN)
    """Name of the Lease, in the operator's own namespace."""

    lease_duration: Seconds = Field(default=15.0, ge=3, le=3600)
    """Seconds after the last renewal of the Lease until another operator may take it."""

    renew_deadline: Seconds = Field(default=10.0, ge=2, le=3600)
    """Seconds after which an operator that cannot renew the Lease exits. Less than
    `lease_duration`."""

    retry_period: Seconds = Field(default=2.0, ge=0.5, le=600)
    """Seconds between two tries to acquire or renew the Lease. At most a third of
    `renew_deadline`."""

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
    """Reconciliation of jobs."""

    workers: int = Field(default=32, ge=1, le=64)
    """Jobs reconciled at once. Workers mostly wait for the API server, so fewer of them are slower
    while it is busy."""

    resync_interval: Seconds = Field(default=300.0, ge=1, le=86400)
    """Seconds between two complete comparisons of the index with the cluster (resync)."""

    accelerators: Names = ()
    """Resources that count as accelerators, in addition to names that end in `/gpu`; comma list."""


class RestartSettings(_Group):
    """Back-off of job restarts."""

    backoff: Seconds = Field(default=1.0, ge=0, le=3600)
    """Seconds before the first restart; doubles with each further restart or disruption."""

    backoff_cap: Seconds = Field(default=60.0, ge=0, le=86400)
    """The longest wait before a restart, in seconds."""

    partial_hold: Seconds = Field(default=60.0, ge=0, le=86400)
    """Seconds for which a gang keeps its pods, at least, while the API server refuses the others.
    Then its pods are deleted, and it starts again later, which does not count as a restart. 0: it
    keeps them for ever."""


class IndexSettings(_Group):
    """Limits of the index in memory."""

    max_jobs: int = Field(default=20_000, ge=1, le=1_000_000)
    """Jobs in the index. At the limit, finished jobs and suspended ones without pods are evicted;
    if there are none, new jobs wait, as their status says."""

    max_pods: int = Field(default=100_000, ge=MAX_NODES, le=10_000_000)
    """Pods of all jobs. A job whose ranks would exceed the limit does not start before others end,
    as its status says; existing pods are always followed. At least the size of the largest job."""

    retention: Seconds = Field(default=3600.0, ge=0, le=31_536_000)
    """Seconds for which a finished job, or a suspended one without pods, stays in the index."""


class MemorySettings(_Group):
    """Memory pressure: above a watermark the index evicts jobs sooner; nothing else changes."""

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
    """The record endpoint, as `https://host/path`; a job's uid is appended. Empty: no records. User,
    password and query are not allowed: put the token into `token_file`."""

    token_file: Path | None = None
    """File with the bearer token; read again for every write."""

    ca_file: Path | None = None
    """File with the CA certificates to trust instead of the system's."""

    timeout: Seconds = Field(default=10.0, ge=0.1, le=300)
    """Total timeout of one write, in seconds."""

    concurrency: int = Field(default=8, ge=1, le=64)
    """The most writes in flight."""

    retry_cache_size: int = Field(default=1000, ge=1, le=100_000)
    """The most waiting keys in memory; further jobs wait in the cluster alone."""

    deadline: Seconds = Field(default=86_400.0, ge=0, le=31_536_000)
    """Seconds for which a job that its user deleted waits for its record to be stored."""


class VolumeSettings(_Group):
    """The log volume, and the sweep of its old files."""

    root: str = Field(default="", pattern=r"^(/.*[^/])?$")
    """Path where the volume is mounted, absolute. Empty: there is no volume."""

    max_age: Seconds = Field(default=604_800.0, ge=1, le=3_153_600_000)
    """Seconds without a change after which files that no job owns are removed."""

    quota: Bytes = Field(default=0, ge=0, le=1 << 62)
    """Bytes for files that no job owns. Above this the oldest are removed before `max_age`, archived
    logs and data sets before results, until a tenth less is used. 0: no limit."""

    sweep_share: float = Field(default=20.0, ge=0, le=100)
    """Percentage of all entries that one sweep may remove."""

    sweep_entries: int = Field(default=200, ge=1, le=1_000_000)
    """Entries that one sweep may remove even if they exceed `sweep_share`."""

    sweep_time: Seconds = Field(default=120.0, ge=1, le=86_400)
    """Seconds after which a sweep leaves the rest to the next one."""

    processes: int = Field(default=2, ge=0, le=16)
    """The most processes that delete files while the sweep continues; 0: the sweep deletes them."""


class GcSettings(_Group):
    """Retention of finished jobs, unless a RetentionPolicy or the job sets another one."""

    interval: Seconds = Field(default=600.0, ge=1, le=86_400)
    """Seconds between two runs of the retention. PERIODIC_CLEANUP_INTERVAL is an alias."""

    ttl: Seconds = Field(default=3600.0, ge=0, le=2_147_483_647)
    """Seconds for which a finished job is kept once its record is stored; 0: it is deleted at once."""

    argocd_label: str = Field(default=ARGO_CD_LABEL, max_length=317, pattern=LABEL_PATTERN)
    """The label by which Argo CD recognises its objects (its `application.instanceLabelKey`). Argo CD
    would create such a job again after its deletion. Empty: no label marks a job as Argo CD's."""


class WebSettings(_Group):
    """The server of `/healthz`, `/readyz` and `/metrics`."""

    address: Address = "0.0.0.0:8080"
    """`host:port`, as in `[::]:8080`; no host: all addresses; port 0: a free port."""


class MetricsSettings(_Group):
    """`/metrics` over TLS, for callers that the API server authorizes."""

    secure_address: OptionalAddress = ""
    """`host:port` of `/metrics` with TLS; the server of the probes then no longer serves it. Callers
    send a token of the cluster, and need the right to `get` the URL `/metrics`. Empty: off."""

    certificate_dir: str = ""
    """Directory with `tls.crt` and `tls.key`, read again when they change."""

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if self.secure_address and not self.certificate_dir:
            raise ValueError("secure_address needs a certificate_dir")
        return self


class LoggingSettings(_Group):
    """The level and format of the log."""

    format: Literal["json", "console"] | None = None
    """`json`: one object on each line; `console`: plain text. Unset: console on a terminal, else
    json."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""


class Settings(_Group):
    """All settings, in the order of the chart's values."""

    namespaces: Namespaces = ()
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
        """Return the operator's own namespace, which contains its Lease and default RetentionPolicy.

        Args:
            connected: the namespace of the connection, used if the settings name none.
        """
        return self.operator_namespace or connected

    @property
    def decision_settings(self) -> DecisionSettings:
        """The subset of settings that `core` needs."""
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
                and the accepted values.
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
    """Return the path in KUBECONFIG; None if it is unset or empty."""
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
    """Set a variable in the document, if it is a setting.

    An unknown name with `__` is an error, since only settings have such names. Other names may come
    from elsewhere: Kubernetes injects TRAININGJOB_..._SERVICE_HOST for a Service of such a name.
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
        raise SettingsError(f"{name} is not a setting of this version{hint}")
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
    """Yield the names of all variables that are settings."""
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
