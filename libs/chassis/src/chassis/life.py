"""The life of a process: `python -m <service> api|worker|all|migrate`, from its settings to its last close.

`api` answers HTTP; `worker` consumes events and competes for the lease under which relay, timers and vendor calls run;
`all` does both. A part that crashes ends the process, and whoever supervises it starts a new one. SIGTERM: not ready at
once, nothing new, 6 s for what is in hand, 2 s for closes, then the end, whatever hangs.
"""

import asyncio
import faulthandler
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import httpx
import structlog
import uvloop
from aiokafka.errors import KafkaError
from pydantic_settings import BaseSettings
from starlette.types import ASGIApp

from chassis import logs, tracing
from chassis.bell import Listener
from chassis.clock import SystemClock
from chassis.effects import Effects
from chassis.health import Health, Readiness, mongo_answers, no_app
from chassis.lease import Duty, Leader, Lease
from chassis.migrate import NotMigrated, check_collections, create_collections, run_migrations
from chassis.mongo import Mongo, PyMongoError
from chassis.outbox import OUTBOX
from chassis.pending import EFFECTS
from chassis.relay import Relay
from chassis.runtime import Outside, Runtime
from chassis.server import Server
from chassis.service import Service
from chassis.settings import ChassisSettings, load
from chassis.timers import Timers
from chassis.topics import check_topics, create_topics

ROLES = ("api", "worker", "all")
IN_HAND_SECONDS = 6.0
CLOSE_SECONDS = 2.0
END_SECONDS = 9.5  # an orchestrator kills after 10
TRY_AGAIN_SECONDS = 1.0
MIGRATE_SECONDS = 60.0  # for the servers to come up
VENDOR_CONNECTIONS_MAX = 100
AWAY = (PyMongoError, KafkaError, TimeoutError, OSError)

_log = structlog.get_logger(__name__)


class Part(Protocol):
    """One of the things that a process does for as long as it lives."""

    async def run(self) -> None:
        """Work until `stop`, then finish what is in hand and return."""

    def stop(self) -> None:
        """Take nothing new."""


def run(service: Service) -> None:
    """Do what the command line says: the `__main__` of every service."""
    commands = {**dict.fromkeys(ROLES, live), "migrate": migrate}
    role = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - the program and its one argument
    if role not in commands:
        sys.exit(f"usage: python -m {service.package} {'|'.join(commands)}")
    settings = load(ChassisSettings)
    by_type = {cls: load(cls) for cls in service.settings}
    if role != "api" and not settings.kafka_bootstrap:
        sys.exit(f"KAFKA_BOOTSTRAP is not set, and `{role}` needs the broker. See .env.example.")
    logs.setup(service.name, role, settings.log_level)
    tracing.setup(service.name, settings.otel_exporter_otlp_endpoint)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(commands[role](service, role, settings, by_type))
    sys.exit(code)


async def live(
    service: Service, role: str, settings: ChassisSettings, own: dict[type[BaseSettings], BaseSettings]
) -> int:
    """Run as `role` until a signal or a crash; returns the exit code."""
    code = 0
    try:
        async with running(service, settings, own) as runtime:
            await _Process(service, role, settings, runtime).run()
    except* NotMigrated as refused:
        problems = [problem for one in refused.exceptions if isinstance(one, NotMigrated) for problem in one.problems]
        _log.error("not migrated", problems=problems, mend=f"python -m {service.package} migrate")
        code = 2
    except* Exception:  # noqa: BLE001 - whatever it was, it ends this process
        _log.exception("crashed")
        code = 1
    return code


async def migrate(
    service: Service, _role: str, settings: ChassisSettings, own: dict[type[BaseSettings], BaseSettings]
) -> int:
    """Make topics, collections and indexes, and run numbered migrations; returns the exit code."""
    async with running(service, settings, own) as runtime:
        clock = runtime.clock
        until = clock.monotonic() + MIGRATE_SECONDS
        while True:
            try:
                await create_collections(runtime.database, service)
                await run_migrations(runtime.database, service, clock)
                problems = await create_topics(service, settings)
                break
            except NotMigrated as refused:
                problems = refused.problems
                break
            except AWAY as error:
                _log.warning("waiting for MongoDB and Kafka", error=logs.reason(error))
                if clock.monotonic() > until:
                    return 1
                await asyncio.sleep(TRY_AGAIN_SECONDS)
    if problems:
        _log.error("cannot be migrated", problems=problems)
        return 2
    _log.info("migrated")
    return 0


@asynccontextmanager
async def running(
    service: Service, settings: ChassisSettings, own: dict[type[BaseSettings], BaseSettings]
) -> AsyncIterator[Runtime]:
    """The runtime of one process, closed at the end, each part within a bound."""
    mongo = Mongo(settings.mongo_url, settings.mongo_driver)
    http = httpx.AsyncClient(
        timeout=httpx.Timeout(5.0), limits=httpx.Limits(max_connections=VENDOR_CONNECTIONS_MAX), trust_env=False
    )
    clock = SystemClock()
    outside = Outside({ChassisSettings: settings, **own}, http, clock)
    try:
        yield Runtime(service.name, mongo, mongo.database(settings.scoped(service.package)), clock, outside)
    finally:
        closes = {"vendors": http.aclose(), "MongoDB": mongo.close(), "tracing": asyncio.to_thread(tracing.shut_down)}
        await asyncio.gather(*(_bounded(name, closing) for name, closing in closes.items()))


class _Process:
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
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, signal.Signals(number).name)
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

    def _stop(self, reason: str) -> None:
        _log.info("stopping", reason=reason)
        self._readiness.stopping = True
        self._stopping.set()
        _end_whatever_hangs()

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
        from chassis.http import create_app  # noqa: PLC0415 - a worker does without

        return no_app if self._role == "worker" else create_app(self._service, self._runtime, self._settings)

    def _parts(self) -> list[Part]:
        """What runs besides HTTP, and what it takes to be ready."""
        self._readiness.checks = (mongo_answers(self._runtime.database),)
        if self._role == "api":
            return []
        return [Leader(Lease(self._runtime, self._settings.lease_seconds), self._duties)]

    def _duties(self) -> Sequence[Duty]:
        runtime = self._runtime
        return [
            Relay(runtime, self._settings),
            Timers(runtime, self._service),
            Effects(runtime, self._service),
            Listener(runtime.mongo, runtime.database, runtime.bells, [OUTBOX.name, EFFECTS.name]),
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
                    _log.warning("waiting", server=server, error=logs.reason(error))
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


def _end_whatever_hangs() -> None:
    """From now on the process has some seconds; then it says where each thread hangs, and ends."""
    faulthandler.dump_traceback_later(END_SECONDS, exit=True)


async def _bounded(name: str, closing: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing
    except AWAY as error:
        _log.warning("not closed", part=name, error=logs.reason(error))
