"""`/api/housekeeping` and `/api/about`: metrics, alerts and sweeps of the operators; versions and limits."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.api.requests import (
    int_parameter,
    json_response,
    reject_unknown_parameters,
)
from trainingjob_console.errors import BadRequestError
from trainingjob_console.jobs.informer import JobInformer
from trainingjob_console.jobs.summary import as_seconds
from trainingjob_console.samples.sample_ring import INTERVAL_S
from trainingjob_console.samples.sampler import Sampler
from trainingjob_console.samples.series import SERIES
from trainingjob_console.version import version

_DAY_S: Final = 24 * 3600
MAX_POINTS: Final = 400
"""Points per series in one answer: a request for more gets a wider step."""

_PREFIX: Final = "trainingjob_console_"
_LIMIT: Final = "_limit"


class HousekeepingApi:
    """Serves totals over all jobs, which require a right of their own; they name no job."""

    def __init__(
        self,
        access: AccessControl,
        informer: JobInformer,
        sampler: Sampler,
        registry: CollectorRegistry,
        clock: Callable[[], datetime],
    ) -> None:
        self._access: Final = access
        self._informer: Final = informer
        self._sampler: Final = sampler
        self._registry: Final = registry
        self._clock: Final = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/api/housekeeping", self.housekeeping, methods=["GET"]),
            Route("/api/about", self.about, methods=["GET"]),
        ]

    async def housekeeping(self, request: Request) -> Response:
        """Return the series, their limits, and the alerts."""
        reject_unknown_parameters(request, ("since", "step"))
        await self._access.check_may_see_metrics(await self._access.authenticate(request))
        now = self._clock().timestamp()
        text = request.query_params.get("since", "")
        since = as_seconds(text) if text else int(now) - 3600
        if since is None:
            raise BadRequestError("since: must be a time like 2026-01-31T12:00:00Z")
        step = int_parameter(request, "step", default=INTERVAL_S, least=INTERVAL_S, most=_DAY_S)
        points = self._sampler.ring.points(since, widened(step, since, now))
        return json_response(
            {
                "series": {
                    name: {"unit": unit, "points": points[name]}
                    for name, (unit, _) in SERIES.items()
                    if any(value is not None for _, value in points[name])
                },
                "limits": self._sampler.limits,
                "alerts": self._sampler.alerts.firing(now),
                "operators": self._sampler.operators,
                "sweeps": self._sampler.sweeps.newest_first,
            }
        )

    async def about(self, request: Request) -> Response:
        """Return versions, the usage of each limit, and current problems."""
        reject_unknown_parameters(request, ())
        sees_all = await self._access.may_see_metrics(await self._access.authenticate(request))
        return json_response(
            {
                "version": version(),
                "operators": self._sampler.operators if sees_all else [],
                "limits": self._limits() if sees_all else [],
                "problems": self._problems() if sees_all else self._delays(),
            }
        )

    def _limits(self) -> list[dict[str, Any]]:
        values = {
            sample.name: sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if not sample.labels
        }
        return [
            {"name": name.removeprefix(_PREFIX), "used": used, "limit": values[name + _LIMIT]}
            for name, used in values.items()
            if name + _LIMIT in values
        ]

    def _delays(self) -> list[dict[str, str]]:
        if not self._informer.error:
            return []
        return [
            {
                "message": "Jobs are not up to date.",
                "todo": "Tell the administrator of the console.",
            }
        ]

    def _problems(self) -> list[dict[str, str]]:
        found = []
        if self._informer.error:
            found.append(
                {
                    "message": f"Jobs are not up to date: {self._informer.error}",
                    "todo": "Check whether the API server answers, and the console's RBAC rights.",
                }
            )
        found += [
            {
                "message": f"The operator at {each['pod']} does not answer.",
                "todo": "Check its pod, and TRAININGJOB_CONSOLE_OPERATOR_METRICS.",
            }
            for each in self._sampler.operators
            if not each["up"]
        ]
        return found


def widened(step: int, since: float, now: float) -> int:
    """Return the step, widened if the period would otherwise have more than about `MAX_POINTS` points.

    Only the past day counts, because samples are kept that long.

    Args:
        step: seconds between two points.
        since: the time of the first point, in seconds since 1970.
        now: the current time, in seconds since 1970.
    """
    span = min(now - since, float(_DAY_S))
    return max(step, math.ceil(span / MAX_POINTS))
