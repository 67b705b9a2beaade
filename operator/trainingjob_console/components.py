"""The shared components of the console, and the routes and tasks that a feature adds."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.routing import BaseRoute

from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.jobs.fair_scheduler import FairScheduler
from trainingjob_console.jobs.history import History
from trainingjob_console.jobs.index import JobIndex
from trainingjob_console.jobs.informer import JobInformer
from trainingjob_console.kube.client import Kube
from trainingjob_console.metrics import Metrics
from trainingjob_console.settings import Settings
from trainingjob_console.sockets.limits import Limits


@dataclass(frozen=True, slots=True)
class Components:
    """The components that exist once per process."""

    settings: Settings
    limits: Limits
    kube: Kube
    access: AccessControl
    index: JobIndex
    scheduler: FairScheduler
    informer: JobInformer
    history: History
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Feature:
    """The routes and tasks of a feature.

    Attributes:
        routes: HTTP and WebSocket routes of Starlette.
        tasks: with their names. They run until they are cancelled; the process ends if one ends or fails.
        closers: awaited in order when the process stops, before the tasks are cancelled.
    """

    routes: Sequence[BaseRoute] = ()
    tasks: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = ()
    closers: Sequence[Callable[[], Awaitable[None]]] = field(default=())
