"""What `python -m <service>` can do, command by command."""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import cast

import structlog

from chassis.context import Runtime
from chassis.http import denied
from chassis.http.auth import LEEWAY_SECONDS
from chassis.kafka import gaps, own_topic, positions
from chassis.kafka.topics import create_topics, plan_topics
from chassis.runtime import logs, parked_work
from chassis.runtime.migrate import NotMigrated, plan, take
from chassis.runtime.migrate_lock import only_one
from chassis.runtime.process import AWAY, TRY_AGAIN_SECONDS, Process
from chassis.runtime.settings import ApiSettings, ChassisSettings
from chassis.service import Service
from contracts import Event

MIGRATE_SECONDS = 60.0  # for the servers to come up
PLAN = "--plan"

_log = structlog.get_logger(__name__)


async def _live(service: Service, settings: ChassisSettings, runtime: Runtime, role: str) -> None:
    await Process(service, role, settings, runtime).run()


async def _migrate(
    service: Service, settings: ChassisSettings, runtime: Runtime, _command: str, option: str | None = None
) -> None:
    """Make what is missing. Raises NotMigrated for what cannot be made; waits a while for servers that are away."""
    if option not in (None, PLAN):
        raise SystemExit(f"migrate takes no other option than {PLAN}")
    do = _make_what_is_missing if option is None else _say_what_is_missing
    until = runtime.clock.monotonic() + MIGRATE_SECONDS
    while True:
        try:
            return await do(service, settings, runtime)
        except AWAY as error:
            if runtime.clock.monotonic() > until:
                raise
            _log.warning("waiting for MongoDB and Kafka", error=logs.reason(error))
            await asyncio.sleep(TRY_AGAIN_SECONDS)


async def _make_what_is_missing(service: Service, settings: ChassisSettings, runtime: Runtime) -> None:
    async with only_one(runtime):
        await take(await plan(runtime.database, service, runtime.clock))
        problems = await create_topics(service, settings)
    if problems:
        raise NotMigrated(problems)
    _log.info("migrated")


async def _say_what_is_missing(service: Service, settings: ChassisSettings, runtime: Runtime) -> None:
    steps = [step.does for step in await plan(runtime.database, service, runtime.clock)]
    topics, problems = await plan_topics(service, settings)
    steps += [f"make topic {name}" for name in topics]
    for does in steps:
        _print({"would": does})
    _log.info("planned", steps=len(steps))
    if problems:
        raise NotMigrated(problems)


def _print(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line, default=str) + "\n")


async def _parked(service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str) -> None:
    """Print the messages, timers, vendor calls and outgoing events that wait for an operator."""
    async for line in parked_work.list_all(runtime):
        _print({"service": service.name} | line)


async def _replay(
    service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str, key: str | None = None
) -> None:
    """Let the workers try again what is parked, and say what has become of it."""
    lines = await parked_work.replay_all(runtime.database, runtime.clock, key)
    for line in lines:
        _print({"service": service.name} | line)
    _log.info("tried again", key=key, works=len(lines))


async def _show(
    _service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str, kind: str, id_: str
) -> None:
    """Print one that is parked, whole."""
    raw = await _kind(kind).show(runtime.database, id_)
    if raw is None:
        raise SystemExit(f"no {kind} with the id {id_}")
    _print(raw)


async def _discard(
    _service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str, kind: str, id_: str, *why: str
) -> None:
    """Give up one that is parked."""
    option, reason = why
    if option != "--reason" or not reason.strip():
        raise SystemExit("discard takes a kind, an id, and --reason WHY")
    if not await _kind(kind).discard(runtime, id_, reason):
        raise SystemExit(f"no {kind} with the id {id_} is parked")
    _log.warning("discarded", kind=kind, id=id_, reason=reason)


def _kind(name: str) -> parked_work.ParkedWork:
    if name not in parked_work.KINDS:
        raise SystemExit(f"{name}: what can be parked are {', '.join(parked_work.KINDS)}")
    return parked_work.KINDS[name]


async def _seek(
    service: Service, _settings: ChassisSettings, runtime: Runtime, _command: str, position: str, offset: str
) -> None:
    """Let whoever handles a partition go on at another record."""
    if not offset.isdigit():
        raise SystemExit("seek takes a position, such as goals:3, and the offset of the record to go on at")
    _require_position(service, position)
    before = await positions.seek(runtime, position, int(offset))
    _log.warning("position moved", position=position, before=before, offset=int(offset))


async def _accept_loss(
    service: Service, settings: ChassisSettings, runtime: Runtime, _command: str, position: str
) -> None:
    """Let whoever handles a partition go on behind what Kafka has removed."""
    _require_position(service, position)
    before, offset = await gaps.accept_loss(runtime, settings, position)
    if offset == before:
        _log.info("nothing is lost", position=position, offset=offset)
    else:
        _log.warning("loss accepted", position=position, before=before, offset=offset, messages=offset - before)


def _require_position(service: Service, position: str) -> None:
    topics = {cast("type[Event]", row.subject).TOPIC for row in service.handlers}
    topic, _, number = position.rpartition(":")
    if topic not in topics or not re.fullmatch(r"[0-9]+", number):
        subscribed = ", ".join(sorted(topics))
        raise SystemExit(f"{position} is no position such as goals:3; {service.name} listens to {subscribed}")


async def _remember(service: Service, settings: ChassisSettings, runtime: Runtime, _command: str, since: str) -> None:
    """Apply what the service has said since a backup. Raises SystemExit if some of it lacks what came before it."""
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise SystemExit(f"{since}: remember takes a moment such as 2026-11-26T03:00Z") from None
    if moment.tzinfo is None or not service.remembers:
        raise SystemExit(f"{since} is of no time zone" if service.remembers else f"{service.name} remembers nothing")
    memory = await own_topic.remember(service, runtime, settings, moment)
    for work in memory.waiting:
        _print({"service": service.name, "waits": work.id, "type": work.subject.TYPE, "key": work.ordering_key})
    _log.info("remembered", events=memory.done, waiting=len(memory.waiting))
    if memory.waiting:
        raise SystemExit(f"{len(memory.waiting)} events need what was said before {since}: name an earlier moment")


async def _deny(_service: Service, settings: ChassisSettings, runtime: Runtime, _command: str, jti: str) -> None:
    """Accept a token no more, until it has ended by itself."""
    seconds_max = cast("ApiSettings", settings).access_token_seconds_max
    await denied.deny(runtime.database, runtime.clock, jti, seconds_max + 2 * LEEWAY_SECONDS)
    _log.warning("token denied", jti=jti)


ARGUMENTS: Mapping[str, tuple[int, ...]] = {  # how many words a command may have behind it; others none
    "migrate": (0, 1),
    "replay": (0, 1),
    "show": (2,),
    "discard": (4,),
    "seek": (2,),
    "accept-loss": (1,),
    "deny": (1,),
    "remember": (1,),
}
COMMANDS: Mapping[str, Callable[..., Awaitable[None]]] = {
    "api": _live,
    "worker": _live,
    "all": _live,
    "migrate": _migrate,
    "parked": _parked,
    "replay": _replay,
    "show": _show,
    "discard": _discard,
    "seek": _seek,
    "accept-loss": _accept_loss,
    "deny": _deny,
    "remember": _remember,
}
