"""A thousand dead letters on a real Kafka and MongoDB: from the release with the bug to the one without it."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import APIRouter

from chassis.kafka.consumer import Consumer
from chassis.outbox.relay import Relay
from chassis.runtime.commands import COMMANDS
from chassis.service import Service, on
from chassis.storage.mongo import Mongo
from chassis.storage.tx import Tx
from chassis_testing.kafka import KafkaHarness, kafka_harness
from chassis_testing.tallies import TALLIES, blocks, count, handled, has_handled, in_order
from contracts import ViewerBlockedV1
from contracts.topics import DEAD_LETTERS

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]
Operator = Callable[..., Awaitable[list[Any]]]

DEAD = 1_000
STREAMERS = 2 * DEAD
EACH = 3


@dataclass(frozen=True)
class Bug:
    """A release with a mistake that shows with some viewers."""

    viewers: frozenset[str]

    async def count(self, event: ViewerBlockedV1, tx: Tx) -> None:
        await count(event, tx)
        if event.viewer_id in self.viewers:
            raise ZeroDivisionError("of all things")


def release(handler: Callable[[ViewerBlockedV1, Tx], Awaitable[None]]) -> Service:
    return Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, handler),), collections=(TALLIES,))


MENDED = release(count)


@pytest.fixture
async def harness(mongo: Mongo, servers: Any, namespace: str) -> AsyncIterator[KafkaHarness]:
    async with kafka_harness(MENDED, mongo, servers.kafka_bootstrap, namespace) as harness:
        yield harness


@pytest.fixture
def operator(harness: KafkaHarness, capsys: pytest.CaptureFixture[str]) -> Operator:
    """`await operator("parked")`: what an operator types, and the lines that answer."""

    async def types(command: str, *words: str) -> list[Any]:
        capsys.readouterr()
        await COMMANDS[command](MENDED, harness.settings, harness.runtime, command, *words)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]

    return types


async def count_copies(harness: KafkaHarness) -> int:
    """How many records are on the dead letter topic."""
    name = harness.settings.scoped("tests.dlq")
    consumer = AIOKafkaConsumer(bootstrap_servers=harness.settings.kafka_bootstrap)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(name, number) for number in range(DEAD_LETTERS.partitions)])
        return sum(ends.values())
    finally:
        await consumer.stop()


async def test_a_thousand_are_listed_shown_one_given_up_and_after_a_deploy_all_others_take_effect_once_in_order(
    harness: KafkaHarness, operator: Operator, doing: Doing, eventually: Eventually, record_property: Any
) -> None:
    events = blocks(STREAMERS, EACH)
    bug = Bug(frozenset(event.viewer_id for event in events[:STREAMERS:2]))
    given_up = events[0]
    started = time.monotonic()

    async def all_are_dead() -> bool:
        return await harness.database["parked_keys"].count_documents({"state": "parked"}) == DEAD

    async with doing(
        Consumer(release(bug.count), harness.runtime, harness.settings), Relay(harness.runtime, harness.settings)
    ):
        await harness.publish(*events)
        await eventually(all_are_dead)
        await eventually(has_handled(harness, DEAD * EACH))  # the other keys flow
        died = time.monotonic() - started

        started = time.monotonic()
        listed = await operator("parked")
        took_list = time.monotonic() - started
        [head] = [line["head"] for line in listed if line["key"] == given_up.streamer_id]
        [shown] = await operator("show", "messages", head)
        await operator("discard", "messages", head, "--reason", "told by phone")
        await eventually(has_handled(harness, DEAD * EACH + EACH - 1))  # what was behind it follows
        copies = await count_copies(harness)

    assert len(listed) == len({line["key"] for line in listed}) == DEAD
    assert {(line["state"], line["waiting"], line["reason"]) for line in listed} == {
        ("parked", EACH - 1, "ZeroDivisionError: of all things")
    }
    assert [line["since"] for line in listed] == sorted(line["since"] for line in listed)
    assert shown["value"] == {"streamer_id": given_up.streamer_id, "viewer_id": given_up.viewer_id}
    assert copies == DEAD

    async with doing(Consumer(MENDED, harness.runtime, harness.settings)):
        started = time.monotonic()
        outcomes = await operator("replay")
        took = time.monotonic() - started

    assert [line["outcome"] for line in outcomes] == ["done"] * (DEAD - 1)
    expected = in_order(events)
    expected[given_up.streamer_id].remove(given_up.viewer_id)
    assert await handled(harness) == expected
    assert await harness.documents("parked") == await harness.documents("parked_keys") == []
    [audited] = await harness.documents("discarded")
    assert (audited["kind"], audited["reason"], audited["work"]["_id"]) == ("messages", "told by phone", head)
    record_property(
        "figures",
        f"dead letters: {DEAD} of {len(events)} events, all dead after {died:.1f} s; listed in {took_list:.2f} s; "
        f"{len(outcomes)} with {(DEAD - 1) * (EACH - 1)} behind them replayed in {took:.1f} s",
    )
