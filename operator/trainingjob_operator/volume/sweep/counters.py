"""Counts what a sweep removes and keeps, and builds its report at the end."""

import errno
from collections import Counter
from typing import Final

from trainingjob_api.constants import REASON_READ_ONLY, REASON_VOLUME_HEALTHY
from trainingjob_api.errors import VolumeError
from trainingjob_operator.volume.errors import to_sweep_error
from trainingjob_operator.volume.sweep.entry_verdict import Verdict
from trainingjob_operator.volume.sweep.rules import DiskSpace, Reason, VolumeReport
from trainingjob_operator.volume.sweep.trash import RemovalCounts

_ERRORS: Final = frozenset({Reason.DENIED, Reason.UNREADABLE, Reason.BUSY, Reason.MOUNT})


class SweepCounters:
    """The counters and the first error of one sweep."""

    def __init__(self, path: str) -> None:
        """Start at zero.

        Args:
            path: the volume's root, for messages.
        """
        self._path: Final = path
        self._skipped: Final[Counter[str]] = Counter()
        self._files = 0
        self._directories = 0
        self._bytes = 0
        self._errors = 0
        self._fault: VolumeError | None = None
        self._room: DiskSpace | None = None

    @property
    def removed(self) -> int:
        """Files and directories removed so far."""
        return self._files + self._directories

    @property
    def bytes_freed(self) -> int:
        """Bytes freed so far."""
        return self._bytes

    def removed_entry(self, tally: RemovalCounts, bytes_: int) -> None:
        """Count a removed entry."""
        self._files += tally.files
        self._directories += tally.directories
        self._bytes += bytes_

    def kept(self, verdict: Verdict) -> None:
        """Count a kept entry by its reason.

        Raises:
            VolumeError: the whole volume is read-only, so the sweep cannot continue.
        """
        self._skipped[verdict.reason] += 1
        self._errors += verdict.reason in _ERRORS
        if verdict.error is not None:
            fault = to_sweep_error(verdict.error, self._path)
            if verdict.error.errno == errno.EROFS:
                raise fault
            if verdict.reason is not Reason.BUSY:
                self.fault(fault)

    def skip(self, reason: Reason) -> None:
        """Count a kept entry by this reason."""
        self._skipped[reason] += 1

    def fault(self, fault: VolumeError, *, errors: int = 0) -> None:
        """Record an error of the volume; only the first one is reported."""
        self._errors += errors
        self._fault = self._fault or fault

    def measured(self, room: DiskSpace | None) -> None:
        """Record the disk space of the volume after the sweep."""
        self._room = room

    def report(self, volume_id: str | None) -> VolumeReport:
        """Return the report with the counts so far."""
        fault = self._fault
        read_only = fault is not None and fault.reason == REASON_READ_ONLY
        return VolumeReport(
            files_removed=self._files,
            directories_removed=self._directories,
            bytes_freed=self._bytes,
            errors=self._errors + read_only,
            skipped=dict(self._skipped),
            healthy=fault is None,
            reason=fault.reason if fault else REASON_VOLUME_HEALTHY,
            message=str(fault) if fault else "",
            volume_id=volume_id,
            room=self._room,
        )
