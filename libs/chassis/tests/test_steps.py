"""A request's id finds every step from the click to the push, in the logs of all services."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from structlog.testing import capture_logs
from structlog.typing import EventDict

from chassis import ids
from chassis.context import Outside
from chassis.decision import At, Call, Effect, Timer
from chassis.effects.dispatcher import EffectDispatcher
from chassis.errors import Conflict
from chassis.http import TxDep, TxRouter, create_app
from chassis.kafka.parking import ATTEMPTS_MAX
from chassis.outbox.relay import Relay
from chassis.runtime.settings import ApiSettings
from chassis.service import EffectRequest, EffectResult, Service, effect, on, when
from chassis.storage.mongo import Mongo
from chassis.storage.tx import Tx
from chassis.timers.dispatcher import TimerDispatcher
from chassis_testing.kafka import KafkaHarness, kafka_harness
from chassis_testing.service import DEMO, access_token
from contracts import ViewerBlockedV1

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]

STREAMER, VIEWER, REFUSED = ids.new_id(), ids.new_id(), ids.new_id()


class Remind(Timer, name="remind"):
    streamer_id: str


class Push(Effect, name="push"):
    streamer_id: str


class Never(Conflict, slug="never"):
    """Not this one."""


router = TxRouter()


@router.put("/blocks/{viewer_id}")
async def block(viewer_id: str, tx: TxDep) -> None:
    tx.emit(ViewerBlockedV1(streamer_id=STREAMER, viewer_id=viewer_id))


async def wait_a_moment(event: ViewerBlockedV1, tx: Tx) -> None:
    if event.viewer_id == REFUSED:
        raise Never
    tx.set_timer(At(Remind(streamer_id=event.streamer_id), "r", tx.now + timedelta(seconds=0.1), event.streamer_id))


async def tell(timer: Remind, tx: Tx) -> None:
    tx.schedule_effect(Call(Push(streamer_id=timer.streamer_id), ids.new_id(), timer.streamer_id))


async def push(calls: Sequence[EffectRequest[Push]], _outside: Outside) -> Sequence[EffectResult[Push]]:
    return [EffectResult(one.effect, one.id, one.key) for one in calls]


SESSIONS = Service("sessions", router)
NOTIFIER = Service(
    "notifier",
    APIRouter(),
    handlers=(on(ViewerBlockedV1, wait_a_moment),),
    timers=(when(Remind, tell),),
    effects=(effect(Push, push),),
)


@pytest.fixture
async def sessions(mongo: Mongo, servers: Any, namespace: str) -> AsyncIterator[KafkaHarness]:
    async with kafka_harness(SESSIONS, mongo, servers.kafka_bootstrap, namespace) as harness:
        yield harness


@pytest.fixture
async def notifier(sessions: KafkaHarness, mongo: Mongo, servers: Any) -> AsyncIterator[KafkaHarness]:
    async with kafka_harness(NOTIFIER, mongo, servers.kafka_bootstrap, sessions.settings.namespace) as harness:
        yield harness


async def block_over_http(sessions: KafkaHarness, viewer: str, request_id: str) -> None:
    transport = httpx.ASGITransport(create_app(SESSIONS, sessions.runtime, ApiSettings(**DEMO)))
    headers = {"authorization": f"Bearer {access_token(STREAMER)}", "x-request-id": request_id}
    async with httpx.AsyncClient(transport=transport, base_url="http://sessions", headers=headers) as client:
        assert (await client.put(f"/blocks/{viewer}")).status_code == 204


def steps(lines: Sequence[EventDict], request_id: str) -> list[tuple[str, str | None, str | None]]:
    """What the log tells of this request."""
    return [(line["event"], line.get("type"), line.get("outcome")) for line in lines if request_id in line.values()]


async def test_a_requests_id_is_in_the_line_of_every_step_that_follows(
    sessions: KafkaHarness, notifier: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    parts = (
        Relay(sessions.runtime, sessions.settings),
        notifier.consumer(),
        TimerDispatcher(notifier.runtime, NOTIFIER),
        EffectDispatcher(notifier.runtime, NOTIFIER),
    )
    with capture_logs() as lines:
        async with doing(*parts):
            await block_over_http(sessions, VIEWER, "click-1")
            await eventually(lambda: len(steps(lines, "click-1")) >= 4, seconds=30)
            await block_over_http(sessions, REFUSED, "click-2")
            await eventually(lambda: len(steps(lines, "click-2")) > ATTEMPTS_MAX, seconds=30)

    assert steps(lines, "click-1") == [
        ("request", None, None),
        ("event", "viewer.blocked.v1", "handled"),
        ("timer", "remind", "handled"),
        ("effect", "push", "done"),
    ]
    handled = next(line for line in lines if line["event"] == "event")
    assert handled["key"] == STREAMER
    assert handled["id"]
    assert set(steps(lines, "click-2")[1:]) == {("event", "viewer.blocked.v1", "parked")}
