"""One request of an idempotent producer: batches with numbers, and the broker's word on each of them.

aiokafka's own producer tries one batch for ever, holds up the other partitions of that broker meanwhile, and gives no
way to take it back; so batches are made and sent here, by its client and in its encoding.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import DuplicateSequenceNumber, KafkaError, NoBrokersAvailable, NoError, UnknownError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from chassis.outbox.model import OutboxRow

BATCH_BYTES = 256 * 1024  # a run of the relay has little more; what a topic with a lower limit refuses is halved
ACKNOWLEDGE_MILLISECONDS = 3_000  # for the replicas; shorter than what waits for the answer, so that there is one
ALL_REPLICAS = -1  # those in sync; `min.insync.replicas` says how many that must be
SEQUENCE_END = 2**31  # then numbers begin at 0 again


@dataclass(frozen=True, slots=True)
class Producer:
    """Whose numbers they are."""

    id: int
    epoch: int


@dataclass(slots=True)
class Numbers:
    """Of what one producer puts on one partition: by them the broker knows what it has taken already."""

    producer: Producer
    next: int = 0

    def advance(self, count: int) -> None:
        """So many were taken."""
        self.next = (self.next + count) % SEQUENCE_END


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one partition as they are sent, and sent again."""

    rows: Sequence[OutboxRow]
    data: bytes


def batch_of(rows: Sequence[OutboxRow], numbers: Numbers) -> Batch:
    """As many of the first of `rows` as fit; at least one."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=numbers.producer.id,
        producer_epoch=numbers.producer.epoch,
        base_sequence=numbers.next,
        batch_size=BATCH_BYTES,
    )
    count = 0
    for row in rows:
        if builder.append(count, None, row.key.encode(), row.value, list(row.headers.items())) is None:
            break
        count += 1
    return Batch(rows[:count], bytes(builder.build()))


async def new_producer(client: AIOKafkaClient) -> Producer:
    """A producer that no broker has heard of.

    Raises:
        KafkaError: there is none to be had now.
    """
    node = client.get_random_node()
    if node is None:
        raise NoBrokersAvailable
    response = await client.send(node, InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0))
    if response.error_code:
        raise for_code(response.error_code)
    return Producer(response.producer_id, response.producer_epoch)


async def produce(
    client: AIOKafkaClient, node: int, batches: Mapping[TopicPartition, Batch], group: ConnectionGroup
) -> dict[TopicPartition, KafkaError | None]:
    """Send a batch to each of some partitions of broker `node`; returns what it says of each, None being success."""
    topics: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for partition, batch in batches.items():
        topics[partition.topic].append((partition.partition, batch.data))
    request = ProduceRequest(None, ALL_REPLICAS, ACKNOWLEDGE_MILLISECONDS, list(topics.items()))
    try:
        response = await client.send(node, request, group=group)
    except KafkaError as error:
        return dict.fromkeys(batches, error)
    said: dict[TopicPartition, KafkaError | None] = dict.fromkeys(
        batches, UnknownError("the broker says nothing of it")
    )
    for topic, partitions in response.topics:
        for number, code, *_ in partitions:
            kind = for_code(code)
            said[TopicPartition(topic, number)] = None if kind in (NoError, DuplicateSequenceNumber) else kind()
    return said
