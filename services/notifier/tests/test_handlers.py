"""What is pushed after each history, on the real MongoDB."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from chassis.storage.batch import WorkItem, run_in_savepoints
from chassis_testing.service import ServiceHarness
from contracts import (
    EscrowFailedV1,
    Event,
    GoalEndedV1,
    GoalProgressedV1,
    GoalRejectedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
)
from notifier import store
from notifier.domain.pushes import Push
from notifier.domain.table import TABLE, Row
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

S, V, GOAL, OTHER = "5" * 24, "7" * 24, "9" * 24, "a" * 24


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE)


async def pushes(harness: ServiceHarness, channel: str | None = None) -> list[tuple[str, int]]:
    """Name and number of what waits to be pushed, in order: on one channel, or each push once."""
    waiting = [effect for effect in await harness.effects() if isinstance(effect, Push)]
    chosen = [push for push in waiting if channel in (None, push.channel)]
    return list(dict.fromkeys((push.name, json.loads(push.data)["seq"]) for push in chosen))


def reached(an: An, row: Row[Any]) -> Event:
    """The row's event, so that somebody is told."""
    kind = "ShowGoal" if row.event is GoalProgressedV1 else "ExclusiveGoal"
    return an(row.event, **({"kind": kind} if "kind" in row.event.model_fields else {}))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.handler_name)
async def test_every_row_of_the_table_is_done(harness: ServiceHarness, an: An, row: Row[Any]) -> None:
    await harness.handle(reached(an, row))

    assert row.push in {name for name, _ in await pushes(harness)}
    assert row.handler_name in {known.handler.__name__ for known in SERVICE.handlers}


@pytest.mark.parametrize("apart", [False, True])
async def test_numbers_rise_in_the_order_of_the_events_on_every_channel(
    harness: ServiceHarness, an: An, *, apart: bool
) -> None:
    added = an(SessionGoalAddedV1, streamer_id=S, goal_id=GOAL)
    await harness.handle(
        added,
        an(SessionViewerAuthorizedV1, streamer_id=S, viewer_id=V, reason="paid"),
        an(GoalProgressedV1, streamer_id=S, goal_id=GOAL),
        an(EscrowFailedV1, buyer_id=S),
        an(GoalEndedV1, streamer_id=S, goal_id=GOAL),
        apart=apart,
    )

    stage = [("goal.added", 1), ("goal.progress.updated", 4), ("goal.ended", 6)]
    assert await pushes(harness, f"presence-stream@{S}") == stage
    assert await pushes(harness, f"private-stream@{S}") == stage
    assert await pushes(harness, f"private-user@{S}") == sorted(
        [*stage, ("escrow.failed", 5)], key=lambda push: push[1]
    )
    assert await pushes(harness, f"presence-stream-viewer@{S}.preview.{V}") == [("stream.authorized", 3)]


async def test_a_push_to_two_people_is_above_what_either_has_seen(harness: ServiceHarness, an: An) -> None:
    await harness.handle(*(an(EscrowFailedV1, buyer_id=V) for _ in range(5)))

    closed: Any = an(GoalEndedV1, streamer_id=S, kind="ExclusiveGoal")
    await harness.handle(
        closed.model_copy(update={"conditions": closed.conditions.model_copy(update={"exclusive_to": V})}),
        an(EscrowFailedV1, buyer_id=S),
    )

    assert await pushes(harness, f"private-user@{V}") == [
        *(("escrow.failed", i) for i in range(1, 6)),
        *(("goal.ended", 6), ("exclusive.closed", 7)),
    ]
    assert await pushes(harness, f"private-user@{S}") == [
        ("goal.ended", 6),
        ("exclusive.closed", 7),
        ("escrow.failed", 8),
    ]
    assert await pushes(harness, f"private-stream@{S}") == [("goal.ended", 6)]


async def test_after_its_end_a_goal_is_neither_added_nor_progressing(harness: ServiceHarness, an: An) -> None:
    late = [an(of, streamer_id=S, goal_id=GOAL) for of in (SessionGoalAddedV1, GoalProgressedV1)]
    other = an(GoalProgressedV1, streamer_id=S, goal_id=OTHER)

    await harness.handle(an(GoalEndedV1, streamer_id=S, goal_id=GOAL), *late, other)
    await harness.handle(*late)

    assert await pushes(harness, f"private-stream@{S}") == [("goal.ended", 1), ("goal.progress.updated", 3)]


# -- at most every 250 ms ----------------------------------------------------------------------------------------------


async def shown(harness: ServiceHarness) -> list[int]:
    """The progress that is pushed to the stream, in order."""
    waiting = [effect for effect in await harness.effects() if isinstance(effect, Push)]
    return [json.loads(push.data)["progress"] for push in waiting if push.channel == f"private-stream@{S}"]


def progress(an: An, *values: int, goal_id: str = GOAL) -> list[Event]:
    return [an(GoalProgressedV1, streamer_id=S, goal_id=goal_id, progress=value) for value in values]


async def test_of_much_progress_the_first_is_pushed_at_once_and_the_last_in_its_turn(
    harness: ServiceHarness, an: An
) -> None:
    await harness.handle(*progress(an, *range(1, 101)))
    await harness.handle(*progress(an, *range(101, 201)))
    assert await shown(harness) == [1]

    harness.clock.advance(0.249)
    assert await harness.run_timers() == 0
    harness.clock.advance(0.001)
    await harness.run_timers()

    assert await shown(harness) == [1, 200]


async def test_progress_after_a_quiet_quarter_second_is_pushed_at_once(harness: ServiceHarness, an: An) -> None:
    await harness.handle(*progress(an, 1, 2))
    harness.clock.advance(0.25)
    await harness.run_timers()

    harness.clock.advance(0.249)
    await harness.handle(*progress(an, 3))
    assert await shown(harness) == [1, 2]
    harness.clock.advance(0.001)
    await harness.run_timers()
    harness.clock.advance(0.25)
    await harness.handle(*progress(an, 4))

    assert await shown(harness) == [1, 2, 3, 4]


async def test_progress_that_waited_is_pushed_under_its_own_events_id_and_time(harness: ServiceHarness, an: An) -> None:
    at = harness.now - timedelta(seconds=1)
    await harness.handle(*progress(an, 1), at=at)
    await harness.handle(*progress(an, 2), at=at + timedelta(milliseconds=7))
    harness.clock.advance(1)
    await harness.run_timers()

    first, second = [json.loads(push.data) for push in await harness.effects() if isinstance(push, Push)][::3]
    assert (first["at"], second["at"]) == (at.timestamp(), at.timestamp() + 0.007)
    assert first["event_id"] != second["event_id"]


async def test_progress_that_waits_when_its_goal_ends_is_not_pushed(harness: ServiceHarness, an: An) -> None:
    await harness.handle(*progress(an, 1, 2), an(GoalEndedV1, streamer_id=S, goal_id=GOAL))

    harness.clock.advance(1)
    await harness.run_timers()

    assert [name for name, _ in await pushes(harness, f"private-stream@{S}")] == ["goal.progress.updated", "goal.ended"]


async def test_goals_do_not_wait_for_each_other(harness: ServiceHarness, an: An) -> None:
    await harness.handle(*progress(an, 1), *progress(an, 2, goal_id=OTHER))

    assert await shown(harness) == [1, 2]


# -- what was pushed before --------------------------------------------------------------------------------------------


async def test_what_comes_before_the_end_in_the_same_batch_is_pushed(harness: ServiceHarness, an: An) -> None:
    await harness.handle(*(an(of, streamer_id=S, goal_id=GOAL) for of in (SessionGoalAddedV1, GoalEndedV1)))

    assert [name for name, _ in await pushes(harness, f"private-stream@{S}")] == ["goal.added", "goal.ended"]


async def test_a_push_carries_the_events_id_and_time(harness: ServiceHarness, an: An) -> None:
    at = harness.now - timedelta(seconds=3)
    await harness.handle(an(GoalRejectedV1, user_id=V), at=at)

    [push] = [effect for effect in await harness.effects() if isinstance(effect, Push)]
    data = json.loads(push.data)
    assert data["at"] == at.timestamp()
    assert len(data["event_id"]) == 24


async def hear_again(harness: ServiceHarness, event: Event, event_id: str, age: timedelta) -> None:
    """Hear an event under an id of its own, as a replay of the topic would."""
    async with harness.tx() as tx:
        rows = tuple(row for row in SERVICE.handlers if row.subject is type(event))
        assert await run_in_savepoints(
            tx, [WorkItem(event_id, event, rows, harness.cause(harness.now - age, event_id))]
        ) == [None]


async def test_what_is_replayed_after_the_inbox_forgot_it_is_not_pushed_again(harness: ServiceHarness, an: An) -> None:
    ended = an(GoalEndedV1, streamer_id=S, kind="ShowGoal")
    await hear_again(harness, ended, "e1", timedelta(hours=0))
    before = await pushes(harness)

    await hear_again(harness, ended, "e1", timedelta(hours=25))

    assert await pushes(harness) == before == [("goal.ended", 1)]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.handler_name)
async def test_what_is_replayed_before_the_inbox_forgot_is_not_pushed_again_without_it(
    harness: ServiceHarness, an: An, row: Row[Any]
) -> None:
    event = reached(an, row)
    await hear_again(harness, event, "e1", timedelta(hours=0))
    before = await pushes(harness)

    harness.clock.advance(60)
    await hear_again(harness, event, "e1", timedelta(minutes=1))

    assert await pushes(harness) == before != []


async def test_what_was_missed_for_more_than_a_day_is_kept_for_users_and_not_told_to_streams(
    harness: ServiceHarness, an: An
) -> None:
    await hear_again(harness, an(GoalEndedV1, streamer_id=S, kind="ShowGoal"), "e1", timedelta(hours=25))

    assert await pushes(harness, f"private-user@{S}") == await pushes(harness) == [("goal.ended", 1)]
    assert await pushes(harness, f"private-stream@{S}") == []


async def test_a_batch_of_refunds_keeps_one_notification_each(harness: ServiceHarness, an: An) -> None:
    buyers = [f"{i:024x}" for i in range(100)]

    await harness.handle(*(an(EscrowFailedV1, buyer_id=buyer) for buyer in buyers for _ in range(3)))

    async with harness.tx() as tx:
        kept = await tx.find(store.NOTIFICATIONS, {})
    assert sorted((one.user_id, one.seq) for one in kept) == [(buyer, seq) for buyer in buyers for seq in (1, 2, 3)]
