"""The operator's alerts, and the rule file and the table in docs/metrics.md that are generated from all alerts.

`make generate` writes all alerts to the chart as a Prometheus rule file, from which the chart
creates a PrometheusRule. Every metric named here is documented in docs/metrics.md, or is one that
every Prometheus target has (`process_...`).
"""

import re
from typing import Any, Final

import yaml

from hack.monitoring.alert import INSTALL, Alert, P, again_and_again, counted, ratio
from hack.monitoring.record_alerts import RECORD_SERVICE

MEMORY_SHARE: Final = 0.9
"""Share of the memory limit above which an alert fires; the dashboard shows it, too."""

_PROCESS: Final = (
    Alert(
        "TrainingJobOperatorAbsent",
        "critical",
        "Prometheus has no metrics of the operator",
        "Prometheus has no metrics of any operator: none runs, or Prometheus cannot reach it. Without an "
        "operator no job starts, restarts or finishes, and finished jobs are not deleted.",
        f"absent({P}build_info)",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorNoLeader",
        "critical",
        "Operators run, and none of them is the leader",
        "Every operator waits for the Lease: no job starts, restarts or finishes.",
        f"max by ({INSTALL}) ({P}leader) == 0",
        "2m",
    ),
    Alert(
        "TrainingJobOperatorManyLeaders",
        "critical",
        "More than one operator is the leader",
        "{{ $value }} operators report that they are the leader. Each write has the resourceVersion as "
        "precondition, so none overwrites the other's status, but their decisions may conflict.",
        f"sum by ({INSTALL}) ({P}leader) > 1",
        "2m",
    ),
    Alert(
        "TrainingJobOperatorLeaderFlapping",
        "warning",
        "The leader changes again and again",
        "The Lease was acquired {{ $value }} times within an hour. Each change is a gap of seconds, and "
        "a start that lists all objects.",
        # A change from 0 to 1: `resets` counts those from 1 to 0.
        f"sum by ({INSTALL}) (changes({P}leader[1h]) - resets({P}leader[1h])) > 2",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorRestarting",
        "warning",
        "An operator restarts again and again",
        "The process has started {{ $value }} times within an hour. An OOMKilled container is a common "
        "cause.",
        f"changes(process_start_time_seconds[1h]) > 3 and ignoring (version) {P}build_info",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorNotReady",
        "critical",
        "An operator is not ready",
        "It has not listed all jobs and pods, or its watches are not open; its /readyz says which.",
        f"{P}ready == 0",
        "10m",
    ),
    Alert(
        "TrainingJobOperatorWatchSilent",
        "critical",
        "The leader has opened no watch for an hour",
        "A watch is opened again every ten minutes at least. Without watches, only the resync sees "
        "changes, every few minutes.",
        f"sum by ({INSTALL}) (increase({P}api_requests_total"
        f'{{verb="watch",code="2xx"}}[1h]) and ignoring (verb, code) {P}leader == 1) == 0',
        "15m",
    ),
    Alert(
        "TrainingJobOperatorMemoryHigh",
        "critical",
        "An operator is about to reach its memory limit",
        "It uses {{ $value | humanizePercentage }} of the limit. At the limit the kernel kills the "
        "process. Nothing is lost by that, but the next process is likely to be killed, too.",
        f"{P}memory_used_bytes / {P}memory_limit_bytes > {MEMORY_SHARE}",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorMemoryPressure",
        "warning",
        "Memory has been short for an hour",
        "Finished jobs are evicted from memory early. Nothing is lost, but there is no reserve for more "
        "jobs.",
        f"{P}memory_pressure == 1",
        "1h",
    ),
)

_WORK: Final = (
    Alert(
        "TrainingJobOperatorApiErrors",
        "warning",
        "The API server fails or does not answer",
        "{{ $value | humanizePercentage }} of the operator's requests failed with 5xx or got no response.",
        f'sum by ({INSTALL}) (rate({P}api_requests_total{{code=~"5xx|none"}}[5m])) '
        f"/ sum by ({INSTALL}) (rate({P}api_requests_total[5m])) > 0.05",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorRightsMissing",
        "warning",
        "The operator may not list a namespace",
        "{{ $value }} lists are forbidden to the operator's account. Jobs of such a namespace are "
        "not reconciled, and no file of the log volume is removed.",
        f"{P}lists_forbidden > 0",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorReconcileErrors",
        "warning",
        "Passes over jobs fail",
        "{{ $value | humanizePercentage }} of the passes over jobs failed, and are retried later.",
        f"sum by ({INSTALL}) (rate({P}reconcile_errors_total[5m])) "
        f"/ sum by ({INSTALL}) (rate({P}reconciles_total[5m])) > 0.1",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorStuck",
        "critical",
        "Jobs are due, and no pass over a job ends",
        "{{ $value }} jobs are due, but for ten minutes no pass over any job has ended.",
        f"min_over_time({P}work_queue_depth[10m]) > 0 and increase({P}reconciles_total[10m]) == 0",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorIndexFull",
        "warning",
        "The index is close to its limit of jobs, or the pods are close to theirs",
        "{{ $labels.structure }} is {{ $value | humanizePercentage }} full. At the limit finished jobs are "
        "evicted; if there are none, new jobs wait as Queued. Running ones are not affected.",
        f"{ratio('index|pods')} > 0.9",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorQueueFull",
        "warning",
        "A queue of the operator is almost full",
        "{{ $labels.structure }} is {{ $value | humanizePercentage }} full. Jobs and logs that do not fit "
        "are added again later; Events are dropped, and RetentionPolicies are not applied.",
        f"{ratio('work_queue|waiting_line|event_queue|log_queue|policies')} > 0.9",
        "10m",
    ),
)

_RECORDS: Final = (
    Alert(
        "TrainingJobRecordEndpointDown",
        "critical",
        "The record endpoint has not answered for 15 minutes",
        "Records of finished jobs wait in the cluster, and these jobs are not deleted. None is lost.",
        f"{P}record_endpoint_down == 1",
        "15m",
    ),
    Alert(
        "TrainingJobRecordsWaiting",
        "warning",
        "The retry cache of waiting records is almost full",
        "The retry cache is {{ $value | humanizePercentage }} full. Beyond its limit, waiting records are "
        "found again by lists of the cluster, which is slower. None is lost.",
        f"{ratio('retry_cache')} > 0.8",
        "15m",
    ),
    Alert(
        "TrainingJobRecordsRejected",
        "critical",
        "The record endpoint rejects records",
        "{{ $value | humanize }} records were rejected within an hour. Their jobs are not deleted, and "
        "retrying does not help until the cause is fixed.",
        f"sum by ({INSTALL}) ({counted(f'{P}records_rejected_total', '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobRecordsAbandoned",
        "critical",
        "Jobs were released without a stored record",
        "{{ $value | humanize }} jobs were released within an hour without a stored record: only the "
        "operator's log still has their records.",
        f"sum by ({INSTALL}) ({counted(f'{P}records_abandoned_total', '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobFinishedJobsStuck",
        "warning",
        "Finished jobs stay because of their logs or records",
        "Expired jobs have stayed for two hours or more, with the reason {{ $labels.reason }}: their logs "
        "are not archived, their records not stored, or their finalizers not removed.",
        again_and_again(
            f'{P}gc_skipped_total{{sweep="jobs",'
            'reason=~"LogsPending|RecordHeld|RecordPending|RecordRejected"}',
            by=f"{INSTALL}, reason",
            window="1h",
            longest_s=2400,
        ),
        "2h",
    ),
)

_HOUSEKEEPING: Final = (
    Alert(
        "TrainingJobHousekeepingLate",
        "warning",
        "A retention sweep has not succeeded for a long time",
        "The last sweep of {{ $labels.sweep }} without an error ended {{ $value | humanizeDuration }} "
        "ago: expired jobs or old files stay.",
        f"time() - {P}gc_last_success_timestamp_seconds > ignoring (sweep) group_left () "
        f"(900 + 4 * {P}gc_interval_seconds) and ignoring (sweep) {P}leader == 1",
        "15m",
    ),
    Alert(
        "TrainingJobHousekeepingHeld",
        "warning",
        "Retention paused because of a clock change or a stall",
        "{{ $labels.cause }}: the clock of the node was set by more than an hour, or the process stood "
        "still for more than a minute. Nothing is removed for one retention interval.",
        f"sum by ({INSTALL}, cause) ({counted(f'{P}gc_holds_total', '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobDeletionsRefused",
        "warning",
        "Finished jobs cannot be deleted",
        "{{ $value | humanize }} attempts to delete a finished job failed, and they keep failing.",
        again_and_again(f"{P}gc_delete_errors_total", by=INSTALL, window="30m", longest_s=1200),
        "30m",
    ),
    Alert(
        "TrainingJobLogVolumeFilling",
        "warning",
        "The log volume is almost full",
        "{{ $value | humanizePercentage }} of the log volume is free.",
        f"{P}volume_free_bytes / {P}volume_size_bytes < 0.1",
        "15m",
    ),
    Alert(
        "TrainingJobLogVolumeFull",
        "critical",
        "The log volume is full",
        "{{ $value | humanizePercentage }} of the log volume is free: logs are truncated or missing, and "
        "trainers cannot write their results.",
        f"{P}volume_free_bytes / {P}volume_size_bytes < 0.02",
        "0m",
    ),
    Alert(
        "TrainingJobLogVolumeLeftAlone",
        "warning",
        "The log volume is not swept",
        "For two hours or more no file could be removed, with the reason {{ $labels.reason }}: the operator "
        "does not know which jobs exist, or which install owns the volume.",
        again_and_again(
            f'{P}gc_skipped_total{{sweep="volume",'
            'reason=~"IdentityUnknown|JobsUnknown|PolicyUnknown"}',
            by=f"{INSTALL}, reason",
            window="1h",
            longest_s=2400,
        ),
        "2h",
    ),
)

GROUPS: Final[dict[str, tuple[Alert, ...]]] = {
    "trainingjob-operator-process": _PROCESS,
    "trainingjob-operator-work": _WORK,
    "trainingjob-operator-records": _RECORDS,
    "trainingjob-operator-housekeeping": _HOUSEKEEPING,
    "trainingjob-record-service": RECORD_SERVICE,
}
"""The alerts by rule group."""

ALERTS: Final = tuple(alert for group in GROUPS.values() for alert in group)


def rule_file() -> str:
    """Return the alerts as a Prometheus rule file."""
    groups = [
        {"name": name, "rules": [_rule(alert) for alert in alerts]}
        for name, alerts in GROUPS.items()
    ]
    text: str = yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)
    return "# Generated by `make generate` from hack/monitoring. Do not edit.\n" + text


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasting,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }


_TABLE: Final = re.compile(r"(<!-- alerts: begin -->\n).*?(<!-- alerts: end -->)", re.DOTALL)


def page(text: str) -> str:
    """Return docs/metrics.md with a new table of alerts."""
    rows = [
        f"| [{alert.name}](runbooks/{alert.name}.md) | {alert.severity} | {alert.summary} |\n"
        for alert in ALERTS
    ]
    head = "| alert | severity | fires when |\n|---|---|---|\n"
    return _TABLE.sub(lambda found: found[1] + head + "".join(rows) + found[2], text)
