"""What topics the stack's Kafka has."""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from devstack.errors import StackError

ANSWER_SECONDS = 10


def topics(bootstrap: str) -> dict[str, int]:
    """`partitions`, for who has no loop."""
    return asyncio.run(partitions(bootstrap))


async def partitions(bootstrap: str) -> dict[str, int]:
    """The number of partitions of every topic but Kafka's own, sorted by name. Raises StackError if Kafka is away."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=ANSWER_SECONDS * 1_000)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await admin.start()
            found = await admin.describe_topics()
    except (KafkaError, TimeoutError) as error:
        raise StackError(f"Kafka does not answer on {bootstrap} ({error!r})") from error
    finally:
        await admin.close()
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in sorted(found, key=lambda t: t["topic"])
        if not topic["is_internal"]
    }
