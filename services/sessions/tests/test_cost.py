"""What an event costs does not depend on how many came before it: the same round trips, nearly the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chassis import ids
from chassis.storage.mongo import Mongo
from chassis_testing.costs import Commands
from chassis_testing.service import ServiceHarness
from contracts import Event, SessionGoalClosedV1, SessionPaymentReversedV1
from services.sessions.tests.conftest import LiveSession
from sessions import store
from sessions.domain import minutes
from sessions.domain.grants import Grant, refolded
from sessions.domain.private import SLICE_MAX, PrivateGoal
from sessions.service import SERVICE
from sessions.store import holders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chassis.storage.mongo import Driver
    from conftest import Servers

STEP = 60
HISTORY = 5_000


@pytest.fixture
async def heard(
    live: LiveSession, servers: Servers, mongo_driver: Driver
) -> AsyncIterator[tuple[LiveSession, Commands]]:
    """A session on air, in which every command to MongoDB is counted."""
    commands = Commands()
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[commands])
    database = mongo.database(live.harness.runtime.database.name)
    harness = await ServiceHarness.start(SERVICE, mongo, database, clock=live.harness.clock)
    yield LiveSession(harness, live.session_id, live.streamer_id, live.viewer_id), commands
    await harness.runtime.outside.http.close()
    await mongo.close()


async def history(live: LiveSession, goal_id: str, invitation_id: str, count: int) -> None:
    """Have so many extensions given to the viewer, one every second, as if they had been heard."""
    async with live.harness.tx() as tx:
        viewer = await holders.viewer(tx, live.session_id, live.viewer_id)
        grants = [
            Grant(
                ids.new_id(), live.session_id, live.viewer_id, "extended", live.at(number), STEP, goal_id,
                invitation_id,
            )
            for number in range(count)
        ]  # fmt: skip
        viewer, placed = refolded(viewer, viewer.permission, grants)
        tx.put(store.VIEWERS, viewer)
        for grant in placed:
            tx.insert(store.GRANTS, grant)
    live.harness.clock.advance(count)


async def test_an_event_costs_the_same_after_5_000_of_the_same_viewer(heard: tuple[LiveSession, Commands]) -> None:
    live, commands = heard
    invitation_id, goal_id = await live.begin()
    live.harness.clock.advance(1)

    async def cost(name: str, event: Event) -> None:
        await live.harness.take()
        commands.begin(name)
        await live.harness.handle(event)
        commands.end()
        live.harness.clock.advance(1)

    for _ in range(2):
        payment = await live.asked(live.viewer_id, goal_id)
        viewer = await live.viewer()
        assert viewer is not None
        await cost("extended", live.extended(goal_id, 10_000 + viewer.duration))
        await cost("paid", live.paid(payment))
        await cost("rejected", live.rejected(goal_id, payment))
        await cost("paid back", live.paid_back(payment))
        await history(live, goal_id, invitation_id, HISTORY)

    for name, (first, later) in commands.costs.items():
        assert later.is_like(first), (name, first, later)


async def test_a_slice_of_viewers_is_paid_back_with_as_many_round_trips_as_one_viewer(
    heard: tuple[LiveSession, Commands],
) -> None:
    live, commands = heard
    for count in (1, minutes.SLICE_MAX - 1):
        viewers = [ids.new_id() for _ in range(count)]
        for viewer_id in viewers:
            await live.harness.handle(live.paid(await live.asked(viewer_id, steps=2)))
        await live.harness.take()
        left = minutes.MinutesLeft(session_id=live.session_id, reason="session_ended", at=live.harness.now)
        async with live.harness.tx() as tx:
            tx.set_timer(minutes.look_for(left, tx.now))
        commands.begin("paid back")
        await live.harness.run_timers()
        commands.end()
        reversed_ = await live.published(SessionPaymentReversedV1)
        assert {event.payer_id for event in reversed_} == set(viewers)
        live.harness.clock.advance(1)

    one, many = commands.costs["paid back"]
    assert many.round_trips == one.round_trips


async def test_private_goals_of_an_ended_session_are_judged_in_slices(live: LiveSession) -> None:
    async with live.harness.tx() as tx:
        for _ in range(SLICE_MAX + 3):
            tx.insert(store.PRIVATE_GOALS, PrivateGoal(ids.new_id(), live.session_id, state="giving"))

    await live.end()

    assert len(await live.published(SessionGoalClosedV1)) == SLICE_MAX
    assert await live.harness.run_timers() == 1
    closed = await live.published(SessionGoalClosedV1)
    assert [event.kept for event in closed] == [False] * 3
