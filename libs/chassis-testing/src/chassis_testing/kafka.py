"""For tests: one service on the real Kafka and MongoDB, in this process.

    async with kafka_harness(SERVICE, mongo, kafka_bootstrap, namespace) as harness:
        await harness.publish(event, event)
        async with doing(harness.consumer()): ...

`ServiceHarness` leaves Kafka out and is what a service's own tests use; this is for what Kafka and the chassis do
to each other.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from chassis import ids
from chassis.clock import SystemClock, instant
from chassis.context import Outside, Runtime
from chassis.effects.vendor_client import VendorClient
from chassis.kafka.consumer import Consumer
from chassis.kafka.topics import create_topics
from chassis.runtime.migrate import create_collections
from chassis.runtime.settings import ChassisSettings
from chassis.service import Service
from chassis.storage.mongo import Database, Mongo, Raw
from contracts import Event, EventAttributes, Message, to_message


@dataclass(frozen=True)
class KafkaHarness:
    """One service, its servers and its topics."""

    service: Service
    runtime: Runtime
    settings: ChassisSettings
    producer: Any

    @property
    def database(self) -> Database:
        """The service's own."""
        return self.runtime.database

    def consumer(self) -> Consumer:
        """One more worker of the service."""
        return Consumer(self.service, self.runtime, self.settings)

    def message(self, event: Event, id_: str | None = None, versions: tuple[str, ...] = ()) -> Message:
        """`event` as another service would send it now."""
        now = instant(self.runtime.clock.micros())
        attributes = EventAttributes(
            id=id_ or ids.new_id(),
            type=event.TYPE,
            source="/footlights/tests",
            subject=event.subject,
            time=now,
            partition_key=event.key,
            correlation_id=ids.new_id(),
            versions=versions,
        )
        return to_message(event, attributes)

    async def publish(self, *events: Event, times: int = 1) -> None:
        """Send `events` in order, each so many times over, and wait for the broker."""
        await self.send([message for event in events for message in [self.message(event)] * times])

    async def send(self, messages: Sequence[Message]) -> None:
        """Send `messages` in order and wait for the broker."""
        sent = [
            await self.producer.send(
                self.settings.scoped(message.topic), message.value, key=message.key, headers=message.headers
            )
            for message in messages
        ]
        await asyncio.gather(*sent)

    async def documents(self, name: str, **where: Any) -> list[Raw]:
        """The documents of a collection, by id."""
        rows: list[Raw] = await self.database[name].find(where).sort("_id", 1).to_list(None)
        return rows


@asynccontextmanager
async def kafka_harness(
    service: Service, mongo: Mongo, kafka_bootstrap: str, namespace: str, **settings: Any
) -> AsyncIterator[KafkaHarness]:
    """Make topics, collections and indexes of `service` in `namespace`; the database is dropped at the end."""
    chosen = ChassisSettings(
        mongo_url=SecretStr("mongodb://unused"),
        kafka_bootstrap=kafka_bootstrap,
        namespace=namespace,
        devstack=True,
        **settings,
    )
    database = mongo.database(chosen.scoped(service.package))
    await create_collections(database, service)
    await create_topics(service, chosen)
    http, clock = VendorClient(), SystemClock()
    by_type = {ChassisSettings: chosen} | {of: of() for of in service.settings}
    runtime = Runtime(service.name, mongo, database, clock, Outside(by_type, http, clock))
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, **chosen.kafka_security)
    await producer.start()
    try:
        yield KafkaHarness(service, runtime, chosen, producer)
    finally:
        await producer.stop()
        await http.close()
        await mongo.client.drop_database(database.name)
