"""The life of a process, `python -m <service> api|worker|all|migrate|…`, from settings to last close."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
import uvloop
from pydantic_settings import BaseSettings

from chassis.clock import MovedClock, SystemClock
from chassis.context import Outside, Runtime
from chassis.effects.vendor_client import VendorClient
from chassis.runtime import logs, metrics, tracing
from chassis.runtime.commands import ARGUMENTS, COMMANDS
from chassis.runtime.faults import plan_faults
from chassis.runtime.migrate import NotMigrated
from chassis.runtime.process import AWAY
from chassis.runtime.settings import ApiSettings, ChassisSettings, load
from chassis.service import Service
from chassis.storage.mongo import Mongo

CLOSE_SECONDS = 2.0

_OF_TOKENS = ("api", "all", "deny")  # the commands that know what a token is
ROLES = ("api", "worker", "all")  # the commands that live until they are told to stop

USAGE = """\
usage: python -m {package} COMMAND

  api            answer HTTP
  worker         consume events, publish, run timers, call vendors
  all            both
  migrate        make topics, collections and indexes, and run numbered migrations; with --plan say what it would do
  parked         list what waits for an operator, a JSON object a line
  replay [KEY]   try it again: everything, or what concerns one key; says what has become of it within 30 s
  show KIND ID   print one, whole: of messages, timers, effects or outbox, by the id in the list
  discard KIND ID --reason WHY
                 give one up; it is kept in the collection `discarded`, and what waits behind it follows
  seek P OFFSET  go on at another record of a partition, such as `goals:3`, and tell how it was
  accept-loss P  go on at the first record there is of a partition whose next ones Kafka has removed
  remember SINCE after a restore, before the workers start: apply what was said since (2026-11-26T03:00Z)
  deny JTI       accept an access token no more
{own}
Every variable it reads is in .env.example."""

_log = structlog.get_logger(__name__)


def run(service: Service) -> None:
    """Do what the command line says: the `__main__` of every service."""
    command, *arguments = sys.argv[1:] or [""]
    if not _understands(service, command, arguments):
        sys.exit(_usage(service))
    settings = load(ApiSettings if command in _OF_TOKENS else ChassisSettings)
    own = {cls: load(cls) for cls in service.settings}
    if command in ("worker", "all", "migrate", "accept-loss", "remember") and not settings.kafka_bootstrap:
        sys.exit(f"KAFKA_BOOTSTRAP is not set, and `{command}` needs the broker. See .env.example.")
    logs.setup(service.name, command, settings.log_level)
    metrics.identify(service.name, command, settings.release)
    plan_faults(settings.fault_plan)
    endpoint = settings.otel_exporter_otlp_endpoint
    tracing.setup(service.name, endpoint.get_secret_value() if endpoint else None)
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(service, settings, own, command, *arguments))
    sys.exit(code)


def _understands(service: Service, command: str, arguments: Sequence[str]) -> bool:
    for one in service.commands:
        if one.name == command:
            return set(arguments) <= set(one.options)
    return command in COMMANDS and len(arguments) in ARGUMENTS.get(command, (0,))


def _usage(service: Service) -> str:
    lines = (
        f"  {' '.join((one.name, *(f'[{o}]' for o in one.options))):<13}  {one.does}\n" for one in service.commands
    )
    return USAGE.format(package=service.package, own="".join(lines))


def tune_gc() -> None:
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
        async with running(service, settings, own, patient=command not in ROLES) as runtime:
            its_own = next((one for one in service.commands if one.name == command), None)
            if its_own is not None:
                code = await its_own.run(runtime, arguments)
            else:
                await COMMANDS[command](service, settings, runtime, command, *arguments)
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
    service: Service,
    settings: ChassisSettings,
    own: Mapping[type[BaseSettings], BaseSettings],
    *,
    patient: bool = False,
) -> AsyncIterator[Runtime]:
    """The runtime of one process, closed at the end, each part within a bound; a `patient` one waits for MongoDB."""
    mongo = Mongo(settings.mongo_url.get_secret_value(), settings.mongo_driver, patient=patient)
    clock = clock_of(settings, aloud=not patient)
    outside = Outside({ChassisSettings: settings, **own}, VendorClient(), clock)
    try:
        yield Runtime(service.name, mongo, mongo.database(settings.scoped(service.package)), clock, outside)
    finally:
        closes = {"vendors": outside.close(), "MongoDB": mongo.close(), "tracing": asyncio.to_thread(tracing.shut_down)}
        await asyncio.gather(*(_bounded(name, closing) for name, closing in closes.items()))


def clock_of(settings: ChassisSettings, *, aloud: bool) -> SystemClock:
    """The one clock of this process: the machine's, or that of its local stack; which is told `aloud`, in the log.

    Raises:
        SystemExit: the stack's cannot be followed.
    """
    file = settings.clock_ahead_file
    if file is None:
        return SystemClock()
    try:
        clock = MovedClock(file)
    except (OSError, ValueError) as error:
        sys.exit(f"CLOCK_AHEAD_FILE cannot be followed: {error}")
    metrics.CLOCK_MOVED_SECONDS.set_function(lambda: clock.ahead_micros / 1_000_000)
    if aloud:
        _log.warning("this clock can be moved: a local stack's", ahead_seconds=clock.ahead_micros / 1_000_000)
    return clock


async def _bounded(name: str, closing: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing
    except AWAY as error:
        _log.warning("not closed", part=name, error=logs.reason(error))
