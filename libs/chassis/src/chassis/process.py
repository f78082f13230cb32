"""One process in one role: its parts, whether it is ready, and its end.

`api` answers HTTP; `worker` consumes events and competes for the lease under which relay, timers and vendor calls run;
`all` does both. A part that crashes ends the process, and whoever supervises it starts a new one. SIGTERM: not ready at
once, nothing new, 6 s for what is in hand, then the end, whatever hangs.
"""

import asyncio
import faulthandler
import signal
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Protocol

import structlog
from aiokafka.errors import KafkaError
from starlette.types import ASGIApp

from chassis.bell import Knocker, Listener
from chassis.consumer import Consumer
from chassis.effects import Effects
from chassis.health import Check, Health, Readiness, mongo_answers, no_app
from chassis.http import create_app
from chassis.lease import Duty, Leader, Lease
from chassis.logs import reason
from chassis.migrate import NotMigrated, check_collections
from chassis.mongo import PyMongoError
from chassis.outbox import OUTBOX
from chassis.pending import EFFECTS, TIMERS
from chassis.relay import Relay
from chassis.runtime import Runtime
from chassis.server import Server
from chassis.service import Service
from chassis.settings import ChassisSettings
from chassis.timers import Timers
from chassis.topics import check_topics

DONE_BY_THE_LEADER = (OUTBOX.name, EFFECTS.name, TIMERS.name)
IN_HAND_SECONDS = 7.0  # the parts give themselves 6
END_SECONDS = 9.5  # an orchestrator kills after 10
TRY_AGAIN_SECONDS = 1.0
AWAY = (PyMongoError, KafkaError, TimeoutError, OSError)
"""What a server that is away looks like."""

_log = structlog.get_logger(__name__)


class Part(Protocol):
    """One of the things that a process does for as long as it lives."""

    async def run(self) -> None:
        """Work until `stop`, then finish what is in hand and return."""

    def stop(self) -> None:
        """Take nothing new."""


class Process:
    """One process in one role."""

    def __init__(self, service: Service, role: str, settings: ChassisSettings, runtime: Runtime) -> None:
        self._service = service
        self._role = role
        self._settings = settings
        self._runtime = runtime
        self._readiness = Readiness(runtime.clock)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Live until a signal, or until a part crashes."""
        self._listen_to_signals(asyncio.get_running_loop())
        parts: list[Part] = [Server(Health(self._app(), self._readiness), self._settings)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(parts[0]))]
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
        def hear(number: int, _frame: FrameType | None) -> None:
            _end_whatever_hangs()  # here and not in the loop, which may be what hangs
            loop.call_soon_threadsafe(self._stop, signal.Signals(number).name)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, hear)

    def _stop(self, reason: str) -> None:
        _log.info("stopping", reason=reason)
        self._readiness.stopping = True
        self._stopping.set()

    async def _keep(self, part: Part) -> None:
        """Run `part`; if it ends by itself, so does the process."""
        try:
            await part.run()
        except Exception:
            _end_whatever_hangs()
            raise
        if not self._stopping.is_set():
            _end_whatever_hangs()
            raise RuntimeError(f"{type(part).__name__} ended by itself")

    def _app(self) -> ASGIApp:
        return no_app if self._role == "worker" else create_app(self._service, self._runtime, self._settings)

    def _parts(self) -> list[Part]:
        """What runs besides HTTP, and what it takes to be ready."""
        self._readiness.checks = (mongo_answers(self._runtime.database),)
        knocker = Knocker(self._runtime.database, self._runtime.bells, DONE_BY_THE_LEADER)
        if self._role == "api":
            return [knocker]
        consumer = Consumer(self._service, self._runtime, self._settings)
        self._readiness.checks += (_progress(consumer),)
        return [knocker, consumer, Leader(Lease(self._runtime, self._settings.lease_seconds), self._duties)]

    def _duties(self) -> Sequence[Duty]:
        runtime = self._runtime
        return [
            Relay(runtime, self._settings),
            Timers(runtime, self._service),
            Effects(runtime, self._service),
            Listener(runtime.database, runtime.bells, DONE_BY_THE_LEADER),
        ]

    async def _usable(self) -> bool:
        """Wait for the servers, then look whether they have what the code needs; False when told to stop meanwhile.

        Raises:
            NotMigrated: they do not.
        """
        checks: list[tuple[str, Callable[[], Awaitable[list[str]]]]] = [
            ("MongoDB", lambda: check_collections(self._runtime.database, self._service))
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
                except AWAY as error:
                    _log.warning("waiting", server=server, error=reason(error))
                    await self._pause()
        if problems:
            raise NotMigrated(problems)
        return not self._stopping.is_set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(TRY_AGAIN_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return


def _progress(consumer: Consumer) -> Check:
    async def check() -> Sequence[str]:
        trouble = consumer.progress().trouble
        return [trouble] if trouble else []

    return check


def _end_whatever_hangs() -> None:
    """From now on the process has some seconds; then it says where each thread hangs, and ends."""
    faulthandler.dump_traceback_later(END_SECONDS, exit=True)
