"""All sockets: who is let in, what they subscribe to, and what is left when they are gone: nothing."""

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
from trainingjob_console.sockets.protocol import END, WHEN_GONE
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
    """The sockets of a console.

    Attributes:
        admission: how many there are.
        budget: the bytes of all queues.
        topics: who is sent which changes of jobs.
        closed: how many ended, by the reason.
        losses: what was not sent of logs.
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
        """Begin without sockets.

        Args:
            access: who asks, and what they may see.
            topics: the changes of jobs.
            logs: what is followed.
            housekeeping: the newest sample.
            scheduler: for what takes long.
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
        self._visitors: Final[set[SocketSession]] = set()
        topics.index.listen_for_namespaces(self._namespace_came)
        access.on_log_out(self.log_out)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket from its request to its end: an application of ASGI."""
        address = scope["client"][0] if scope.get("client") else ""
        connection = HTTPConnection(scope)
        try:
            # A place first: who asks is asked about at the API server, which takes a moment.
            self._access.check_origin(connection)
            key = self._access.key_of(connection)
            place = self.admission.place(address)
            scope["state"][WHEN_GONE](place.give_back)
            with self._ending(key) as ending:
                caller = await self._access.authenticate(connection)
                if ending.done():
                    raise UnauthorizedError("you have just logged out")
                place.take_for(caller.user)
                visitor = SocketSession(self, self._access, caller, connection)
                await self._serve(visitor, ending, scope, receive, send)
        except RequestError as error:
            if not isinstance(error, FullError):
                reason = "rights" if error.status in (401, 403) else "unanswered"
                self.admission.refused[reason] += 1
            await error_response(error)(scope, receive, send)

    def log_out(self, key: str) -> None:
        """End all sockets of a caller, and those that are just being let in."""
        for ending in self._endings.get(key, ()):
            if not ending.done():
                ending.set_result(SocketClosedError(1008, "logged-out"))

    @contextmanager
    def _ending(self, key: str) -> Iterator[Ending]:
        """Yield what is done once the caller logs out."""
        ending: Ending = asyncio.get_running_loop().create_future()
        self._endings.setdefault(key, set()).add(ending)
        try:
            yield ending
        finally:
            self._endings[key].discard(ending)
            if not self._endings[key]:
                del self._endings[key]

    async def _serve(
        self, visitor: "SocketSession", ending: Ending, scope: Scope, receive: Receive, send: Send
    ) -> None:
        await receive()  # the request itself
        accepted = PROTOCOL if PROTOCOL in scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": accepted})
        self._visitors.add(visitor)
        try:
            ended = await Connection(
                receive=receive,
                send=send,
                limits=self.limits,
                opener=visitor.open,
                recheck=visitor.recheck,
                beside=visitor.look_at_newcomers,
                ending=ending,
            ).live()
        finally:
            self._visitors.discard(visitor)
        self.closed[ended.reason] += 1
        if ended.reason not in ("client", "shutdown"):
            scope["state"][END](ended.code, ended.reason)

    def _namespace_came(self) -> None:
        for visitor in self._visitors:
            visitor.news.set()

    # --- what is subscribed to --------------------------------------------------------------------

    async def jobs(
        self, connection: Connection, asked: Subscribe, key: TopicKey, user: str
    ) -> JobsSubscription:
        """Subscribe to jobs.

        Raises:
            BusyError: the user has too much work done already.
        """
        queue = CoalescingQueue(self.limits.status_rows, self.budget, connection.wake)
        made = JobsSubscription(asked.id, key, self.topics, queue, coalesce=self.limits.coalesce)
        try:
            await self._scheduler.execute(user, made.join(asked.position))
        except BaseException:
            made.close()
            raise
        return made

    def housekeeping(self, connection: Connection, asked: Subscribe) -> SampleSubscription:
        """Subscribe to the newest sample."""
        queue = CoalescingQueue(1, self.budget, connection.wake)
        self._housekeeping.join(queue)
        return SampleSubscription(asked.id, queue, self._housekeeping.leave)

    def log(self, connection: Connection, asked: Subscribe, caller: Caller) -> LogSubscription:
        """Subscribe to a log, which a task of the connection's brings."""
        limits = self.limits
        ring = LogRing(
            limits.ring_bytes, limits.ring_lines, self.budget, connection.wake, self.losses
        )
        made = LogSubscription(asked.id, self._epoch, ring)

        async def follow() -> None:
            try:
                reason = await self._logs.follow(
                    caller,
                    asked.uid,
                    asked.source,
                    asked.offset,
                    ring,
                    file=asked.file,
                    places=asked.places,
                )
                last = frames.frame("end", asked.id, reason=reason)
            except RequestError as error:
                if error.status == UNAUTHORIZED and caller.token is not None:
                    # The page comes back with what it has by then, and with all it subscribed to.
                    self._access.forget(caller)
                    connection.end(SocketClosedError(1008, "rights"))
                    return
                last = frames.frame("error", asked.id, reason=error.reason, message=str(error))
            except Exception:
                _logger.exception("a log cannot be followed")
                last = frames.frame("error", asked.id, reason="InternalError", message="failed")
            made.end(last)
            connection.wake()

        connection.start(asked.id, follow())
        return made


class SocketSession:
    """The user behind one socket, whose rights are looked at now and then.

    Attributes:
        news: set when a namespace has got its first job.
    """

    def __init__(
        self, hub: Hub, access: AccessControl, caller: Caller, connection: HTTPConnection
    ) -> None:
        self._hub: Final = hub
        self._access: Final = access
        self._caller: Final = caller
        self._connection: Final = connection
        self._opened: dict[int, _Opened] = {}
        self._clock: Final = asyncio.get_running_loop().time
        self._sure_at = self._clock()
        self._samples: list[SampleSubscription] = []
        self.news: Final = asyncio.Event()

    async def open(self, connection: Connection, asked: Subscribe) -> Subscription:
        """Make what a subscription asks for.

        Raises:
            RequestError: it is not given.
        """
        try:
            return await self._open(connection, asked)
        except RequestError as error:
            if error.status == UNAUTHORIZED:
                self._access.forget(self._caller)
                raise SocketClosedError(1008, "rights") from error
            raise

    async def _open(self, connection: Connection, asked: Subscribe) -> Subscription:
        match asked.kind:
            case "jobs" | "job":
                looked_at = self._access.namespaces_to_check(asked.filter.namespace)
                allowed = await self._access.listable_namespaces(self._caller, looked_at)
                key = TopicKey(filter=asked.filter, namespaces=allowed, uid=asked.uid)
                made = await self._hub.jobs(connection, asked, key, self._caller.user)
                live = {n: each for n, each in self._opened.items() if not each.made.is_over}
                self._opened = live | {asked.id: _Opened(asked, made, looked_at)}
                return made
            case "logs":
                return self._hub.log(connection, asked, self._caller)
            case _:
                await self._access.check_may_see_metrics(self._caller)
                sample = self._hub.housekeeping(connection, asked)
                self._samples = [each for each in self._samples if not each.is_over] + [sample]
                return sample

    async def recheck(self) -> bool:
        """Return True if the user may still be here; take from lists what it may not see.

        A server that does not answer takes no right away, for as long as a right that was taken away
        may last. Logs are not looked at here: who follows them looks at the right to each.
        """
        begun = self._clock()
        try:
            await self._access.authenticate(self._connection)
            for opened in list(self._opened.values()):
                if not opened.made.is_over:
                    await self._recheck_list(opened)
            if self._samples and not await self._access.may_see_metrics(self._caller):
                for sample in self._samples:
                    sample.cut()
        except RequestError as error:
            return (
                error.status not in (401, 403) and begun - self._sure_at < self._hub.limits.unsure
            )
        self._sure_at = begun
        return True

    async def _recheck_list(self, opened: "_Opened") -> None:
        """Look at the namespaces of a list, and at those that were not there when it was looked at last.

        Those that the user may list and that have no job now are looked at, too: one may come after the
        right has gone. Those that the user may not list are not: there may be hundreds.
        """
        now = self._access.namespaces_to_check(opened.asked.filter.namespace)
        had = opened.made.namespaces or frozenset()
        allowed = await self._access.listable_namespaces(
            self._caller, had | (now - opened.looked_at)
        )
        opened.looked_at = now
        opened.made.recheck(allowed)

    async def look_at_newcomers(self) -> None:
        """Ask about namespaces that get their first job, soon and not too often, until cancelled.

        What cannot be asked now is asked with the next look at all rights.
        """
        while True:
            await self.news.wait()
            self.news.clear()
            for opened in list(self._opened.values()):
                if opened.is_of_some_namespaces:
                    with suppress(RequestError):
                        await self._look_at_newcomers_of(opened)
            await asyncio.sleep(self._hub.limits.newcomers)

    async def _look_at_newcomers_of(self, opened: "_Opened") -> None:
        now = self._access.namespaces_to_check(opened.asked.filter.namespace)
        if not (new := now - opened.looked_at):
            return
        allowed = await self._access.filter_listable(self._caller, new)
        opened.looked_at |= new
        opened.made.recheck((opened.made.namespaces or frozenset()) | allowed)


@dataclass(slots=True)
class _Opened:
    """A list that is followed.

    Attributes:
        looked_at: the namespaces that the user's rights were looked at for.
    """

    asked: Subscribe
    made: JobsSubscription
    looked_at: frozenset[str]

    @property
    def is_of_some_namespaces(self) -> bool:
        """True if jobs of a further namespace may belong to it."""
        return not (self.made.is_over or self.made.namespaces is None or self.asked.uid)
