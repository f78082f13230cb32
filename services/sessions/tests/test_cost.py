"""What an event costs does not depend on how many came before it: the same round trips, nearly the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import pytest
from pymongo import monitoring

from chassis import ids
from chassis.mongo import Mongo
from chassis.testing import Solo
from contracts import Event, SessionGoalClosedV1
from services.sessions.tests.conftest import Night
from sessions import store
from sessions.domain.grants import Grant, refolded
from sessions.domain.private import SLICE_MAX, PrivateGoal
from sessions.service import SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from chassis.mongo import Driver
    from conftest import Servers

STEP = 60
BYTES_MAX = 1.2  # times those of the first
HISTORY = 5_000


class Commands(monitoring.CommandListener):
    """How many commands went to MongoDB, and how many bytes both ways."""

    def __init__(self) -> None:
        self.count = self.bytes = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.count += 1
        self.bytes += _size(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self.bytes += _size(event.reply)

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


def _size(document: Mapping[str, Any]) -> int:
    theirs = ("lsid", "$clusterTime", "operationTime", "recoveryToken")  # the driver's and the server's
    return len(bson.encode({key: value for key, value in document.items() if key not in theirs}))


@pytest.fixture
async def heard(night: Night, servers: Servers, mongo_driver: Driver) -> AsyncIterator[tuple[Night, Commands]]:
    """A session on air, in which every command to MongoDB is counted."""
    commands = Commands()
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[commands])
    database = mongo.database(night.solo.runtime.database.name)
    solo = await Solo.start(SERVICE, mongo, database, clock=night.solo.clock)
    yield Night(solo, night.session_id, night.streamer_id, night.viewer_id), commands
    await solo.runtime.outside.http.aclose()
    await mongo.close()


async def history(night: Night, goal_id: str, invitation_id: str, count: int) -> None:
    """Have so many extensions given to the viewer, one every second, as if they had been heard."""
    async with night.solo.tx() as tx:
        viewer = await store.viewer(tx, night.session_id, night.viewer_id)
        grants = [
            Grant(
                ids.new_id(), night.session_id, night.viewer_id, "extended", night.at(number), STEP, goal_id,
                invitation_id,
            )
            for number in range(count)
        ]  # fmt: skip
        viewer, placed = refolded(viewer, viewer.permission, grants)
        tx.put(store.VIEWERS, viewer)
        for grant in placed:
            tx.insert(store.GRANTS, grant)
    night.solo.clock.advance(count)


async def test_an_event_costs_the_same_after_5_000_of_the_same_viewer(heard: tuple[Night, Commands]) -> None:
    night, commands = heard
    invitation_id, goal_id = await night.begin()
    night.solo.clock.advance(1)
    costs: dict[str, list[tuple[int, int]]] = {}

    async def cost(name: str, event: Event) -> None:
        await night.solo.take()
        commands.count = commands.bytes = 0
        await night.solo.hear(event)
        costs.setdefault(name, []).append((commands.count, commands.bytes))
        night.solo.clock.advance(1)

    for _ in range(2):
        payment = await night.asked(night.viewer_id, goal_id)
        viewer = await night.viewer()
        assert viewer is not None
        await cost("extended", night.extended(goal_id, 10_000 + viewer.duration))
        await cost("paid", night.paid(payment))
        await cost("rejected", night.rejected(goal_id, payment))
        await cost("paid back", night.paid_back(payment))
        await history(night, goal_id, invitation_id, HISTORY)

    for name, ((count, size), (later_count, later_size)) in costs.items():
        assert later_count == count, name
        assert later_size <= BYTES_MAX * size, (name, size, later_size)


async def test_private_goals_of_an_ended_session_are_judged_in_slices(night: Night) -> None:
    async with night.solo.tx() as tx:
        for _ in range(SLICE_MAX + 3):
            tx.insert(store.PRIVATE_GOALS, PrivateGoal(ids.new_id(), night.session_id, state="giving"))

    await night.end()

    assert len(await night.told(SessionGoalClosedV1)) == SLICE_MAX
    assert await night.solo.run_timers() == 1
    closed = await night.told(SessionGoalClosedV1)
    assert [event.kept for event in closed] == [False] * 3
