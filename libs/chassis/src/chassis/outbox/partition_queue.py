"""What waits to be put on one partition, and what a broker may answer to it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiokafka.errors import (
    CorruptRecordException,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTimestampError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownProducerId,
    UnsupportedForMessageFormatError,
)
from aiokafka.structs import TopicPartition

from chassis.kafka.produce import Batch, Numbers, batch_of
from chassis.outbox.model import OutboxRow

REFUSED = (
    CorruptRecordException,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)
"""What a broker says to a record that it will never take."""

TOPIC_AWAY = (InvalidTopicError, TopicAuthorizationFailedError)
"""What a broker says of a whole topic: its rows wait, others do not. A topic that it does not know may be one that it
does not know yet; the metadata say.
"""

FORGOTTEN = (OutOfOrderSequenceNumber, UnknownProducerId, InvalidProducerEpoch, InvalidProducerIdMapping)
"""What a broker says of numbers that do not follow those it knows: a new producer begins."""


@dataclass(slots=True, eq=False)
class PartitionQueue:
    """One partition of one topic."""

    topic: str
    at: TopicPartition
    numbers: Numbers | None = None
    batch: Batch | None = None
    """What was sent and not acknowledged: it is the next to be sent."""
    todo: deque[Sequence[OutboxRow]] = field(default_factory=deque)
    failures: int = 0
    rests_until: float = 0.0
    busy: bool = False

    @property
    def id(self) -> str:
        """As rows and positions name it: `goals:3`."""
        return f"{self.topic}:{self.at.partition}"


def next_batch(queue: PartitionQueue) -> Batch:
    """What is done next; there is something to do, and whose numbers it has is known."""
    assert queue.numbers is not None  # noqa: S101 - a queue gets them before it is served
    while not (rows := queue.todo.popleft()):
        pass
    queue.batch = batch_of(rows, queue.numbers)
    queue.todo.appendleft(rows[len(queue.batch.rows) :])
    return queue.batch
