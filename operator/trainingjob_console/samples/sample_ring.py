"""A ring buffer with a day of samples; a new sample evicts the oldest."""

from array import array
from collections import deque
from collections.abc import Mapping
from math import isnan, nan
from typing import Final

from trainingjob_console.samples.series import SERIES

INTERVAL_S: Final = 15
MAX_SAMPLES: Final = 24 * 3600 // INTERVAL_S


class SampleRing:
    """At most 5,760 samples of twelve numbers, in half a megabyte."""

    def __init__(self, limit: int = MAX_SAMPLES) -> None:
        self.limit: Final = limit
        self._samples: Final[deque[tuple[float, array[float]]]] = deque(maxlen=limit)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, now: float, values: Mapping[str, float | None]) -> None:
        """Add a sample.

        Args:
            now: seconds since 1970.
            values: by series; None: no value.
        """
        found = (values.get(name) for name in SERIES)
        self._samples.append((now, array("d", [nan if v is None else v for v in found])))

    def points(self, since: float, step: float) -> dict[str, list[list[float | None]]]:
        """Return the points of each series: the last sample of each step.

        Args:
            since: seconds since 1970.
            step: seconds between two points.
        """
        kept: dict[int, tuple[float, array[float]]] = {}
        for at, values in self._samples:
            if at >= since:
                kept[int(at // step)] = (at, values)
        return {
            name: [[at, None if isnan(values[n]) else values[n]] for at, values in kept.values()]
            for n, name in enumerate(SERIES)
        }
