"""When a show begins every ticket holder is told, and a ticket lets its holder listen until the show has ended."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from chassis.clock import SystemClock
from chassis.effects.model import EFFECTS
from chassis.runtime.faults import FaultError, plan_faults
from chassis.storage.collection import Collection
from chassis.timers.dispatcher import TimerDispatcher
from chassis.timers.model import TIMERS
from chassis_testing.service import ServiceHarness
from contracts import (
    Event,
    GoalEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.goals import Conditions, Context
from contracts.sessions import Remaining
from notifier.domain import shows
from notifier.domain.pushes import Push
from notifier.domain.shows import TicketHoldersDue
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

S, G, FUNDING, SHOW = "5" * 24, "9" * 24, "f" * 24, "e" * 24
PREVIEW, SD = f"presence-stream-viewer@{S}.preview", f"presence-stream-viewer@{S}.sd"


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE)


class Scenario:
    """What sessions and goals tell of one show."""

    def __init__(self, an: An) -> None:
        self._an = an

    def started(self) -> Event:
        return self._an(SessionStartedV1, streamer_id=S, session_id=G, exclusive_to=())

    def funding(self, goal_id: str = FUNDING) -> Event:
        return self._added("ShowFundingGoal", goal_id, Context(type="show-funding", session_id=G))

    def admits(self, funding: str | None = FUNDING) -> Event:
        """Tickets of this funding let watch from now on: its show begins. None: it has ended."""
        return self._an(SessionUpdatedV1, streamer_id=S, session_id=G, exclusive_to=(), ticket_goal_id=funding)

    def show(self, goal_id: str = SHOW, funding: str = FUNDING) -> Event:
        return self._added("ShowGoal", goal_id, Context(type="show", session_id=G, funding_goal_id=funding))

    def show_ended(self) -> Event:
        return self._an(GoalEndedV1, streamer_id=S, session_id=G, goal_id=SHOW, kind="ShowGoal")

    def ticket(self, viewer_id: str, funding: str = FUNDING) -> Event:
        return self._permission(
            SessionViewerAuthorizedV1, viewer_id, funding, reason="ticket", nbf=None, duration=None, exp=None
        )

    def refunded(self, viewer_id: str, *, ticket: bool = False) -> Event:
        remaining = Remaining(nbf=None, exp=None, ticket=ticket, private=False)
        return self._permission(SessionViewerRevokedV1, viewer_id, FUNDING, reason="refunded", remaining=remaining)

    def _added(self, kind: str, goal_id: str, context: Context) -> Event:
        added = {"kind": kind, "goal_id": goal_id, "context": context}
        return self._an(SessionGoalAddedV1, streamer_id=S, session_id=G, conditions=Conditions(session_id=G), **added)

    def _permission(self, of: type[Event], viewer_id: str, funding: str, **what: Any) -> Event:
        return self._an(of, streamer_id=S, session_id=G, viewer_id=viewer_id, goal_id=funding, **what)


@pytest.fixture
def scenario(an: An) -> Scenario:
    return Scenario(an)


def viewers(count: int) -> list[str]:
    return [f"{i:024x}" for i in range(count)]


async def forget_pushes(harness: ServiceHarness) -> None:
    """As if all that waits had been made."""
    await harness.runtime.database[EFFECTS.name].delete_many({})


async def told(harness: ServiceHarness) -> list[Push]:
    """The copies of `stream.authorized` that wait, in order."""
    waiting = [effect for effect in await harness.effects() if isinstance(effect, Push)]
    return [push for push in waiting if push.name == "stream.authorized"]


async def sell(harness: ServiceHarness, scenario: Scenario, holders_: list[str]) -> None:
    await harness.handle(scenario.started(), scenario.funding(), *(scenario.ticket(viewer) for viewer in holders_))
    await forget_pushes(harness)


async def waiting(harness: ServiceHarness) -> list[TicketHoldersDue]:
    """The slice that is told next, if one is."""
    return [timer for timer in await harness.timers() if isinstance(timer, TicketHoldersDue)]


async def tell_all(harness: ServiceHarness) -> int:
    """Run slices until none follows; returns how many there were."""
    slices = 0
    while due := await waiting(harness):
        await harness.run_timers()
        slices += due != await waiting(harness)
        harness.clock.advance(shows.INTERVAL.total_seconds())
    return slices


# -- stream.authorized -------------------------------------------------------------------------------------------------


async def test_every_holder_is_told_once_on_both_channels(harness: ServiceHarness, scenario: Scenario) -> None:
    everybody = viewers(2 * shows.SLICE_MAX + 1)
    await sell(harness, scenario, everybody)

    await harness.handle(scenario.admits(), scenario.show())
    assert await tell_all(harness) == 3

    channels = Counter(push.channel for push in await told(harness))
    assert channels == Counter(f"{side}.{viewer}" for viewer in everybody for side in (PREVIEW, SD))


async def test_a_slice_is_one_push_under_its_own_number_with_the_shows_event_id_and_time(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    await sell(harness, scenario, viewers(shows.SLICE_MAX + 1))
    at = harness.now - timedelta(seconds=3)

    await harness.handle(scenario.admits(), scenario.show(), at=at)
    added = next(
        json.loads(push.data)
        for push in await harness.effects()
        if isinstance(push, Push) and push.name == "goal.added"
    )
    await tell_all(harness)

    first, second = (json.loads(data) for data in dict.fromkeys(push.data for push in await told(harness)))
    assert first.pop("seq") == second.pop("seq") - 1 == added["seq"] + 1
    assert first == second
    assert (first["event_id"], first["at"]) == (added["event_id"], at.timestamp())
    assert Counter(Counter(push.push_id for push in await told(harness)).values()) == {2: 1, 2 * shows.SLICE_MAX: 1}


async def test_who_may_watch_is_told_in_one_shape_whatever_opened_it(
    harness: ServiceHarness, scenario: Scenario, an: An
) -> None:
    early, late, alone = viewers(3)
    exp = harness.now + timedelta(seconds=120)
    agreed = {"nbf": harness.now, "duration": 120, "exp": exp, "preset": "sd"}
    await sell(harness, scenario, [early])
    await harness.handle(scenario.admits(), scenario.show())
    await tell_all(harness)
    await harness.handle(scenario.ticket(late))
    await harness.handle(
        an(SessionViewerAuthorizedV1, streamer_id=S, session_id=G, viewer_id=alone, reason="agreed", **agreed),
        an(
            SessionGoalAddedV1, streamer_id=S, session_id=G, goal_id="d" * 24, kind="ExclusiveGoal",
            conditions=Conditions(session_id=G, exclusive_to=alone),
        ),
    )  # fmt: skip

    by_reason = {data["reason"]: data for data in (json.loads(push.data) for push in await told(harness))}

    always = {"session_id", "streamer_id", "preset", "nbf", "duration", "exp", "reason", "event_id", "at", "seq"}
    causes = {"goal_id", "exclusive_goal_id", "payment_id", "gift_id"}
    assert set(by_reason) == {"show", "ticket", "agreed", "exclusive"}
    assert all(always <= data.keys() <= always | causes for data in by_reason.values()), by_reason
    assert (by_reason["show"]["goal_id"], by_reason["show"]["exp"]) == (SHOW, None)
    assert by_reason["exclusive"]["exp"] == by_reason["agreed"]["exp"] == exp.timestamp()


async def test_a_ticket_lets_its_buyer_watch_at_once_only_while_its_show_is_on(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    before, during, other, after = viewers(4)
    await harness.handle(scenario.started(), scenario.funding(), scenario.ticket(before))
    assert await told(harness) == []

    await harness.handle(scenario.admits(), scenario.show())
    await forget_pushes(harness)
    await harness.handle(scenario.ticket(during), scenario.ticket(other, funding="d" * 24))
    await harness.handle(scenario.show_ended(), scenario.admits(None), scenario.ticket(after))

    assert {push.channel for push in await told(harness)} == {f"{side}.{during}" for side in (PREVIEW, SD)}


async def test_what_a_holder_is_told_between_two_slices_has_a_number_between_theirs(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    everybody = viewers(shows.SLICE_MAX + 1)
    await sell(harness, scenario, everybody)
    await harness.handle(scenario.admits(), scenario.show())
    await harness.run_timers()

    await harness.handle(scenario.ticket(everybody[0]), scenario.ticket(everybody[-1]))
    await tell_all(harness)

    for viewer in (everybody[0], everybody[-1]):
        numbers = [json.loads(push.data)["seq"] for push in await told(harness) if push.channel == f"{SD}.{viewer}"]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 2


async def test_only_who_holds_a_ticket_of_this_show_is_told(harness: ServiceHarness, scenario: Scenario) -> None:
    other, refunded, one_left, holder = viewers(4)
    await sell(harness, scenario, [refunded, one_left, holder])
    await harness.handle(scenario.ticket(other, funding="d" * 24))
    await harness.handle(scenario.refunded(refunded), scenario.refunded(one_left, ticket=True))
    await forget_pushes(harness)

    await harness.handle(scenario.admits(), scenario.show())
    await tell_all(harness)

    assert {push.channel for push in await told(harness)} == {
        f"{side}.{viewer}" for viewer in (one_left, holder) for side in (PREVIEW, SD)
    }


async def test_who_is_refunded_while_holders_are_told_is_not_told_any_more(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    everybody = viewers(shows.SLICE_MAX + 2)
    await sell(harness, scenario, everybody)
    await harness.handle(scenario.admits(), scenario.show())
    await harness.run_timers()

    await harness.handle(scenario.refunded(everybody[-1]))
    await tell_all(harness)

    channels = {push.channel for push in await told(harness)}
    assert f"{SD}.{everybody[-2]}" in channels
    assert f"{SD}.{everybody[-1]}" not in channels


async def test_a_show_that_ended_is_told_to_no_further_holder(harness: ServiceHarness, scenario: Scenario) -> None:
    await sell(harness, scenario, viewers(2 * shows.SLICE_MAX))
    await harness.handle(scenario.admits(), scenario.show())
    await harness.run_timers()

    await harness.handle(scenario.show_ended(), scenario.admits(None))
    await tell_all(harness)

    assert len(await told(harness)) == 2 * shows.SLICE_MAX


async def test_a_funding_that_is_added_and_a_show_without_holders_tell_nobody(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    await sell(harness, scenario, [])
    assert await waiting(harness) == []

    await harness.handle(scenario.admits(), scenario.show())
    await tell_all(harness)

    assert await told(harness) == []


async def test_a_show_of_yesterday_is_told_to_nobody(harness: ServiceHarness, scenario: Scenario) -> None:
    await sell(harness, scenario, viewers(1))

    await harness.handle(scenario.admits(), scenario.show(), at=harness.now - timedelta(hours=24))

    assert await waiting(harness) == []


async def test_a_run_that_was_killed_between_slices_goes_on_and_tells_nobody_twice(
    harness_of: HarnessOf, scenario: Scenario
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    everybody = viewers(2 * shows.SLICE_MAX + 1)
    await sell(harness, scenario, everybody)
    await harness.handle(scenario.admits(), scenario.show())

    plan_faults(json.dumps({"timers.in_run": {"action": "raise", "nth": 2}}))
    try:
        with pytest.raises(FaultError):
            await TimerDispatcher(harness.runtime, SERVICE).run()
    finally:
        plan_faults(None)
    assert len(await told(harness)) == 4 * shows.SLICE_MAX
    timers = TimerDispatcher(harness.runtime, SERVICE)
    running = asyncio.create_task(timers.run())
    async with asyncio.timeout(30):
        while await waiting(harness):
            await asyncio.sleep(0.02)
    timers.stop()
    await running

    channels = Counter(push.channel for push in await told(harness))
    assert channels == Counter(f"{side}.{viewer}" for viewer in everybody for side in (PREVIEW, SD))


async def test_no_document_grows_with_the_number_of_holders(harness: ServiceHarness, scenario: Scenario) -> None:
    collections: tuple[Collection[Any], ...] = (TIMERS, EFFECTS, *SERVICE.collections)

    async def largest() -> dict[str, int]:
        await harness.handle(scenario.admits(), scenario.show())
        await harness.run_timers()
        pipeline = [{"$group": {"_id": None, "bytes": {"$max": {"$bsonSize": "$$ROOT"}}}}]
        async with harness.tx() as tx:
            kept = {one.name: await tx.aggregate(one, pipeline) for one in collections}
        await forget_pushes(harness)
        return {name: rows[0]["bytes"] for name, rows in kept.items() if rows}

    await sell(harness, scenario, viewers(shows.SLICE_MAX))
    few = await largest()
    await harness.handle(*(scenario.ticket(viewer) for viewer in viewers(4 * shows.SLICE_MAX)))
    await forget_pushes(harness)

    assert await largest() == pytest.approx(few, abs=16)


# -- POST /pusher/auth -------------------------------------------------------------------------------------------------


async def may_listen(harness: ServiceHarness, viewer_id: str, side: str = SD) -> bool:
    async with harness.client(viewer_id) as client:
        form = {"socket_id": "1.2", "channel_name": f"{side}.{viewer_id}"}
        answer = await client.post("/pusher/auth", data=form)
    assert answer.status_code in (200, 403), answer.text
    return answer.status_code == 200


async def test_a_ticket_lets_its_holder_listen_while_its_show_is_on(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    holder, other = viewers(2)
    await sell(harness, scenario, [holder])
    assert not await may_listen(harness, holder)

    await harness.handle(scenario.admits(), scenario.show())
    assert (await may_listen(harness, holder), await may_listen(harness, other)) == (True, False)
    await harness.handle(scenario.show_ended(), scenario.admits(None))

    assert not await may_listen(harness, holder)
    assert await may_listen(harness, holder, PREVIEW)


async def test_once_sessions_says_that_the_show_is_over_its_tickets_are_whatever_else_is_read(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    [holder] = viewers(1)
    await sell(harness, scenario, [holder])

    await harness.handle(scenario.show_ended(), scenario.admits(None), scenario.show())

    assert not await may_listen(harness, holder)


async def test_another_show_ends_what_older_tickets_let_see(harness: ServiceHarness, scenario: Scenario) -> None:
    [holder] = viewers(1)
    await sell(harness, scenario, [holder])
    await harness.handle(scenario.admits(), scenario.show())

    await harness.handle(scenario.admits("d" * 24), scenario.show("c" * 24, funding="d" * 24))
    assert not await may_listen(harness, holder)
    await harness.handle(scenario.ticket(holder, funding="d" * 24))

    assert await may_listen(harness, holder)


async def test_who_was_refunded_may_not_listen_unless_another_ticket_stands(
    harness: ServiceHarness, scenario: Scenario
) -> None:
    refunded, one_left = viewers(2)
    await sell(harness, scenario, [refunded, one_left])

    await harness.handle(
        scenario.admits(), scenario.show(), scenario.refunded(refunded), scenario.refunded(one_left, ticket=True)
    )

    assert (await may_listen(harness, refunded), await may_listen(harness, one_left)) == (False, True)
