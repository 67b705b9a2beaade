"""Formats the report of a sweep or of a dry run, as text or as JSON."""

import json
import sys
from dataclasses import dataclass, field
from typing import Any, Final

from trainingjob_operator.volume.layout import Entry, printable
from trainingjob_operator.volume.sweep.entry_verdict import Verdict
from trainingjob_operator.volume.sweep.rules import VolumeReport

MAX_LINES: Final = 10_000
"""Maximum number of entries that are listed; further ones are only in the totals."""

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024


@dataclass(slots=True)
class Listing:
    """The result of a dry run: entries to remove, their totals, and the number of kept ones."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    entries: int = 0
    files: int = 0
    directories: int = 0
    bytes: int = 0
    kept: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry, verdict: Verdict) -> None:
        """Add a verdict."""
        if not verdict.is_removal or verdict.tree is None:
            self.kept[verdict.reason] = self.kept.get(verdict.reason, 0) + 1
            return
        tree = verdict.tree
        self.entries += 1
        self.files += tree.files
        self.directories += tree.directories
        self.bytes += tree.bytes
        if len(self.lines) < MAX_LINES:
            self.lines.append(
                {
                    "path": printable(entry.path),
                    "reason": str(verdict.reason),
                    "files": tree.files,
                    "directories": tree.directories,
                    "bytes": tree.bytes,
                }
            )


def print_json(report: VolumeReport, listing: Listing | None) -> None:
    """Print the report as a JSON object; in a dry run, with the listing."""
    sys.stdout.write(json.dumps(report_document(report, listing), indent=2) + "\n")


def report_document(report: VolumeReport, listing: Listing | None) -> dict[str, Any]:
    """Return the report as a JSON object; in a dry run, with the listing."""
    document: dict[str, Any] = {
        "volumeId": report.volume_id,
        "healthy": report.healthy,
        "reason": report.reason,
        "message": report.message,
        "dryRun": listing is not None,
        "filesRemoved": report.files_removed,
        "directoriesRemoved": report.directories_removed,
        "bytesFreed": report.bytes_freed,
        "errors": report.errors,
        "skipped": dict(report.skipped),
    }
    if listing is not None:
        document["skipped"] = listing.kept
        document["wouldRemove"] = {
            "entries": listing.entries,
            "files": listing.files,
            "directories": listing.directories,
            "bytes": listing.bytes,
            "list": listing.lines,
        }
    return document


def print_summary(report: VolumeReport, listing: Listing | None) -> None:
    """Print the report as text; in a dry run, with a table of the entries to remove."""
    if listing is None:
        sys.stdout.write(
            f"removed {_many(report.files_removed, 'file')} and "
            f"{_many(report.directories_removed, 'directory')}, freed {size(report.bytes_freed)}"
            f"{_kept(dict(report.skipped))}\n"
        )
        return
    if listing.lines:
        sys.stdout.write(f"{'REASON':<10} {'FILES':>9} {'SIZE':>10}  ENTRY\n")
    for line in listing.lines:
        sys.stdout.write(
            f"{line['reason']:<10} {line['files']:>9} {size(line['bytes']):>10}  {line['path']}\n"
        )
    if listing.entries > len(listing.lines):
        sys.stdout.write(f"... and {listing.entries - len(listing.lines)} more\n")
    sys.stdout.write(
        f"would remove {_many(listing.files, 'file')} and "
        f"{_many(listing.directories, 'directory')}, and free {size(listing.bytes)}"
        f"{_kept(listing.kept)}\n"
    )


def _kept(skipped: dict[str, int]) -> str:
    if not skipped:
        return ""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return f"; kept {reasons}"


def _many(count: int, word: str) -> str:
    if count == 1:
        return f"1 {word}"
    return f"{count} {word[:-1]}ies" if word.endswith("y") else f"{count} {word}s"


def size(bytes_: int) -> str:
    """Return a number of bytes with a binary unit, as `1.5 GiB`."""
    value = float(bytes_)
    for unit in _UNITS[:-1]:
        if value < _STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return f"{value:.1f} {_UNITS[-1]}"
