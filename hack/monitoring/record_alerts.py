"""The alerts of the record service. An endpoint of another kind has none of its metrics, and none of these.

That records do not arrive, for whatever reason, is seen by the operator: `TrainingJobRecordEndpointDown`.
"""

from typing import Final

from hack.monitoring.alert import INSTALL, NAMESPACE, Alert, P, counted

R: Final = "trainingjob_records_"
FREE_SHARE: Final = 0.1
"""Of the room for records, below which an alert fires."""

_REMOVED_FOR_ROOM: Final = f'{R}records_removed_total{{limit="size"}}'
_FAILED: Final = f'{R}http_requests_total{{status="500"}}'

RECORD_SERVICE: Final = (
    Alert(
        "TrainingJobRecordServiceAbsent",
        "warning",
        "The record service is no longer scraped",
        "Prometheus had metrics of the record service within the last six hours, and has none now: it "
        "does not run, or cannot be reached. Records wait in the cluster meanwhile.",
        # Only as long as an operator beside it sends records: an uninstall takes both away.
        f"(max by ({INSTALL}) (max_over_time({R}database_up[6h])) "
        f"unless max by ({INSTALL}) ({R}database_up)) "
        f"and on ({NAMESPACE}) max by ({NAMESPACE}) ({P}record_endpoint_down)",
        "10m",
    ),
    Alert(
        "TrainingJobRecordDatabaseDown",
        "critical",
        "The record service does not reach its database",
        "Every record and every query is answered with 503. Records wait in the cluster. None is lost.",
        f"{R}database_up == 0",
        "5m",
    ),
    Alert(
        "TrainingJobRecordDatabaseFull",
        "critical",
        "The database of the records is full",
        "There is no room for a record: each is answered with 507, and waits in the cluster. None is lost.",
        f"{R}database_full == 1",
        "5m",
    ),
    Alert(
        "TrainingJobRecordDatabaseFilling",
        "warning",
        "The database of the records is almost full",
        "{{ $value | humanizePercentage }} of the room for records is left. Other files on the same "
        "volume take it, or the limit of the records is above what the volume has.",
        f"{R}database_free_bytes / ({R}database_used_bytes + {R}database_free_bytes) < {FREE_SHARE}",
        "15m",
    ),
    Alert(
        "TrainingJobRecordsRemovedForRoom",
        "warning",
        "Records are removed before their time, to make room",
        "{{ $value | humanize }} records were removed within an hour, the oldest first, because all of them "
        "were larger than their limit.",
        f"sum by ({INSTALL}) ({counted(_REMOVED_FOR_ROOM, '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobRecordServiceQueueFull",
        "warning",
        "Records wait for the database longer than they should",
        "The queue of the record service is {{ $value | humanizePercentage }} full. At the limit records "
        "are answered with 503, and are sent again later.",
        f"{R}queue_records / {R}queue_limit_records > 0.8 or {R}queue_bytes / {R}queue_limit_bytes > 0.8",
        "5m",
    ),
    Alert(
        "TrainingJobRecordServiceFails",
        "warning",
        "The record service fails at requests",
        "{{ $value | humanize }} requests within an hour were answered with 500: its log says why.",
        f"sum by ({INSTALL}) ({counted(_FAILED, '1h')}) > 0",
        "0m",
    ),
)
