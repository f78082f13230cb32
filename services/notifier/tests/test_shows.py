"""When a show begins every ticket holder is told, and a ticket lets its holder listen until the show has ended."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from chassis.clock import SystemClock
from chassis.collection import Collection
from chassis.faults import FaultError, plan_faults
from chassis.pending import EFFECTS, TIMERS
from chassis.testing import Solo
from chassis.timers import Timers
from contracts import (
    Event,
    GoalEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.goals import Conditions, Context
from contracts.sessions import Remaining
from notifier.domain import shows
from notifier.domain.pushes import Push
from notifier.service import SERVICE

SoloOf = Callable[..., Awaitable[Solo]]
An = Callable[..., Event]

S, G, FUNDING, SHOW = "5" * 24, "9" * 24, "f" * 24, "e" * 24
PREVIEW, SD = f"presence-stream-viewer@{S}.preview", f"presence-stream-viewer@{S}.sd"


@pytest.fixture
async def solo(solo_of: SoloOf) -> Solo:
    return await solo_of(SERVICE)


class Evening:
    """What sessions and goals tell of one show."""

    def __init__(self, an: An) -> None:
        self._an = an

    def started(self) -> Event:
        return self._an(SessionStartedV1, streamer_id=S, session_id=G, exclusive_to=())

    def funding(self, goal_id: str = FUNDING) -> Event:
        return self._added("ShowFundingGoal", goal_id, Context(type="show-funding", session_id=G))

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
def evening(an: An) -> Evening:
    return Evening(an)


def viewers(count: int) -> list[str]:
    return [f"{i:024x}" for i in range(count)]


async def forget_pushes(solo: Solo) -> None:
    """As if all that waits had been made."""
    await solo.runtime.database[EFFECTS.name].delete_many({})


async def told(solo: Solo) -> list[Push]:
    """The copies of `stream.authorized` that wait, in order."""
    waiting = [effect for effect in await solo.effects() if isinstance(effect, Push)]
    return [push for push in waiting if push.name == "stream.authorized"]


async def sell(solo: Solo, evening: Evening, holders_: list[str]) -> None:
    await solo.hear(evening.started(), evening.funding(), *(evening.ticket(viewer) for viewer in holders_))
    await forget_pushes(solo)


async def tell_all(solo: Solo) -> int:
    """Run slices until none follows; returns how many there were."""
    slices = 0
    while await solo.timers():
        slices += await solo.run_timers()
        solo.clock.advance(shows.PACE.total_seconds())
    return slices


# -- stream.authorized -------------------------------------------------------------------------------------------------


async def test_every_holder_is_told_once_on_both_channels(solo: Solo, evening: Evening) -> None:
    everybody = viewers(2 * shows.SLICE_MAX + 1)
    await sell(solo, evening, everybody)

    await solo.hear(evening.show())
    assert await tell_all(solo) == 3

    channels = Counter(push.channel for push in await told(solo))
    assert channels == Counter(f"{side}.{viewer}" for viewer in everybody for side in (PREVIEW, SD))


async def test_a_slice_is_one_push_under_its_own_number_with_the_shows_event_id_and_time(
    solo: Solo, evening: Evening
) -> None:
    await sell(solo, evening, viewers(shows.SLICE_MAX + 1))
    at = solo.now - timedelta(seconds=3)

    await solo.hear(evening.show(), at=at)
    added = json.loads((await solo.effects())[0].model_dump()["data"])
    await tell_all(solo)

    first, second = (json.loads(data) for data in dict.fromkeys(push.data for push in await told(solo)))
    assert first.pop("seq") == second.pop("seq") - 1 == added["seq"] + 1
    assert first == second
    assert (first["event_id"], first["at"]) == (added["event_id"], at.timestamp())
    assert Counter(Counter(push.push_id for push in await told(solo)).values()) == {2: 1, 2 * shows.SLICE_MAX: 1}


async def test_who_may_watch_is_told_in_one_shape_whatever_opened_it(solo: Solo, evening: Evening, an: An) -> None:
    early, late, alone = viewers(3)
    exp = solo.now + timedelta(seconds=120)
    agreed = {"nbf": solo.now, "duration": 120, "exp": exp, "preset": "sd"}
    await sell(solo, evening, [early])
    await solo.hear(evening.show())
    await tell_all(solo)
    await solo.hear(evening.ticket(late))
    await solo.hear(
        an(SessionViewerAuthorizedV1, streamer_id=S, session_id=G, viewer_id=alone, reason="agreed", **agreed),
        an(
            SessionGoalAddedV1, streamer_id=S, session_id=G, goal_id="d" * 24, kind="ExclusiveGoal",
            conditions=Conditions(session_id=G, exclusive_to=alone),
        ),
    )  # fmt: skip

    by_reason = {data["reason"]: data for data in (json.loads(push.data) for push in await told(solo))}

    always = {"session_id", "streamer_id", "preset", "nbf", "duration", "exp", "reason", "event_id", "at", "seq"}
    causes = {"goal_id", "exclusive_goal_id", "payment_id", "gift_id"}
    assert set(by_reason) == {"show", "ticket", "agreed", "exclusive"}
    assert all(always <= data.keys() <= always | causes for data in by_reason.values()), by_reason
    assert (by_reason["show"]["goal_id"], by_reason["show"]["exp"]) == (SHOW, None)
    assert by_reason["exclusive"]["exp"] == by_reason["agreed"]["exp"] == exp.timestamp()


async def test_a_ticket_lets_its_buyer_watch_at_once_only_while_its_show_is_on(solo: Solo, evening: Evening) -> None:
    before, during, other, after = viewers(4)
    await solo.hear(evening.started(), evening.funding(), evening.ticket(before))
    assert await told(solo) == []

    await solo.hear(evening.show())
    await forget_pushes(solo)
    await solo.hear(evening.ticket(during), evening.ticket(other, funding="d" * 24))
    await solo.hear(evening.show_ended(), evening.ticket(after))

    assert {push.channel for push in await told(solo)} == {f"{side}.{during}" for side in (PREVIEW, SD)}


async def test_what_a_holder_is_told_between_two_slices_has_a_number_between_theirs(
    solo: Solo, evening: Evening
) -> None:
    everybody = viewers(shows.SLICE_MAX + 1)
    await sell(solo, evening, everybody)
    await solo.hear(evening.show())
    await solo.run_timers()

    await solo.hear(evening.ticket(everybody[0]), evening.ticket(everybody[-1]))
    await tell_all(solo)

    for viewer in (everybody[0], everybody[-1]):
        numbers = [json.loads(push.data)["seq"] for push in await told(solo) if push.channel == f"{SD}.{viewer}"]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 2


async def test_only_who_holds_a_ticket_of_this_show_is_told(solo: Solo, evening: Evening) -> None:
    other, refunded, one_left, holder = viewers(4)
    await sell(solo, evening, [refunded, one_left, holder])
    await solo.hear(evening.ticket(other, funding="d" * 24))
    await solo.hear(evening.refunded(refunded), evening.refunded(one_left, ticket=True))
    await forget_pushes(solo)

    await solo.hear(evening.show())
    await tell_all(solo)

    assert {push.channel for push in await told(solo)} == {
        f"{side}.{viewer}" for viewer in (one_left, holder) for side in (PREVIEW, SD)
    }


async def test_who_is_refunded_while_holders_are_told_is_not_told_any_more(solo: Solo, evening: Evening) -> None:
    everybody = viewers(shows.SLICE_MAX + 2)
    await sell(solo, evening, everybody)
    await solo.hear(evening.show())
    await solo.run_timers()

    await solo.hear(evening.refunded(everybody[-1]))
    await tell_all(solo)

    channels = {push.channel for push in await told(solo)}
    assert f"{SD}.{everybody[-2]}" in channels
    assert f"{SD}.{everybody[-1]}" not in channels


async def test_a_show_that_ended_is_told_to_no_further_holder(solo: Solo, evening: Evening) -> None:
    await sell(solo, evening, viewers(2 * shows.SLICE_MAX))
    await solo.hear(evening.show())
    await solo.run_timers()

    await solo.hear(evening.show_ended())
    await tell_all(solo)

    assert len(await told(solo)) == 2 * shows.SLICE_MAX


async def test_a_funding_that_is_added_and_a_show_without_holders_tell_nobody(solo: Solo, evening: Evening) -> None:
    await sell(solo, evening, [])
    assert await solo.timers() == []

    await solo.hear(evening.show())
    await tell_all(solo)

    assert await told(solo) == []


async def test_a_show_of_yesterday_is_told_to_nobody(solo: Solo, evening: Evening) -> None:
    await sell(solo, evening, viewers(1))

    await solo.hear(evening.show(), at=solo.now - timedelta(hours=24))

    assert await solo.timers() == []


async def test_a_run_that_was_killed_between_slices_goes_on_and_tells_nobody_twice(
    solo_of: SoloOf, evening: Evening
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    everybody = viewers(2 * shows.SLICE_MAX + 1)
    await sell(solo, evening, everybody)
    await solo.hear(evening.show())

    plan_faults(json.dumps({"timers.in_run": {"action": "raise", "nth": 2}}))
    try:
        with pytest.raises(FaultError):
            await Timers(solo.runtime, SERVICE).run()
    finally:
        plan_faults(None)
    assert len(await told(solo)) == 4 * shows.SLICE_MAX
    timers = Timers(solo.runtime, SERVICE)
    running = asyncio.create_task(timers.run())
    async with asyncio.timeout(30):
        while await solo.timers():
            await asyncio.sleep(0.02)
    timers.stop()
    await running

    channels = Counter(push.channel for push in await told(solo))
    assert channels == Counter(f"{side}.{viewer}" for viewer in everybody for side in (PREVIEW, SD))


async def test_no_document_grows_with_the_number_of_holders(solo: Solo, evening: Evening) -> None:
    collections: tuple[Collection[Any], ...] = (TIMERS, EFFECTS, *SERVICE.collections)

    async def largest() -> dict[str, int]:
        await solo.hear(evening.show())
        await solo.run_timers()
        pipeline = [{"$group": {"_id": None, "bytes": {"$max": {"$bsonSize": "$$ROOT"}}}}]
        async with solo.tx() as tx:
            kept = {one.name: await tx.aggregate(one, pipeline) for one in collections}
        await forget_pushes(solo)
        return {name: rows[0]["bytes"] for name, rows in kept.items() if rows}

    await sell(solo, evening, viewers(shows.SLICE_MAX))
    few = await largest()
    await solo.hear(*(evening.ticket(viewer) for viewer in viewers(4 * shows.SLICE_MAX)))
    await forget_pushes(solo)

    assert await largest() == pytest.approx(few, abs=16)


# -- POST /pusher/auth -------------------------------------------------------------------------------------------------


async def may_listen(solo: Solo, viewer_id: str, side: str = SD) -> bool:
    async with solo.client(viewer_id) as client:
        form = {"socket_id": "1.2", "channel_name": f"{side}.{viewer_id}"}
        answer = await client.post("/pusher/auth", data=form)
    assert answer.status_code in (200, 403), answer.text
    return answer.status_code == 200


async def test_a_ticket_lets_its_holder_listen_while_its_show_is_on(solo: Solo, evening: Evening) -> None:
    holder, other = viewers(2)
    await sell(solo, evening, [holder])
    assert not await may_listen(solo, holder)

    await solo.hear(evening.show())
    assert (await may_listen(solo, holder), await may_listen(solo, other)) == (True, False)
    await solo.hear(evening.show_ended())

    assert not await may_listen(solo, holder)
    assert await may_listen(solo, holder, PREVIEW)


async def test_whether_the_shows_end_or_its_beginning_is_read_first_its_tickets_are_over(
    solo: Solo, evening: Evening
) -> None:
    [holder] = viewers(1)
    await sell(solo, evening, [holder])

    await solo.hear(evening.show_ended(), evening.show())

    assert not await may_listen(solo, holder)


async def test_a_new_funding_ends_what_older_tickets_let_see(solo: Solo, evening: Evening) -> None:
    [holder] = viewers(1)
    await sell(solo, evening, [holder])
    await solo.hear(evening.show())

    await solo.hear(evening.funding("d" * 24), evening.show("c" * 24, funding="d" * 24))
    assert not await may_listen(solo, holder)
    await solo.hear(evening.ticket(holder, funding="d" * 24))

    assert await may_listen(solo, holder)


async def test_who_was_refunded_may_not_listen_unless_another_ticket_stands(solo: Solo, evening: Evening) -> None:
    refunded, one_left = viewers(2)
    await sell(solo, evening, [refunded, one_left])

    await solo.hear(evening.show(), evening.refunded(refunded), evening.refunded(one_left, ticket=True))

    assert (await may_listen(solo, refunded), await may_listen(solo, one_left)) == (False, True)
