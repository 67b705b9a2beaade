"""Accepts WebSockets, opens their subscriptions, and releases all of their resources when they close."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from trainingjob_console.access.access_control import AccessControl
from trainingjob_console.access.caller import Caller
from trainingjob_console.errors import (
    UNAUTHORIZED,
    RequestError,
    UnauthorizedError,
    error_response,
)
from trainingjob_console.jobs.fair_scheduler import FairScheduler
from trainingjob_console.sockets import frames
from trainingjob_console.sockets.admission import Admission, FullError
from trainingjob_console.sockets.budget import Budget
from trainingjob_console.sockets.coalescing_queue import CoalescingQueue
from trainingjob_console.sockets.connection import Connection, SocketClosedError
from trainingjob_console.sockets.frames import Subscribe
from trainingjob_console.sockets.job_topics import JobTopics, TopicKey
from trainingjob_console.sockets.limits import (
    PROTOCOL,
    Limits,
)
from trainingjob_console.sockets.log_ring import LogRing, Losses
from trainingjob_console.sockets.protocol import END, ON_CLOSED
from trainingjob_console.sockets.subscriptions import (
    JobsSubscription,
    LogSource,
    LogSubscription,
    SampleSource,
    SampleSubscription,
    Subscription,
)

Ending = asyncio.Future[SocketClosedError]
_logger = logging.getLogger(__name__)


class Hub:
    """All WebSockets of the console.

    Attributes:
        admission: limits and counts open sockets.
        budget: limits the bytes of all queues.
        topics: distributes changes of jobs to subscribers.
        closed: number of closed sockets, by reason.
        losses: counts lines and gaps of logs that were not sent.
    """

    def __init__(
        self,
        *,
        access: AccessControl,
        topics: JobTopics,
        logs: LogSource,
        housekeeping: SampleSource,
        scheduler: FairScheduler,
        limits: Limits | None = None,
    ) -> None:
        """Initialize without sockets.

        Args:
            access: authenticates and authorizes users.
            topics: distributes changes of jobs.
            logs: follows logs.
            housekeeping: sends samples of the operators' metrics.
            scheduler: runs long work in slices.
            limits: of sockets and queues.
        """
        self.limits: Final = limits or Limits()
        self.admission: Final = Admission(self.limits)
        self.budget: Final = Budget(self.limits.queued_bytes)
        self.topics: Final = topics
        self.closed: Final[Counter[str]] = Counter()
        self.losses: Final = Losses()
        self._access: Final = access
        self._logs: Final = logs
        self._scheduler: Final = scheduler
        self._housekeeping: Final = housekeeping
        self._epoch: Final = secrets.token_hex(4)
        self._endings: Final[dict[str, set[Ending]]] = {}
        self._sessions: Final[set[SocketSession]] = set()
        topics.index.listen_for_namespaces(self._notify_namespace_added)
        access.on_log_out(self.log_out)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket from its request until it is closed, as an ASGI application."""
        address = scope["client"][0] if scope.get("client") else ""
        connection = HTTPConnection(scope)
        try:
            # The slot is acquired first: the authentication below waits for the API server.
            self._access.check_origin(connection)
            key = self._access.key_of(connection)
            slot = self.admission.acquire(address)
            scope["state"][ON_CLOSED](slot.release)
            with self._ending(key) as ending:
                caller = await self._access.authenticate(connection)
                if ending.done():
                    raise UnauthorizedError("you have just logged out")
                slot.assign_user(caller.user)
                session = SocketSession(self, self._access, caller, connection)
                await self._serve(session, ending, scope, receive, send)
        except RequestError as error:
            if not isinstance(error, FullError):
                reason = "rights" if error.status in (401, 403) else "unanswered"
                self.admission.refused[reason] += 1
            await error_response(error)(scope, receive, send)

    def log_out(self, key: str) -> None:
        """Close all sockets of a caller, including those that are just being accepted."""
        for ending in self._endings.get(key, ()):
            if not ending.done():
                ending.set_result(SocketClosedError(1008, "logged-out"))

    @contextmanager
    def _ending(self, key: str) -> Iterator[Ending]:
        """Yield a future that is completed when the caller logs out."""
        ending: Ending = asyncio.get_running_loop().create_future()
        self._endings.setdefault(key, set()).add(ending)
        try:
            yield ending
        finally:
            self._endings[key].discard(ending)
            if not self._endings[key]:
                del self._endings[key]

    async def _serve(
        self, session: "SocketSession", ending: Ending, scope: Scope, receive: Receive, send: Send
    ) -> None:
        await receive()  # the request itself
        accepted = PROTOCOL if PROTOCOL in scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": accepted})
        self._sessions.add(session)
        try:
            ended = await Connection(
                receive=receive,
                send=send,
                limits=self.limits,
                opener=session.open,
                recheck=session.recheck,
                background=session.check_new_namespaces,
                ending=ending,
            ).serve()
        finally:
            self._sessions.discard(session)
        self.closed[ended.reason] += 1
        if ended.reason not in ("client", "shutdown"):
            scope["state"][END](ended.code, ended.reason)

    def _notify_namespace_added(self) -> None:
        for session in self._sessions:
            session.namespace_added.set()

    # --- subscriptions ----------------------------------------------------------------------------

    async def jobs(
        self, connection: Connection, request: Subscribe, key: TopicKey, user: str
    ) -> JobsSubscription:
        """Subscribe to jobs.

        Raises:
            BusyError: the user has too much work queued already.
        """
        queue = CoalescingQueue(self.limits.status_rows, self.budget, connection.wake)
        subscription = JobsSubscription(
            request.id, key, self.topics, queue, coalesce=self.limits.coalesce
        )
        try:
            await self._scheduler.execute(user, subscription.join(request.position))
        except BaseException:
            subscription.close()
            raise
        return subscription

    def housekeeping(self, connection: Connection, request: Subscribe) -> SampleSubscription:
        """Subscribe to samples of the operators' metrics."""
        queue = CoalescingQueue(1, self.budget, connection.wake)
        self._housekeeping.join(queue)
        return SampleSubscription(request.id, queue, self._housekeeping.leave)

    def log(self, connection: Connection, request: Subscribe, caller: Caller) -> LogSubscription:
        """Subscribe to a log, which a task of the connection follows."""
        limits = self.limits
        ring = LogRing(
            limits.ring_bytes, limits.ring_lines, self.budget, connection.wake, self.losses
        )
        subscription = LogSubscription(request.id, self._epoch, ring)

        async def follow() -> None:
            try:
                reason = await self._logs.follow(
                    caller,
                    request.uid,
                    request.source,
                    request.offset,
                    ring,
                    file=request.file,
                    places=request.places,
                )
                last = frames.frame("end", request.id, reason=reason)
            except RequestError as error:
                if error.status == UNAUTHORIZED and caller.token is not None:
                    # The page reconnects, and resumes all of its subscriptions from its positions.
                    self._access.forget(caller)
                    connection.end(SocketClosedError(1008, "rights"))
                    return
                last = frames.frame("error", request.id, reason=error.reason, message=str(error))
            except Exception:
                _logger.exception("a log cannot be followed")
                last = frames.frame("error", request.id, reason="InternalError", message="failed")
            subscription.end(last)
            connection.wake()

        connection.start(request.id, follow())
        return subscription


class SocketSession:
    """The user of one socket and its open lists, whose rights are re-checked periodically.

    Attributes:
        namespace_added: set when a namespace has got its first job.
    """

    def __init__(
        self, hub: Hub, access: AccessControl, caller: Caller, connection: HTTPConnection
    ) -> None:
        self._hub: Final = hub
        self._access: Final = access
        self._caller: Final = caller
        self._connection: Final = connection
        self._lists: dict[int, _OpenList] = {}
        self._clock: Final = asyncio.get_running_loop().time
        self._confirmed_at = self._clock()
        self._samples: list[SampleSubscription] = []
        self.namespace_added: Final = asyncio.Event()

    async def open(self, connection: Connection, request: Subscribe) -> Subscription:
        """Open a subscription.

        Raises:
            RequestError: it is rejected.
            SocketClosedError: the user's token is no longer valid.
        """
        try:
            return await self._open(connection, request)
        except RequestError as error:
            if error.status == UNAUTHORIZED:
                self._access.forget(self._caller)
                raise SocketClosedError(1008, "rights") from error
            raise

    async def _open(self, connection: Connection, request: Subscribe) -> Subscription:
        match request.kind:
            case "jobs" | "job":
                checked = self._access.namespaces_to_check(request.filter.namespace)
                allowed = await self._access.listable_namespaces(self._caller, checked)
                key = TopicKey(filter=request.filter, namespaces=allowed, uid=request.uid)
                subscription = await self._hub.jobs(connection, request, key, self._caller.user)
                live = {
                    n: each for n, each in self._lists.items() if not each.subscription.is_over
                }
                self._lists = live | {request.id: _OpenList(request, subscription, checked)}
                return subscription
            case "logs":
                return self._hub.log(connection, request, self._caller)
            case _:
                await self._access.check_may_see_metrics(self._caller)
                sample = self._hub.housekeeping(connection, request)
                self._samples = [each for each in self._samples if not each.is_over] + [sample]
                return sample

    async def recheck(self) -> bool:
        """Return True if the user is still authorized; lists with other permitted namespaces must reload.

        While the API server does not respond, rights are kept for up to `Limits.unsure`. Logs are not checked here:
        `JobLogs` re-checks the right to each log that it follows.
        """
        started_at = self._clock()
        try:
            await self._access.authenticate(self._connection)
            for list_ in list(self._lists.values()):
                if not list_.subscription.is_over:
                    await self._recheck_list(list_)
            if self._samples and not await self._access.may_see_metrics(self._caller):
                for sample in self._samples:
                    sample.cut()
        except RequestError as error:
            return (
                error.status not in (401, 403)
                and started_at - self._confirmed_at < self._hub.limits.unsure
            )
        self._confirmed_at = started_at
        return True

    async def _recheck_list(self, list_: "_OpenList") -> None:
        """Check the user's rights for the namespaces of a list, and for those added since its last check.

        Permitted namespaces without jobs are checked, too: a job may be created there after the right is revoked.
        Namespaces that were denied are not checked again: there may be hundreds.
        """
        current = self._access.namespaces_to_check(list_.request.filter.namespace)
        had = list_.subscription.namespaces or frozenset()
        allowed = await self._access.listable_namespaces(
            self._caller, had | (current - list_.checked)
        )
        list_.checked = current
        list_.subscription.recheck(allowed)

    async def check_new_namespaces(self) -> None:
        """Check the user's rights for namespaces that get their first job, until cancelled; rate-limited.

        Checks that fail are repeated by the next `recheck`.
        """
        while True:
            await self.namespace_added.wait()
            self.namespace_added.clear()
            for list_ in list(self._lists.values()):
                if list_.may_gain_namespaces:
                    with suppress(RequestError):
                        await self._check_new_namespaces_of(list_)
            await asyncio.sleep(self._hub.limits.newcomers)

    async def _check_new_namespaces_of(self, list_: "_OpenList") -> None:
        current = self._access.namespaces_to_check(list_.request.filter.namespace)
        if not (new := current - list_.checked):
            return
        allowed = await self._access.filter_listable(self._caller, new)
        list_.checked |= new
        list_.subscription.recheck((list_.subscription.namespaces or frozenset()) | allowed)


@dataclass(slots=True)
class _OpenList:
    """An open subscription to a list of jobs.

    Attributes:
        checked: namespaces for which the user's rights were checked.
    """

    request: Subscribe
    subscription: JobsSubscription
    checked: frozenset[str]

    @property
    def may_gain_namespaces(self) -> bool:
        """True if jobs of a further namespace may match it."""
        return not (
            self.subscription.is_over or self.subscription.namespaces is None or self.request.uid
        )
