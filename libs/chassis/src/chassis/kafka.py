"""Opening and closing producers, with a bound on everything: aiokafka's own retries have none."""

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from chassis.logs import reason

START_SECONDS = 5.0
STOP_SECONDS = 2.0
REQUEST_MILLISECONDS = 5_000

_log = structlog.get_logger(__name__)


async def open_producer(bootstrap: str) -> Any:
    """A started idempotent producer with `acks=all`.

    Raises:
        KafkaError: no broker answers.
        TimeoutError: none did in time.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, request_timeout_ms=REQUEST_MILLISECONDS
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            await producer.start()
    except BaseException:
        await discard(producer)
        raise
    return producer


async def discard(producer: Any) -> None:
    """Close `producer`, whatever state it is in; what it has not sent by now it never sends.

    Its own `stop` would first send everything, for which an idempotent producer tries for ever; and after an error its
    sequence numbers have a gap, so that nothing of it is accepted any more (facts: aiokafka #1101, #1017).
    """
    producer._closed = True  # noqa: SLF001 - there is no public way to give up what cannot be sent
    sending: asyncio.Task[None] | None = producer._sender.sender_task  # noqa: SLF001 - as above
    try:
        async with asyncio.timeout(STOP_SECONDS):
            if sending is not None:
                sending.cancel()
            await producer.client.close()
            if sending is not None:
                await asyncio.wait([sending])
    except (TimeoutError, KafkaError, OSError) as error:
        _log.warning("producer not closed", error=reason(error))
