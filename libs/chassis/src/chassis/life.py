"""The life of a process, `python -m <service> api|worker|all|migrate|…`, from settings to last close."""

import asyncio
import gc
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import httpx
import structlog
import uvloop
from pydantic_settings import BaseSettings

from chassis import logs, parking, positions, relay, timers, tracing
from chassis.clock import SystemClock
from chassis.faults import plan_faults
from chassis.http import denied
from chassis.http.auth import LEEWAY_SECONDS
from chassis.migrate import NotMigrated, create_collections, run_migrations
from chassis.mongo import Mongo
from chassis.process import AWAY, TRY_AGAIN_SECONDS, Process
from chassis.runtime import Outside, Runtime
from chassis.service import Service
from chassis.settings import ChassisSettings, load
from chassis.topics import create_topics
from contracts import Event

CLOSE_SECONDS = 2.0
MIGRATE_SECONDS = 60.0  # for the servers to come up
VENDOR_SECONDS = 5.0  # unless a call says otherwise
VENDOR_CONNECTIONS_MAX = 100

USAGE = """\
usage: python -m {package} COMMAND

  api            answer HTTP
  worker         consume events, publish, run timers, call vendors
  all            both
  migrate        make topics, collections and indexes, and run numbered migrations
  parked         list what waits for an operator, a JSON object a line
  replay [KEY]   try it again: everything, or what concerns one key
  seek P OFFSET  go on at another record of a partition, such as `goals:3`, and tell how it was
  deny JTI       accept an access token no more
{own}
Every variable it reads is in .env.example."""

_log = structlog.get_logger(__name__)


def run(service: Service) -> None:
    """Do what the command line says: the `__main__` of every service."""
    command, *arguments = sys.argv[1:] or [""]
    if not _understands(service, command, arguments):
        sys.exit(_usage(service))
    settings = load(ChassisSettings)
    own = {cls: load(cls) for cls in service.settings}
    if command in ("worker", "all", "migrate") and not settings.kafka_bootstrap:
        sys.exit(f"KAFKA_BOOTSTRAP is not set, and `{command}` needs the broker. See .env.example.")
    logs.setup(service.name, command, settings.log_level)
    plan_faults(settings.fault_plan)
    endpoint = settings.otel_exporter_otlp_endpoint
    tracing.setup(service.name, endpoint.get_secret_value() if endpoint else None)
    settle_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(service, settings, own, command, *arguments))
    sys.exit(code)


def _understands(service: Service, command: str, arguments: Sequence[str]) -> bool:
    for one in service.commands:
        if one.name == command:
            return set(arguments) <= set(one.options)
    return command in _COMMANDS and len(arguments) in _ARGUMENTS.get(command, (0,))


def _usage(service: Service) -> str:
    lines = (
        f"  {' '.join((one.name, *(f'[{o}]' for o in one.options))):<13}  {one.does}\n" for one in service.commands
    )
    return USAGE.format(package=service.package, own="".join(lines))


def settle_memory() -> None:
    """Let the garbage collector pass over what is imported, and come less often: a batch is thousands of objects.

    Measured on the consumer: 0.4 s of 20 000 events went into looking at the same modules again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def _run(
    service: Service, settings: ChassisSettings, own: Mapping[type[BaseSettings], BaseSettings], *line: str
) -> int:
    """Run one command; returns the exit code: 1 after a crash, 2 when something has to be mended first."""
    command, *arguments = line
    code = 0
    try:
        async with running(service, settings, own) as runtime:
            its_own = next((one for one in service.commands if one.name == command), None)
            if its_own is not None:
                code = await its_own.run(runtime, arguments)
            else:
                await _COMMANDS[command](service, settings, runtime, command, *arguments)
    except* NotMigrated as refused:
        problems = [problem for one in refused.exceptions if isinstance(one, NotMigrated) for problem in one.problems]
        mend = "see each problem" if command == "migrate" else f"python -m {service.package} migrate"
        _log.error("not migrated", problems=problems, mend=mend)
        code = 2
    except* Exception:  # noqa: BLE001 - whatever it was, it ends this process
        _log.exception("crashed")
        code = 1
    return code


@asynccontextmanager
async def running(
    service: Service, settings: ChassisSettings, own: Mapping[type[BaseSettings], BaseSettings]
) -> AsyncIterator[Runtime]:
    """The runtime of one process, closed at the end, each part within a bound."""
    mongo = Mongo(settings.mongo_url.get_secret_value(), settings.mongo_driver)
    limits = httpx.Limits(max_connections=VENDOR_CONNECTIONS_MAX)
    http = httpx.AsyncClient(timeout=VENDOR_SECONDS, limits=limits, trust_env=False)
    clock = SystemClock()
    outside = Outside({ChassisSettings: settings, **own}, http, clock)
    try:
        yield Runtime(service.name, mongo, mongo.database(settings.scoped(service.package)), clock, outside)
    finally:
        closes = {"vendors": http.aclose(), "MongoDB": mongo.close(), "tracing": asyncio.to_thread(tracing.shut_down)}
        await asyncio.gather(*(_bounded(name, closing) for name, closing in closes.items()))


async def _live(service: Service, settings: ChassisSettings, runtime: Runtime, role: str) -> None:
    await Process(service, role, settings, runtime).run()


async def _migrate(service: Service, settings: ChassisSettings, runtime: Runtime, _command: str) -> None:
    """Make what is missing. Raises NotMigrated for what cannot be made; waits a while for servers that are away."""
    until = runtime.clock.monotonic() + MIGRATE_SECONDS
    while True:
        try:
            await create_collections(runtime.database, service)
            await run_migrations(runtime.database, service, runtime.clock)
            problems = await create_topics(service, settings)
            break
        except AWAY as error:
            if runtime.clock.monotonic() > until:
                raise
            _log.warning("waiting for MongoDB and Kafka", error=logs.reason(error))
            await asyncio.sleep(TRY_AGAIN_SECONDS)
    if problems:
        raise NotMigrated(problems)
    _log.info("migrated")


async def _parked(_service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str) -> None:
    """Print the messages, timers and outgoing events that wait for an operator."""
    for part in (parking, timers, relay):
        for row in await part.list_parked(runtime.database):
            line = {"waits": part.__name__.removeprefix("chassis."), **row}
            sys.stdout.write(json.dumps(line, default=str) + "\n")


async def _replay(
    _service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str, key: str | None = None
) -> None:
    """Let the workers try again what is parked."""
    messages = await parking.replay(runtime.database, runtime.clock, key)
    rang = await timers.replay(runtime.database, key)
    sent = await relay.replay(runtime.database, key)
    _log.info("tried again", key=key, message_keys=messages, timers=rang, outgoing_keys=sent)


async def _seek(
    service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str, position: str, offset: str
) -> None:
    """Let whoever handles a partition go on at another record."""
    topics = {cast("type[Event]", row.subject).TOPIC for row in service.handlers}
    if not offset.isdigit() or not re.fullmatch(r"[0-9]+", position.rpartition(":")[2]):
        raise SystemExit("seek takes a position, such as goals:3, and the offset of the record to go on at")
    if position.rpartition(":")[0] not in topics:
        raise SystemExit(f"{position}: {service.name} listens to {', '.join(sorted(topics))}")
    before = await positions.seek(runtime, position, int(offset))
    _log.warning("position moved", position=position, before=before, offset=int(offset))


async def _deny(_service: Service, settings: ChassisSettings, runtime: Runtime, _command: str, jti: str) -> None:
    """Accept a token no more, until it has ended by itself."""
    await denied.deny(runtime.database, runtime.clock, jti, settings.access_token_seconds_max + 2 * LEEWAY_SECONDS)
    _log.warning("token denied", jti=jti)


_ARGUMENTS: Mapping[str, tuple[int, ...]] = {"replay": (0, 1), "seek": (2,), "deny": (1,)}
_COMMANDS: Mapping[str, Callable[..., Awaitable[None]]] = {
    "api": _live,
    "worker": _live,
    "all": _live,
    "migrate": _migrate,
    "parked": _parked,
    "replay": _replay,
    "seek": _seek,
    "deny": _deny,
}


async def _bounded(name: str, closing: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing
    except AWAY as error:
        _log.warning("not closed", part=name, error=logs.reason(error))
