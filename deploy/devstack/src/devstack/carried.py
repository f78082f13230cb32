"""What Kafka carries, told to whoever listens: the stream behind `/stage/events`."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from devstack.errors import StackError
from devstack.topics import partitions

log = logging.getLogger(__name__)

LISTENERS_MAX: Final = 32  # tabs of people on one machine
WAITING_MAX: Final = 1_000  # events that a listener has not taken yet: seconds of a bench, some 300 kB
BEAT_SECONDS: Final = 10.0  # a line at least so often: the gateway cuts who is silent for 30 s
START_SECONDS: Final = 20.0  # until Kafka has said where its ends are
STOP_SECONDS: Final = 3.0  # aiokafka may never end
RETRY_SECONDS: Final = 1.0
POLL_MILLISECONDS: Final = 1_000
RECORDS_MAX: Final = 200  # of one poll
SHOWN: Final = {"ce_type": "type", "ce_subject": "subject", "ce_correlationid": "request"}

BUSY: Final = f"{LISTENERS_MAX} pages listen already"
BEAT: Final = b": still here\n\n"
LISTENING: Final = b"event: listening\ndata: {}\n\n"
LOST: Final = b"event: lost\ndata: {}\n\n"


class Listener:
    """What one page has still to be told."""

    def __init__(self) -> None:
        """Use `Carried.listener`."""
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_MAX)
        self._cut = False

    def tell(self, text: bytes) -> None:
        """Who is too far behind is cut, and comes again: it shows that there is a gap."""
        if self._waiting.full():
            self._cut = True
        else:
            self._waiting.put_nowait(text)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._cut:
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    text = await self._waiting.get()
            except TimeoutError:
                text = BEAT
            yield text


class Carried:
    """One reading of Kafka for all listeners, for as long as there are any. It is in no group: nobody notices it."""

    def __init__(self, bootstrap: str) -> None:
        """Nothing is asked of Kafka yet."""
        self._bootstrap = bootstrap
        self._listeners: set[Listener] = set()
        self._reading: asyncio.Task[None] | None = None
        self._at_the_ends = False

    @contextmanager
    def listener(self) -> Iterator[Listener | None]:
        """Listen while the block runs; None if there are LISTENERS_MAX already."""
        if len(self._listeners) >= LISTENERS_MAX:
            yield None
            return
        listener = Listener()
        self._listeners.add(listener)
        if self._at_the_ends:
            listener.tell(LISTENING)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_on())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._reading is not None:
                self._reading.cancel()
                self._reading = None

    def _tell(self, text: bytes) -> None:
        for listener in self._listeners:
            listener.tell(text)

    async def _read_on(self) -> None:
        """Read whatever comes, from Kafka's ends once it is there; a later outage aiokafka bridges by itself."""
        while True:
            try:
                await self._read()
            except (KafkaError, StackError, TimeoutError) as error:
                log.warning("Kafka is not read: %r", error)
                self._tell(LOST)
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        try:
            async with asyncio.timeout(START_SECONDS):
                there = await partitions(self._bootstrap)
                all_of_them = [TopicPartition(topic, number) for topic, many in there.items() for number in range(many)]
                await consumer.start()
                consumer.assign(all_of_them)
                await consumer.seek_to_end(*all_of_them)
                for partition in all_of_them:
                    await consumer.position(partition)
            self._at_the_ends = True
            self._tell(LISTENING)
            while True:
                for records in (await consumer.getmany(timeout_ms=POLL_MILLISECONDS, max_records=RECORDS_MAX)).values():
                    for record in records:
                        self._tell(told(record))
        finally:
            self._at_the_ends = False
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(STOP_SECONDS):
                    await consumer.stop()


def told(record: "ConsumerRecord[bytes, bytes]") -> bytes:
    """One event as a page hears of it: what it is and of what, never what is in it."""
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    shown: dict[str, Any] = {name: headers[header] for header, name in SHOWN.items() if header in headers}
    shown |= {"topic": record.topic, "key": (record.key or b"").decode(errors="replace"), "at_ms": record.timestamp}
    return f"data: {json.dumps(shown)}\n\n".encode()
