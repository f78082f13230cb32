"""What is wanted after each history, in whatever order it is heard, on the real MongoDB."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, permutations
from typing import Any

import pytest
from prometheus_client import REGISTRY

from chassis.effects.model import EFFECTS
from chassis.service import EffectResult
from chassis_testing.service import ServiceHarness
from contracts import (
    Event,
    GoalCreatedV1,
    GoalEndedV1,
    RtcSnapshotChangedV1,
    RtcSnapshotOverdueV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerRevokedV1,
)
from contracts.sessions import Remaining, Source, Statuses
from rtc_control import store
from rtc_control.domain.broadcast import Broadcast
from rtc_control.domain.rooms import LOOKED_AGAIN, CutDue, CutOff, Occupant
from rtc_control.domain.snapshot import AgainDue, LookAtSnapshot, MakeSnapshot
from rtc_control.handlers.snapshots import compare_with_vendor, record_answer
from rtc_control.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

SESSION, STREAMER, VIEWER, OTHER, GOAL = "5" * 24, "6" * 24, "7" * 24, "8" * 24, "9" * 24


def source(room: str, preset: str = "sd") -> Source:
    return Source(room_id=room, session_id=SESSION, task_id=task(room), kind="phone", preset=preset)


def task(room: str) -> str:
    return f"snapshot_{SESSION}_{room}"


class Told:
    """The events of one session."""

    def __init__(self, an: An, harness: ServiceHarness) -> None:
        self._an, self._harness = an, harness

    def state(self, of: type[Event], *rooms: str, active: bool = True, to: Sequence[str] = ()) -> Event:
        now = self._harness.now
        return self._an(
            of, session_id=SESSION, streamer_id=STREAMER, active=active, preset="sd", exclusive_to=tuple(to),
            sources=tuple(map(source, rooms)), statuses=Statuses(created=now, ended=None if active else now),
        )  # fmt: skip

    def started(self, *rooms: str) -> Event:
        return self.state(SessionStartedV1, *rooms)

    def updated(self, *rooms: str, to: Sequence[str] = ()) -> Event:
        return self.state(SessionUpdatedV1, *rooms, to=to)

    def ended(self, *rooms: str) -> Event:
        return self.state(SessionEndedV1, *rooms, active=False)

    def goal(self, of: type[Event], goal_id: str = GOAL, kind: str = "ExclusiveGoal") -> Event:
        at = {"ended_at": self._harness.now} if of is GoalEndedV1 else {}
        return self._an(of, session_id=SESSION, streamer_id=STREAMER, goal_id=goal_id, kind=kind, **at)


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE)


@pytest.fixture
def told(an: An, harness: ServiceHarness) -> Told:
    return Told(an, harness)


async def broadcast(harness: ServiceHarness) -> Broadcast:
    async with harness.tx() as tx:
        known = await tx.get(store.BROADCASTS, SESSION)
    assert known is not None
    return known


async def wanted(harness: ServiceHarness) -> dict[str, bool]:
    """Which rooms are to be photographed."""
    return {one.room_id: one.wanted for one in (await broadcast(harness)).snapshots}


async def calls(harness: ServiceHarness) -> dict[str, bool]:
    """What the vendor has yet to be told: start or stop, by room."""
    return {one.room_id: one.running for one in await harness.effects() if isinstance(one, MakeSnapshot)}


async def answer(harness: ServiceHarness, *, attempt: int = 1) -> None:
    """The vendor does all that it is told."""
    for one in await harness.effects():
        async with harness.tx() as tx:
            if isinstance(one, MakeSnapshot):
                tx.delete(EFFECTS, one.task_id)
                await record_answer(EffectResult(one, one.task_id, one.task_id, result=attempt), tx)


async def look(harness: ServiceHarness, room: str, *, running: bool) -> None:
    """The vendor says what it does."""
    effect = LookAtSnapshot(session_id=SESSION, room_id=room, task_id=task(room))
    async with harness.tx() as tx:
        await compare_with_vendor(EffectResult(effect, "look", effect.task_id, result=running), tx)


HISTORIES: dict[str, tuple[Callable[[Told], list[Event]], dict[str, bool]]] = {
    "on air": (lambda told: [told.started("a"), told.updated("a", "b")], {"a": True, "b": True}),
    "exclusive": (lambda told: [told.started("a"), told.goal(GoalCreatedV1)], {"a": False}),
    "exclusive over": (
        lambda told: [told.started("a"), told.goal(GoalCreatedV1), told.goal(GoalEndedV1)],
        {"a": True},
    ),
    "one of two exclusives over": (
        lambda told: [told.started("a"), told.goal(GoalCreatedV1), told.goal(GoalEndedV1),
                      told.goal(GoalCreatedV1, OTHER)],
        {"a": False},
    ),
    "ended in an exclusive": (
        lambda told: [told.started("a"), told.goal(GoalCreatedV1), told.ended("a"), told.goal(GoalEndedV1)],
        {},
    ),
    "another kind of goal": (
        lambda told: [told.started("a"), told.goal(GoalCreatedV1, kind="ShowGoal"),
                      told.goal(GoalEndedV1, kind="TriggerExclusiveGoal")],
        {"a": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("history", "expected"), HISTORIES.values(), ids=HISTORIES.keys())
async def test_what_is_wanted_does_not_depend_on_the_order(
    harness: ServiceHarness,
    told: Told,
    history: Callable[[Told], list[Event]],
    expected: dict[str, bool],
    *,
    apart: bool,
) -> None:
    events = history(told)
    for order in permutations(events) if history is not HISTORIES["on air"][0] else [events]:
        for times in (1, 2):
            await harness.clear()
            await harness.handle(*list(order) * times, apart=apart)
            await answer(harness)
            await harness.run_timers()

            assert {room: on for room, on in (await wanted(harness)).items() if on or expected} == expected
            assert await calls(harness) == {}


SESSIONS_SAY = (
    lambda told: told.started("a", "b"),
    lambda told: told.updated("b", to=[VIEWER]),  # a source goes while they are alone
    lambda told: told.updated("b", "c"),  # another one comes
)
GOALS_SAY = (lambda told: told.goal(GoalCreatedV1), lambda told: told.goal(GoalEndedV1))
ENDS: dict[str, tuple[int, bool, dict[str, bool]]] = {  # how much goals says, whether the session ends, what is wanted
    "still alone": (1, False, {"b": False, "c": False}),
    "not any more": (2, False, {"b": True, "c": True}),
    "off the air, alone": (1, True, {}),
    "off the air": (2, True, {}),
}


def interleaved(ours: Sequence[Any], theirs: Sequence[Any]) -> Iterator[list[Any]]:
    """Both in their own order, in every way in which two topics may be read."""
    for places in combinations(range(len(ours) + len(theirs)), len(ours)):
        mine, others = iter(ours), iter(theirs)
        yield [next(mine) if place in places else next(others) for place in range(len(ours) + len(theirs))]


@pytest.mark.parametrize("answers", ["at once", "in the end"])
@pytest.mark.parametrize(("goals_say", "ends", "expected"), ENDS.values(), ids=ENDS.keys())
async def test_sources_and_exclusives_come_and_go_in_every_order_of_the_two_topics(
    harness: ServiceHarness, told: Told, goals_say: int, expected: dict[str, bool], answers: str, *, ends: bool
) -> None:
    sessions_say = [*SESSIONS_SAY, *([lambda told: told.ended("b", "c")] if ends else [])]
    for order in interleaved(sessions_say, GOALS_SAY[:goals_say]):
        await harness.clear()
        for say in order:
            await harness.handle(say(told))
            if answers == "at once":
                await answer(harness)
        for _ in range(3):  # what was asked for before may come late, so it is said again
            await answer(harness)
            harness.clock.advance(5.1)
            await harness.run_timers()

        assert await wanted(harness) == expected
        assert await calls(harness) == {}
        snapshots = (await broadcast(harness)).snapshots
        assert {one.room_id: one.running for one in snapshots} == expected


async def test_snapshots_start_stop_for_the_exclusive_and_go_on(harness: ServiceHarness, told: Told) -> None:
    await harness.handle(told.started("a"))
    assert await calls(harness) == {"a": True}
    await answer(harness)
    await harness.handle(told.goal(GoalCreatedV1))
    assert await calls(harness) == {"a": False}
    await answer(harness)
    await harness.handle(told.goal(GoalEndedV1))
    assert await calls(harness) == {"a": True}
    await answer(harness)

    changed = [event for event in await harness.take() if isinstance(event, RtcSnapshotChangedV1)]
    assert [event.running for event in changed] == [True, False, True]
    assert await calls(harness) == {}


async def test_an_exclusive_that_ends_before_its_stop_was_done_leaves_one_call_a_start(
    harness: ServiceHarness, told: Told
) -> None:
    await harness.handle(told.started("a"))
    await answer(harness)

    await harness.handle(told.goal(GoalCreatedV1), told.goal(GoalEndedV1))

    assert await calls(harness) == {"a": True}


async def test_sources_come_and_go_during_an_exclusive(harness: ServiceHarness, told: Told) -> None:
    await harness.handle(told.started("a", "b"))
    await answer(harness)
    await harness.handle(told.goal(GoalCreatedV1))
    await answer(harness)
    await harness.handle(told.updated("b", "c"))
    assert await calls(harness) == {}
    assert await wanted(harness) == {"b": False, "c": False}

    await harness.handle(told.goal(GoalEndedV1))

    assert await calls(harness) == {"b": True, "c": True}


async def test_a_source_that_is_gone_is_remembered_until_the_vendor_has_stopped(
    harness: ServiceHarness, told: Told
) -> None:
    await harness.handle(told.started("a"))
    await answer(harness)

    await harness.handle(told.updated())

    assert await wanted(harness) == {"a": False}
    await answer(harness)
    assert await wanted(harness) == {}


@pytest.mark.parametrize("late", [False, True])
async def test_what_runs_on_5_s_after_an_exclusive_began_is_told_once(
    harness: ServiceHarness, told: Told, *, late: bool
) -> None:
    await harness.handle(told.started("a"))
    await answer(harness)
    await harness.handle(told.goal(GoalCreatedV1))
    began = harness.now
    harness.clock.advance(4.9)
    await harness.run_timers()
    await harness.take()
    harness.clock.advance(0.2)
    await (answer(harness) if late else harness.run_timers())

    await harness.run_timers()
    await answer(harness)
    await harness.handle(told.goal(GoalEndedV1))

    overdue = [event for event in await harness.take() if isinstance(event, RtcSnapshotOverdueV1)]
    assert [(event.room_id, event.since) for event in overdue] == [("a", began)]


async def test_an_overdue_snapshot_is_counted_once_whatever_is_tried_again(harness: ServiceHarness, told: Told) -> None:
    await harness.handle(told.started("a"))
    await answer(harness)
    created = told.goal(GoalCreatedV1)
    began, before = harness.now, REGISTRY.get_sample_value("rtc_snapshots_overdue_total") or 0
    harness.clock.advance(6)
    work = harness.work(created, harness.cause(began, "1" * 24))
    await harness.die_handling([work])
    assert REGISTRY.get_sample_value("rtc_snapshots_overdue_total") == before

    await harness.handle_items([work])

    assert REGISTRY.get_sample_value("rtc_snapshots_overdue_total") == before + 1
    assert [event.since for event in await harness.take() if isinstance(event, RtcSnapshotOverdueV1)] == [began]


async def test_what_was_stopped_in_time_is_not_overdue(harness: ServiceHarness, told: Told) -> None:
    await harness.handle(told.started("a"))
    await answer(harness)
    await harness.handle(told.goal(GoalCreatedV1))
    await answer(harness)
    harness.clock.advance(6)
    await harness.run_timers()
    await harness.handle(told.goal(GoalEndedV1))

    assert not [event for event in await harness.take() if isinstance(event, RtcSnapshotOverdueV1)]


async def test_an_exclusive_that_is_read_too_late_is_told_of_at_once(harness: ServiceHarness, told: Told) -> None:
    await harness.handle(told.started("a"))
    await answer(harness)
    began = harness.now
    harness.clock.advance(20)

    await harness.handle(told.goal(GoalCreatedV1), at=began)
    await harness.handle(told.goal(GoalEndedV1))

    assert [event.since for event in await harness.take() if isinstance(event, RtcSnapshotOverdueV1)] == [began]


async def test_a_start_that_may_come_late_is_stopped_again_and_told_of(harness: ServiceHarness, told: Told) -> None:
    await harness.handle(told.started("a"))  # and the vendor does not answer
    await harness.handle(told.goal(GoalCreatedV1))
    await answer(harness)

    harness.clock.advance(5.1)
    await harness.run_timers()

    assert await calls(harness) == {"a": False}
    assert [event for event in await harness.take() if isinstance(event, RtcSnapshotOverdueV1)]
    await answer(harness)
    harness.clock.advance(5.1)
    await harness.run_timers()
    await answer(harness)
    assert not [timer for timer in await harness.timers() if isinstance(timer, AgainDue)]
    assert not (await broadcast(harness)).snapshots[0].may_run(harness.now)


async def test_a_start_that_may_come_late_is_not_forgotten_over_one_that_was_answered(
    harness: ServiceHarness, told: Told
) -> None:
    await harness.handle(told.started("a"))  # and the vendor does not answer: it may do it 10 s later
    await harness.handle(told.goal(GoalCreatedV1))
    await answer(harness)
    await harness.handle(told.goal(GoalEndedV1))
    await answer(harness)
    harness.clock.advance(1)
    await harness.handle(told.goal(GoalCreatedV1, OTHER))
    await answer(harness)
    assert (await broadcast(harness)).snapshots[0].may_run(harness.now)

    harness.clock.advance(5.1)
    await harness.run_timers()

    assert await calls(harness) == {"a": False}  # said again


async def test_the_vendor_is_asked_every_minute_and_told_again_when_it_does_something_else(
    harness: ServiceHarness, told: Told
) -> None:
    await harness.handle(told.started("a"))
    await answer(harness)
    harness.clock.advance(61)
    await harness.run_timers()
    assert [one for one in await harness.effects() if isinstance(one, LookAtSnapshot)]
    await look(harness, "a", running=True)
    assert await calls(harness) == {}

    await look(harness, "a", running=False)

    assert await calls(harness) == {"a": True}
    await answer(harness)
    await harness.handle(told.ended("a"))
    await answer(harness)
    harness.clock.advance(61)
    await harness.run_timers()
    assert await harness.timers() == []


async def enters(harness: ServiceHarness, *users: str, room: str = "a") -> None:
    async with harness.tx() as tx:
        for user in users:
            tx.put(store.OCCUPANTS, Occupant(f"{room}:{user}", room, user, harness.now, present=True))


async def cut(harness: ServiceHarness, *, kept_out: bool = True) -> set[tuple[str, str]]:
    calls = [one for one in await harness.effects() if isinstance(one, CutOff)]
    return {(one.room_id, one.user_id) for one in calls if one.kept_out == kept_out}


async def test_when_a_session_turns_exclusive_the_others_are_put_out(harness: ServiceHarness, told: Told) -> None:
    await harness.handle(told.started("a"))
    crowd = [f"{number:024x}" for number in range(250)]
    await enters(harness, STREAMER, VIEWER, *crowd)

    await harness.handle(told.updated("a", to=[VIEWER]))
    await harness.run_timers()

    assert await cut(harness) == {("a", user) for user in crowd}


async def test_who_was_entering_while_a_session_turned_exclusive_is_put_out_a_while_later(
    harness: ServiceHarness, told: Told
) -> None:
    await harness.handle(told.started("a"), told.updated("a", to=[VIEWER]))
    await harness.run_timers()
    await enters(harness, STREAMER, VIEWER, OTHER)  # by a transaction that knew the session as everybody's

    harness.clock.advance(LOOKED_AGAIN.total_seconds())
    await harness.run_timers()

    assert await cut(harness) == {("a", OTHER)}
    assert CutDue not in {type(timer) for timer in await harness.timers()}


async def test_when_a_session_ends_everybody_is_put_out_and_nobody_kept_out(
    harness: ServiceHarness, told: Told
) -> None:
    await harness.handle(told.started("a"))
    await enters(harness, STREAMER, VIEWER)

    await harness.handle(told.ended("a"))
    await harness.run_timers()

    assert await cut(harness, kept_out=False) == {("a", STREAMER), ("a", VIEWER)}
    assert await cut(harness) == set()


async def test_who_is_in_the_next_session_of_a_room_is_not_put_out_for_the_last_one(
    harness: ServiceHarness, told: Told, an: An
) -> None:
    await harness.handle(told.started("a", "b"))
    await harness.handle(told.ended("a", "b"), told.started("a").model_copy(update={"session_id": OTHER}))
    await enters(harness, STREAMER, VIEWER)
    await enters(harness, VIEWER, room="b")
    left = Remaining(nbf=None, exp=None, ticket=False, private=False)

    await harness.run_timers()
    await harness.handle(an(SessionViewerRevokedV1, session_id=SESSION, viewer_id=VIEWER, remaining=left))

    assert await cut(harness, kept_out=False) == {("b", VIEWER)}
    assert await cut(harness) == set()


@pytest.mark.parametrize("ticket", [False, True])
async def test_who_has_nothing_left_leaves_the_paid_rooms(
    harness: ServiceHarness, told: Told, an: An, *, ticket: bool
) -> None:
    state: Any = told.started("a")
    await harness.handle(state.model_copy(update={"sources": (source("a"), source("b", "preview"))}))
    left = Remaining(nbf=None, exp=None, ticket=ticket, private=False)

    await harness.handle(an(SessionViewerRevokedV1, session_id=SESSION, viewer_id=VIEWER, remaining=left))

    assert await cut(harness) == (set() if ticket else {("a", VIEWER)})


async def test_whoever_was_told_an_hour_ago_is_not_put_out_any_more(
    harness: ServiceHarness, told: Told, an: An
) -> None:
    await harness.handle(told.started("a"))
    left = Remaining(nbf=None, exp=None, ticket=False, private=False)
    event = an(SessionViewerRevokedV1, session_id=SESSION, viewer_id=VIEWER, remaining=left)
    await harness.handle(event, at=harness.now - timedelta(hours=1))

    rows = await harness.contents("effects")
    assert [row["not_after"] < harness.now for row in rows["effects"] if row["name"] == CutOff.NAME] == [True]
    assert replace(await broadcast(harness), snapshots=()).sources
