"""Dead letters: copies of messages that wait for an operator, on `<service>.dlq`, with the reason and where they were.

A copy is for whoever watches that topic. What is tried again, and freed, is the message itself, which is parked.
"""

from chassis.kafka.decoding import Headers, InboundMessage
from chassis.outbox.model import EVENT_BYTES_MAX
from chassis.storage.tx import Tx

HEADERS_BYTES_MAX = 64 * 1_024
HEADER_BYTES = 16  # what a header costs beside its name and value


def copy_to_dead_letters(tx: Tx, inbound: InboundMessage, reason: str, dlq: str) -> None:
    """Put a copy on the dead letter topic; a value that is too large for an event stays in the database alone."""
    value = inbound.value or b""
    headers = {name: value for name, value in bounded(inbound.headers) if "\0" not in name} | {
        "dlq_reason": reason.encode(),
        "dlq_topic": inbound.partition.topic.encode(),
        "dlq_partition": str(inbound.partition.number).encode(),
        "dlq_offset": str(inbound.offset).encode(),
    }
    tx.publish_raw(dlq, inbound.key, value if len(value) <= EVENT_BYTES_MAX else b"", headers)


def bounded(headers: Headers) -> list[tuple[str, bytes]]:
    """As many of them as fit; those of an event of ours always do."""
    left = HEADERS_BYTES_MAX
    fitting = []
    for name, value in headers:
        left -= len(name.encode()) + len(value or b"") + HEADER_BYTES
        if left < 0:
            break
        fitting.append((name, value or b""))
    return fitting
