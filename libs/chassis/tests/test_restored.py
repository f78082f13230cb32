"""A restored database decides once more what it has decided since, and says it under the same ids."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.decision import At, Timer
from chassis.outbox.model import OUTBOX
from chassis.runtime.wakeup import WAKEUPS
from chassis.service import Service, on, when
from chassis.storage.mongo import Mongo
from chassis.storage.tx import Tx
from chassis.timers.dispatcher import TimerDispatcher
from chassis_testing.kafka import KafkaHarness, kafka_harness
from contracts import ViewerBlockedV1, ViewerUnblockedV1

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]


class Pardon(Timer, name="pardon"):
    """A moment after a block."""

    viewer_id: str


async def block(event: ViewerBlockedV1, tx: Tx) -> None:
    for _ in range(2):
        tx.emit(ViewerUnblockedV1(streamer_id=event.streamer_id, viewer_id=event.viewer_id))
    pardon = Pardon(viewer_id=event.viewer_id)
    tx.set_timer(At(pardon, f"pardon:{event.viewer_id}", tx.cause.at + timedelta(seconds=1), event.streamer_id))


async def pardon(timer: Pardon, tx: Tx) -> None:
    tx.emit(ViewerUnblockedV1(streamer_id=timer.viewer_id, viewer_id=timer.viewer_id))


SERVICE = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, block),), timers=(when(Pardon, pardon),))


@pytest.fixture
async def harness(mongo: Mongo, servers: Any, namespace: str) -> AsyncIterator[KafkaHarness]:
    async with kafka_harness(
        SERVICE, mongo, servers.kafka_bootstrap, namespace, kafka_session_timeout_seconds=6
    ) as harness:
        yield harness


async def test_what_follows_from_events_and_their_timers_has_the_ids_that_it_had_before_the_backup_was_restored(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    key = ids.new_id()
    await harness.publish(*(ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for _ in range(3)))
    lives = []

    for _ in range(2):
        async with doing(harness.consumer(), TimerDispatcher(harness.runtime, SERVICE)):
            await eventually(lambda: _has_said(harness, 9), seconds=30)
        lives.append({row["_id"] for row in await harness.documents(OUTBOX.name)})
        for name in await harness.database.list_collection_names(filter={"name": {"$ne": WAKEUPS.name}}):
            await harness.database[name].delete_many({})  # an old backup

    assert len(lives[0]) == 9
    assert lives[0] == lives[1]


async def _has_said(harness: KafkaHarness, count: int) -> bool:
    return len(await harness.documents(OUTBOX.name)) >= count
