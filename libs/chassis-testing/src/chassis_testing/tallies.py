"""A consumer for tests of the chassis: it notes what it handled of each streamer, in order.

SERVICE = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, count),), collections=(TALLIES,))
events = blocks(streamers=20, each=30)
await harness.publish(*events)
assert await handled(harness) == in_order(events)
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from chassis import ids
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from chassis_testing.kafka import KafkaHarness
from contracts import ViewerBlockedV1


@dataclass(frozen=True, slots=True)
class Tally:
    """What was handled of one streamer, in order."""

    id: str
    handled: tuple[str, ...] = ()


TALLIES = Collection("tallies", Tally)


async def note(tx: Tx, streamer_id: str, what: str) -> None:
    """Write it down."""
    tally = await tx.get(TALLIES, streamer_id) or Tally(streamer_id)
    tx.put(TALLIES, replace(tally, handled=(*tally.handled, what)))


async def count(event: ViewerBlockedV1, tx: Tx) -> None:
    """The handler: the streamer's tally has one more viewer."""
    await note(tx, event.streamer_id, event.viewer_id)


def blocks(streamers: int, each: int) -> list[ViewerBlockedV1]:
    """Events of several streamers, taking turns."""
    keys = [ids.new_id() for _ in range(streamers)]
    return [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for _ in range(each) for key in keys]


def in_order(events: Iterable[ViewerBlockedV1]) -> dict[str, list[str]]:
    """What should have been handled of `events`, by streamer."""
    wanted: dict[str, list[str]] = {}
    for event in events:
        wanted.setdefault(event.streamer_id, []).append(event.viewer_id)
    return wanted


async def handled(harness: KafkaHarness) -> dict[str, list[str]]:
    """What was handled, by streamer."""
    return {row["_id"]: row["handled"] for row in await harness.documents(TALLIES.name)}


async def count_handled(harness: KafkaHarness) -> int:
    """How much was handled of all."""
    return sum(map(len, (await handled(harness)).values()))


def has_handled(harness: KafkaHarness, wanted: int) -> Callable[[], Awaitable[bool]]:
    """For `eventually`: whether so much was handled."""

    async def holds() -> bool:
        return await count_handled(harness) >= wanted

    return holds
