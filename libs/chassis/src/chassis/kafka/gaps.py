"""Gaps: what Kafka has removed before it was handled, by retention, a restored backup or by hand."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.context import Runtime
from chassis.kafka.positions import POSITIONS, seek
from chassis.runtime.settings import ChassisSettings


async def accept_loss(runtime: Runtime, settings: ChassisSettings, id_: str) -> tuple[int, int]:
    """Let position `id_`, `goals:3`, go on at the first record there is; returns where it was, and where that is.

    Where nothing is lost nothing changes, and both are where it is.

    Raises:
        KafkaError: there is no such partition, or no broker answers.
        PyMongoError: the database is away, or somebody handles a message there this very moment.
    """
    row = await runtime.database[POSITIONS.name].find_one({"_id": id_}, {"offset": 1})
    before = int(row["offset"]) if row else 0
    begin = await _begin(settings, id_)
    if begin <= before:
        return before, before
    return await seek(runtime, id_, begin), begin


async def _begin(settings: ChassisSettings, id_: str) -> int:
    topic, _, number = id_.rpartition(":")
    tp = TopicPartition(settings.scoped(topic), int(number))
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, **settings.kafka_security)
    await consumer.start()
    try:
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets([tp])
        return begins[tp]
    finally:
        await consumer.stop()
