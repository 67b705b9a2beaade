"""The record service's alerts. They need its metrics, which other record endpoints do not have.

The operator's own alert `TrainingJobRecordEndpointDown` fires when records do not arrive, with any endpoint.
"""

from typing import Final

from hack.monitoring.alert import INSTALL, NAMESPACE, Alert, P, counted

R: Final = "trainingjob_records_"
FREE_SHARE: Final = 0.1
"""Share of the space for records below which an alert fires."""

_REMOVED_FOR_ROOM: Final = f'{R}records_removed_total{{limit="size"}}'
_FAILED: Final = f'{R}http_requests_total{{status="500"}}'

RECORD_SERVICE: Final = (
    Alert(
        "TrainingJobRecordServiceAbsent",
        "warning",
        "The record service is no longer scraped",
        "Prometheus had metrics of the record service within the last six hours, and has none now: it "
        "does not run, or cannot be reached. Meanwhile records wait in the cluster.",
        # Only while an operator beside it sends records: an uninstall removes both.
        f"(max by ({INSTALL}) (max_over_time({R}database_up[6h])) "
        f"unless max by ({INSTALL}) ({R}database_up)) "
        f"and on ({NAMESPACE}) max by ({NAMESPACE}) ({P}record_endpoint_down)",
        "10m",
    ),
    Alert(
        "TrainingJobRecordDatabaseDown",
        "critical",
        "The record service cannot reach its database",
        "Every record and every query is answered with 503. Records wait in the cluster. None is lost.",
        f"{R}database_up == 0",
        "5m",
    ),
    Alert(
        "TrainingJobRecordDatabaseFull",
        "critical",
        "The record database is full",
        "There is no space for records: each is answered with 507 and waits in the cluster. None is lost.",
        f"{R}database_full == 1",
        "5m",
    ),
    Alert(
        "TrainingJobRecordDatabaseFilling",
        "warning",
        "The record database is almost full",
        "{{ $value | humanizePercentage }} of the space for records is left. Other files on the same "
        "volume use it, or the limit of the records is above the size of the volume.",
        f"{R}database_free_bytes / ({R}database_used_bytes + {R}database_free_bytes) < {FREE_SHARE}",
        "15m",
    ),
    Alert(
        "TrainingJobRecordsRemovedForRoom",
        "warning",
        "Records are removed early, because of the size limit",
        "{{ $value | humanize }} records were removed within an hour, the oldest first, because all records "
        "together exceeded their size limit.",
        f"sum by ({INSTALL}) ({counted(_REMOVED_FOR_ROOM, '1h')}) > 0",
        "0m",
    ),
    Alert(
        "TrainingJobRecordServiceQueueFull",
        "warning",
        "The queue of the record service is almost full",
        "The queue is {{ $value | humanizePercentage }} full: records wait for the database. At the limit "
        "they are answered with 503, and sent again later.",
        f"{R}queue_records / {R}queue_limit_records > 0.8 or {R}queue_bytes / {R}queue_limit_bytes > 0.8",
        "5m",
    ),
    Alert(
        "TrainingJobRecordServiceFails",
        "warning",
        "The record service answers requests with 500",
        "{{ $value | humanize }} requests within an hour were answered with 500; its log says why.",
        f"sum by ({INSTALL}) ({counted(_FAILED, '1h')}) > 0",
        "0m",
    ),
)
