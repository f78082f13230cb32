"""One process in one role: its parts, whether it is ready, and its end.

`api` answers HTTP; `worker` consumes events and competes for the lease under which relay, timers and vendor calls run;
`all` does both. A part that crashes ends the process, and whoever supervises it starts a new one. SIGTERM: not ready at
once, nothing new, 3 s for what is in hand, then the end, whatever hangs. A process that hangs as a whole ends, too.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any, cast

import structlog
from aiokafka.errors import KafkaError
from starlette.types import ASGIApp

from chassis.context import Runtime
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.http import create_app
from chassis.kafka.consumer import Consumer
from chassis.kafka.topics import check_topics
from chassis.outbox.model import OUTBOX
from chassis.outbox.relay import Relay
from chassis.runtime.backlog import BacklogMeter
from chassis.runtime.backoff import pause
from chassis.runtime.health import Check, ClocksApartError, Health, Readiness, check_clock, mongo_answers, no_app
from chassis.runtime.leader_election import Leader, LeaderTask, Lease
from chassis.runtime.logs import reason
from chassis.runtime.migrate import NotMigrated, check_collections
from chassis.runtime.renamed import former_collections
from chassis.runtime.runnable import Runnable
from chassis.runtime.server import Server
from chassis.runtime.settings import ApiSettings, ChassisSettings
from chassis.runtime.wakeup import WakeupPublisher, WakeupSubscriber
from chassis.runtime.watchdog import Watchdog
from chassis.service import Service
from chassis.storage.mongo import PyMongoError
from chassis.timers.dispatcher import TimerDispatcher
from chassis.timers.model import TIMERS

DONE_BY_THE_LEADER = (OUTBOX.name, EFFECTS.name, TIMERS.name)
IN_HAND_SECONDS = 7.0  # the parts give themselves 6
END_SECONDS = 9.5  # an orchestrator kills after 10
TRY_AGAIN_SECONDS = 1.0
AWAY = (PyMongoError, KafkaError, TimeoutError, OSError)
"""What a server that is away looks like."""

_log = structlog.get_logger(__name__)


class Process:
    """One process in one role."""

    def __init__(self, service: Service, role: str, settings: ChassisSettings, runtime: Runtime) -> None:
        self._service = service
        self._role = role
        self._settings = settings
        self._runtime = runtime
        self._readiness = Readiness(runtime.clock)
        self._stopping = asyncio.Event()
        self._watchdog = Watchdog(settings.stuck_seconds / 2)

    async def run(self) -> None:
        """Live until a signal, or until a part crashes."""
        self._listen_to_signals(asyncio.get_running_loop())
        parts: list[Runnable] = [self._watchdog, Server(Health(self._app(), self._readiness), self._settings)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(part)) for part in parts]
            if await self._usable():
                more = self._parts()
                parts += more
                tasks += [group.create_task(self._keep(part)) for part in more]
                self._readiness.starting = None
                await self._stopping.wait()
            for part in parts:
                part.stop()
            _, late = await asyncio.wait(tasks, timeout=IN_HAND_SECONDS)
            for task in late:
                _log.warning("not finished in time", task=task.get_name())
                task.cancel()

    def _listen_to_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        def on_signal(number: int, _frame: FrameType | None) -> None:
            self._watchdog.end_within(END_SECONDS)  # here and not in the loop, which may be what hangs
            loop.call_soon_threadsafe(self._stop, signal.Signals(number).name)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)

    def _stop(self, reason: str) -> None:
        _log.info("stopping", reason=reason)
        self._readiness.stopping = True
        asyncio.get_running_loop().set_exception_handler(_left_behind)
        self._stopping.set()

    async def _keep(self, part: Runnable) -> None:
        """Run `part`; if it ends by itself, so does the process."""
        try:
            await part.run()
        except Exception:
            self._watchdog.end_within(END_SECONDS)
            raise
        if not self._stopping.is_set():
            self._watchdog.end_within(END_SECONDS)
            raise RuntimeError(f"{type(part).__name__} ended by itself")

    def _app(self) -> ASGIApp:
        if self._role == "worker":
            return no_app
        return create_app(self._service, self._runtime, cast("ApiSettings", self._settings))

    def _parts(self) -> list[Runnable]:
        """What runs besides HTTP, and what it takes to be ready."""
        self._readiness.checks = (mongo_answers(self._runtime.database, self._runtime.clock),)
        wakeup_publisher = WakeupPublisher(self._runtime.database, self._runtime.wakeups, DONE_BY_THE_LEADER)
        meter = BacklogMeter(self._runtime, self._settings.backlog_max)
        if self._role == "api":
            return [wakeup_publisher, meter]
        consumer = Consumer(self._service, self._runtime, self._settings)
        lease = Lease(self._runtime, self._settings.lease_seconds)
        clock, stuck_seconds = self._runtime.clock, self._settings.stuck_seconds
        leader = Leader(lease, partial(self._leader_tasks, lease), clock, stuck_seconds)
        self._readiness.checks += (_progress(lambda: consumer.progress().trouble), _progress(leader.trouble))
        return [wakeup_publisher, meter, consumer, leader]

    def _leader_tasks(self, lease: Lease) -> Sequence[LeaderTask]:
        runtime = self._runtime
        return [
            Relay(runtime, self._settings),
            TimerDispatcher(runtime, self._service, lambda: lease.clock_ahead_seconds),
            EffectDispatcher(runtime, self._service, lambda: lease.held),
            WakeupSubscriber(runtime.database, runtime.wakeups, DONE_BY_THE_LEADER),
        ]

    async def _usable(self) -> bool:
        """Wait for the servers, then look whether they have what the code needs; False when told to stop meanwhile.

        Raises:
            NotMigrated: they do not.
        """
        checks: list[tuple[str, Callable[[], Awaitable[list[str]]]]] = [
            ("MongoDB", self._check_collections),
            ("a clock that agrees with MongoDB's", lambda: check_clock(self._runtime.database, self._runtime.clock)),
        ]
        if self._role != "api":
            checks.append(("Kafka", lambda: check_topics(self._service, self._settings)))
        problems: list[str] = []
        for server, check in checks:
            while not self._stopping.is_set():
                self._readiness.starting = f"waiting for {server}"
                try:
                    problems += await check()
                    break
                except (*AWAY, ClocksApartError) as error:
                    _log.warning("waiting", server=server, error=reason(error))
                    await pause(self._stopping, TRY_AGAIN_SECONDS)
        if problems:
            raise NotMigrated(problems)
        return not self._stopping.is_set()

    async def _check_collections(self) -> list[str]:
        self._runtime.former_collections.update(await former_collections(self._runtime.database))
        return await check_collections(self._runtime.database, self._service)


def _progress(trouble_of: Callable[[], str | None]) -> Check:
    async def check() -> Sequence[str]:
        trouble = trouble_of()
        return [trouble] if trouble else []

    return check


def _left_behind(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What libraries have begun and nobody waits for any more is no news at the end of a process."""
    _log.debug("left behind at the end", message=context["message"], error=repr(context.get("exception")))
