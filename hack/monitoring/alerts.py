"""The alerts of the operator, and all of them as the chart, their table and the runbooks have them.

`make generate` writes them to the chart as a rule file of Prometheus, which the chart makes a
PrometheusRule of. Every metric named here is one of docs/metrics.md, or one that each target of
Prometheus has (`process_...`).
"""

import re
from typing import Any, Final

import yaml

from hack.monitoring.alert import INSTALL, Alert, P, again_and_again, counted, ratio
from hack.monitoring.record_alerts import RECORD_SERVICE

MEMORY_SHARE: Final = 0.9
"""Of the memory limit, above which an alert fires; the dashboard draws it, too."""

_PROCESS: Final = (
    Alert(
        "TrainingJobOperatorAbsent",
        "critical",
        "No operator of TrainingJobs is scraped",
        "Prometheus has no metrics of any operator: none runs, or none can be reached. Without one "
        "no job starts, restarts or ends, and finished jobs stay.",
        f"absent({P}build_info)",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorNoLeader",
        "critical",
        "Operators run, and none of them works",
        "Every operator waits for the Lease: no job starts, restarts or ends.",
        f"max by ({INSTALL}) ({P}leader) == 0",
        "2m",
    ),
    Alert(
        "TrainingJobOperatorManyLeaders",
        "critical",
        "More than one operator works",
        "{{ $value }} operators say that they hold the Lease. Each write carries the version that it "
        "was decided on, so that no status is overwritten, but their decisions are not one.",
        f"sum by ({INSTALL}) ({P}leader) > 1",
        "2m",
    ),
    Alert(
        "TrainingJobOperatorLeaderFlapping",
        "warning",
        "The operators take the Lease from each other again and again",
        "The Lease was taken {{ $value }} times within an hour. Each change is a gap of seconds, and "
        "a start that lists everything.",
        # A change from 0 to 1: `resets` counts those from 1 to 0.
        f"sum by ({INSTALL}) (changes({P}leader[1h]) - resets({P}leader[1h])) > 2",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorRestarting",
        "warning",
        "An operator starts again and again",
        "The process has started {{ $value }} times within an hour. A container that was killed for "
        "its memory looks like this.",
        f"changes(process_start_time_seconds[1h]) > 3 and ignoring (version) {P}build_info",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorNotReady",
        "critical",
        "An operator is not ready",
        "It has no complete picture of the cluster, or its watches of jobs and pods are not open; "
        "its /readyz says which.",
        f"{P}ready == 0",
        "10m",
    ),
    Alert(
        "TrainingJobOperatorWatchSilent",
        "critical",
        "The leader has opened no watch for an hour",
        "A watch is opened anew every ten minutes at least. Without watches, changes are only seen "
        "by the comparison with complete lists, every few minutes.",
        f"sum by ({INSTALL}) (increase({P}api_requests_total"
        f'{{verb="watch",code="2xx"}}[1h]) and ignoring (verb, code) {P}leader == 1) == 0',
        "15m",
    ),
    Alert(
        "TrainingJobOperatorMemoryHigh",
        "critical",
        "An operator is about to reach its memory limit",
        "It uses {{ $value | humanizePercentage }} of the limit. Above it the kernel kills it; nothing "
        "is lost by that, and it would be killed again.",
        f"{P}memory_used_bytes / {P}memory_limit_bytes > {MEMORY_SHARE}",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorMemoryPressure",
        "warning",
        "Memory has been short for an hour",
        "Finished jobs leave memory early. That is no loss, and there is no reserve for more jobs.",
        f"{P}memory_pressure == 1",
        "1h",
    ),
)

_WORK: Final = (
    Alert(
        "TrainingJobOperatorApiErrors",
        "warning",
        "The API server fails or does not answer",
        "{{ $value | humanizePercentage }} of the operator's requests got an answer 5xx, or none.",
        f'sum by ({INSTALL}) (rate({P}api_requests_total{{code=~"5xx|none"}}[5m])) '
        f"/ sum by ({INSTALL}) (rate({P}api_requests_total[5m])) > 0.05",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorRightsMissing",
        "warning",
        "A namespace cannot be read",
        "{{ $value }} lists are forbidden to the operator's account. Jobs of such a namespace are "
        "not worked on, and no file of the log volume is removed.",
        f"{P}lists_forbidden > 0",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorReconcileErrors",
        "warning",
        "Passes over jobs fail",
        "{{ $value | humanizePercentage }} of the passes over jobs failed, and are made again later.",
        f"sum by ({INSTALL}) (rate({P}reconcile_errors_total[5m])) "
        f"/ sum by ({INSTALL}) (rate({P}reconciles_total[5m])) > 0.1",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorStuck",
        "critical",
        "Jobs wait to be worked on, and none is",
        "{{ $value }} jobs are due, and for ten minutes no pass over any job has ended.",
        f"min_over_time({P}work_queue_depth[10m]) > 0 and increase({P}reconciles_total[10m]) == 0",
        "5m",
    ),
    Alert(
        "TrainingJobOperatorIndexFull",
        "warning",
        "The operator has almost as many live jobs or pods as it may hold",
        "{{ $labels.structure }} is {{ $value | humanizePercentage }} full. At the limit new jobs wait, "
        "as Queued; what runs is not touched.",
        f"{ratio('index|pods')} > 0.9",
        "15m",
    ),
    Alert(
        "TrainingJobOperatorQueueFull",
        "warning",
        "A queue of the operator is almost full",
        "{{ $labels.structure }} is {{ $value | humanizePercentage }} full. What finds no room is found "
        "again by a later comparison with complete lists, except for events, which are dropped.",
        f"{ratio('work_queue|waiting_line|event_queue|log_queue|policies')} > 0.9",
        "10m",
    ),
)

_RECORDS: Final = (
    Alert(
        "TrainingJobRecordEndpointDown",
        "critical",
        "The record endpoint has not answered for 15 minutes",
        "Records of finished jobs wait in the cluster, and these jobs stay. None is lost.",
        f"{P}record_endpoint_down == 1",
        "15m",
    ),
    Alert(
        "TrainingJobRecordsWaiting",
        "warning",
        "Almost as many records wait as the retry cache has keys for",
        "The retry cache is {{ $value | humanizePercentage }} full. Beyond its limit records wait in the "
        "cluster alone, and are found there by lists, which is slower. None is lost.",
        f"{ratio('retry_cache')} > 0.8",
        "15m",
    ),
    Alert(
        "TrainingJobRecordsRejected",
        "critical",
        "The record endpoint refuses records",
        "{{ $value | humanize }} records were refused within an hour. Their jobs stay, and a refused "
        "record is not stored by trying again.",
        f"sum by ({INSTALL}) ({counted(f'{P}records_rejected_total', '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobRecordsAbandoned",
        "critical",
        "Jobs went without a stored record",
        "{{ $value | humanize }} jobs were let go within an hour without a stored record: the log of "
        "the operator is all that is left of them.",
        f"sum by ({INSTALL}) ({counted(f'{P}records_abandoned_total', '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobFinishedJobsStuck",
        "warning",
        "Finished jobs cannot go",
        "Jobs whose time is over have stayed for two hours or more, with the reason {{ $labels.reason }}: their "
        "logs are not archived, or their records not stored or not released.",
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
        "The housekeeping does not get through",
        "The last sweep of {{ $labels.sweep }} without an error ended {{ $value | humanizeDuration }} "
        "ago: what should go stays.",
        f"time() - {P}gc_last_success_timestamp_seconds > ignoring (sweep) group_left () "
        f"(900 + 4 * {P}gc_interval_seconds) and ignoring (sweep) {P}leader == 1",
        "15m",
    ),
    Alert(
        "TrainingJobHousekeepingHeld",
        "warning",
        "Nothing was removed for a while, because time went wrong",
        "{{ $labels.cause }}: the clock of the node was set by more than an hour, or the process stood "
        "still for more than a minute. Nothing is removed for one interval of the housekeeping.",
        f"sum by ({INSTALL}, cause) ({counted(f'{P}gc_holds_total', '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobDeletionsRefused",
        "warning",
        "Finished jobs cannot be deleted",
        "{{ $value | humanize }} tries to delete a finished job came to nothing, and they go on "
        "doing so.",
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
        "{{ $value | humanizePercentage }} of the log volume is free: logs are cut or missing, and "
        "trainers cannot write their results.",
        f"{P}volume_free_bytes / {P}volume_size_bytes < 0.02",
        "0m",
    ),
    Alert(
        "TrainingJobLogVolumeLeftAlone",
        "warning",
        "The log volume is not swept",
        "For two hours or more no file could be removed, with the reason {{ $labels.reason }}: it is not known "
        "which jobs live, or whose the volume is.",
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
"""By the name of their group."""

ALERTS: Final = tuple(alert for group in GROUPS.values() for alert in group)


def rule_file() -> str:
    """Return the alerts as a rule file of Prometheus."""
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
    """Return docs/metrics.md with its table of alerts made anew."""
    rows = [
        f"| [{alert.name}](runbooks/{alert.name}.md) | {alert.severity} | {alert.summary} |\n"
        for alert in ALERTS
    ]
    head = "| alert | severity | fires when |\n|---|---|---|\n"
    return _TABLE.sub(lambda found: found[1] + head + "".join(rows) + found[2], text)
