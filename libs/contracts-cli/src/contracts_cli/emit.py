"""Send an example of an event into a running system.

It is the recorded one under a new id, decided now, with what `--set` changes: so a consumer can be tried before what it
waits for happens. It is valid, or it is not sent. Only into a broker on this machine, unless `--anywhere` is given.
"""

import argparse
import asyncio
import ipaddress
import json
import secrets
import sys
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from contracts import REGISTRY, Event, EventAttributes, Message, to_message
from contracts.examples import example
from contracts_cli.broker import Broker

COUNT_MAX = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `emit` understands."""
    parser.add_argument("type", metavar="TYPE", help="such as goal.ended.v1")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        metavar="FIELD=VALUE",
        help="a field of the data, dotted (context.duration=60); JSON, else text; may be repeated",
    )
    parser.add_argument("--count", type=_count, default=1, metavar="N", help="so many, each under an id of its own")
    parser.add_argument("--anywhere", action="store_true", help="into a broker that is not on this machine, too")


def _assignment(text: str) -> tuple[list[str], Any]:
    field, equals, value = text.partition("=")
    if not (field and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not like field=value")
    try:
        return field.split("."), json.loads(value)
    except ValueError:
        return field.split("."), value


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= COUNT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {COUNT_MAX}")
    return int(text)


async def run(broker: Broker, options: argparse.Namespace) -> int:
    """Send them, in order; 0 once the broker has all."""
    if options.type not in REGISTRY:
        return _fail(f"there is no {options.type}; `contracts list` names all", code=2)
    if not options.anywhere and not _is_here(broker.bootstrap):
        return _fail(f"{broker.bootstrap} is not this machine; give --anywhere if you mean it", code=1)
    try:
        event = made(options.type, options.set)
    except (ValidationError, LookupError) as error:
        return _fail(f"{options.type} would not be valid: {_why(error)}", code=1)
    async with AIOKafkaProducer(**broker.client) as producer:
        messages = (message_of(event) for _ in range(options.count))
        await asyncio.gather(*[await _send(producer, broker, message) for message in messages])
    sys.stdout.write(f"{options.count} × {options.type} on {broker.scoped(event.TOPIC)}, key {event.key}\n")
    return 0


def made(type_: str, assignments: list[tuple[list[str], Any]]) -> Event:
    """The example of a type with these fields set.

    Raises:
        LookupError: a field is not one of the event's.
        ValidationError: the event would not be valid.
    """
    data = example(type_)["data"]
    for path, value in assignments:
        *parts, name = path
        part = data
        for step in parts:
            part = part.setdefault(step, {})
        part[name] = value
    event = REGISTRY[type_].model_validate_json(json.dumps(data), strict=True)
    told = event.model_dump(mode="json")
    for path, _ in assignments:
        part = told
        for step in path:
            if not isinstance(part, dict) or step not in part:
                raise LookupError(f"there is no field {'.'.join(path)}")
            part = part[step]
    return event


def message_of(event: Event) -> Message:
    """The event as its owner would tell it now, set off by nobody."""
    now = datetime.now(UTC)  # noqa: TID251 - outside the services time is the machine's
    id_ = secrets.token_hex(12)  # noqa: TID251 - as above
    return to_message(
        event,
        EventAttributes(
            id=id_,
            type=event.TYPE,
            source=f"/footlights/{event.TOPIC}",
            subject=event.subject,
            time=now.replace(microsecond=0),
            partition_key=event.key,
            correlation_id=f"emitted-{id_}",
        ),
    )


async def _send(producer: Any, broker: Broker, message: Message) -> Any:
    return await producer.send(broker.scoped(message.topic), message.value, key=message.key, headers=message.headers)


def _is_here(bootstrap: str) -> bool:
    hosts = [address.rpartition(":")[0].strip("[]") for address in bootstrap.split(",")]
    return all(host == "localhost" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
    return str(error)


def _fail(what: str, *, code: int) -> int:
    sys.stderr.write(f"contracts: {what}\n")
    return code
