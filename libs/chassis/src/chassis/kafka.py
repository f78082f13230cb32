"""Opening and closing producers, with a bound on everything: aiokafka's own retries have none."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed

START_SECONDS = 5.0
STOP_SECONDS = 2.0
REQUEST_MILLISECONDS = 5_000


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

    An idempotent producer keeps what it cannot send and tries for ever, and after an error its sequence numbers have a
    gap, so that nothing is accepted any more (facts: aiokafka #1101, #1017).
    """
    producer._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001 - no public way to give up what cannot be sent
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await producer.stop()
    except (TimeoutError, KafkaError):
        return
