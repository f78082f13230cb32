"""Minutes that cannot be watched are paid back: what was not begun, once, slice by slice (SPEC §4)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis import ids
from chassis.clock import SystemClock
from chassis.runtime.faults import FaultError, plan_faults
from chassis.timers.dispatcher import TimerDispatcher
from contracts import Prices, SessionPaymentReversedV1, SessionViewerRevokedV1
from sessions import store
from sessions.domain import minutes
from sessions.domain.grants import Grant, Holder, Reason, refolded
from sessions.domain.minutes import MinutesLeft, pay_back, to_pay_back
from sessions.domain.payments import Payment, confirm_reversed
from sessions.domain.session import Session
from sessions.domain.viewer import Permission, Viewer, holder_id
from sessions.handlers import payments
from sessions.service import SERVICE
from sessions.store import holders, load

if TYPE_CHECKING:
    from services.sessions.tests.conftest import LiveSession, LiveSessionOf

STEP = 60
PREPAID = 300
BEGIN = datetime(2026, 1, 31, 20, 0, tzinfo=UTC)
SESSION = Session(id="5" * 24, streamer_id="6" * 24, created=BEGIN, preset="sd", prices=Prices())


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def grant(number: int, seconds: float, steps: int, reason: Reason = "paid") -> Grant:
    return Grant(f"{number:024x}", SESSION.id, "7" * 24, reason, at(seconds), steps * STEP)


def ended(seconds: float) -> MinutesLeft:
    return MinutesLeft(session_id=SESSION.id, reason="session_ended", at=at(seconds))


def agreed(seconds: float, read: float) -> MinutesLeft:
    return MinutesLeft(
        session_id=SESSION.id,
        reason="exclusive_to_another",
        at=at(seconds),
        given_until=at(read),
        exclusive_to="8" * 24,
    )


def placed(*grants: Grant) -> Holder:
    nobody = Viewer("1" * 24, SESSION.id, "7" * 24)
    return Holder(*refolded(nobody, Permission(), sorted(grants, key=lambda one: one.place)))


# -- how much, of what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grants", "left", "back"),
    [
        ([grant(1, 0, 10)], ended(601), {}),
        ([grant(1, 0, 10)], ended(541), {}),
        ([grant(1, 0, 10)], ended(540), {1: 1}),
        ([grant(1, 0, 10)], ended(61), {1: 8}),
        ([grant(1, 0, 10)], ended(0), {1: 10}),
        ([grant(1, 0, 2), grant(2, 30, 3)], ended(70), {2: 3}),
        ([grant(1, 0, 2), grant(2, 30, 3)], ended(50), {2: 3, 1: 1}),
        ([grant(1, 0, 3), grant(2, 10, 3, "extended")], ended(190), {}),
        ([grant(1, 0, 3), grant(2, 10, 3, "extended")], ended(50), {1: 2}),
        ([grant(1, 0, 2), grant(2, 450, 4, "extended")], ended(460), {}),
        ([grant(1, 0, 6, "agreed")], ended(10), {}),
        ([grant(1, 0, 10), grant(2, 100, 5)], agreed(100, 101), {2: 5, 1: 8}),
        ([grant(1, 0, 10), grant(2, 500, 5)], agreed(100, 400), {1: 8}),
        ([grant(1, 99, 5)], agreed(100, 101), {1: 4}),
    ],
    ids=[
        "all was watched", "a step that has begun", "the last step", "what has not begun", "all", "the latest first",
        "then the one before", "only free time is left", "free time gives nothing", "free time after a gap",
        "nothing was paid for",
        "overtaken: whole, then the rest",
        "given after it was everyone's again", "clocks apart cost a step at most",
    ],
)  # fmt: skip
def test_what_has_not_begun_is_taken_from_the_latest_payments(
    grants: list[Grant], left: MinutesLeft, back: dict[int, int]
) -> None:
    plan = to_pay_back(left, placed(*grants).later, STEP)

    assert plan == {f"{number:024x}": steps * STEP for number, steps in back.items()}


def test_a_part_that_is_heard_of_twice_came_back_once() -> None:
    bought = Payment("1" * 24, SESSION.id, SESSION.streamer_id, "7" * 24, 15, 3 * STEP, "sd", status="succeeded")
    part = replace(bought, reversal="blocked", reversed_duration=2 * STEP)

    (once,) = confirm_reversed(part, 10).state or ()
    (twice,) = confirm_reversed(once, 10).state or ()

    assert once == twice == replace(part, reversed_diamonds=10)


some_grants = st.lists(
    st.tuples(st.integers(0, 2_000), st.integers(1, 10), st.sampled_from(["paid", "paid", "extended"])),
    min_size=1,
    max_size=8,
)


@given(some_grants, st.integers(0, 4_000))
def test_nobody_pays_for_more_than_was_watched_and_one_step(
    bought: list[tuple[int, int, Reason]], seconds: int
) -> None:
    holder = placed(*(grant(number, *one) for number, one in enumerate(bought) if one[0] <= seconds))
    payments = [
        Payment(one.id, SESSION.id, SESSION.streamer_id, one.viewer_id, one.duration, one.duration, "sd")
        for one in holder.later
        if one.reason == "paid"
    ]
    plan = to_pay_back(ended(seconds), holder.later, STEP)

    done = pay_back(SESSION, ended(seconds), holder, plan, [one for one in payments if one.id in plan])

    back = sum(event.amount_diamonds for event in done.events if isinstance(event, SessionPaymentReversedV1))
    paid = sum(one.amount_diamonds for one in payments)
    watched = _watched(holder.later, seconds)
    assert watched <= paid - back < watched + STEP  # the streamer keeps what was watched, and a step that had begun
    changed = {one.id: one for one in done.state or () if isinstance(one, Grant)}
    left = [changed.get(one.id, one) for one in holder.later]
    assert to_pay_back(ended(seconds), placed(*(one for one in left if one.stands)).later, STEP) == {}  # once


def _watched(grants: tuple[Grant, ...], seconds: int) -> float:
    """How much of the time that was paid for was over by then."""
    total, until = 0.0, BEGIN
    for one in grants:
        begin = max(one.nbf, until)
        until = begin + timedelta(seconds=one.duration)
        if one.reason == "paid":
            total += max(0.0, (min(until, at(seconds)) - begin).total_seconds())
    return total


# -- when ----------------------------------------------------------------------------------------------------------


async def pays(live: LiveSession, viewer_id: str, steps: int, exclusive_goal_id: str | None = None) -> Payment:
    payment = await live.asked(viewer_id, exclusive_goal_id, steps)
    await live.harness.handle(live.paid(payment))
    return payment


async def test_the_sessions_end_pays_back_what_has_not_begun(live: LiveSession) -> None:
    payment = await pays(live, live.viewer_id, 10)
    live.harness.clock.advance(3 * STEP + 1)
    await live.end()
    await live.harness.take()

    await live.harness.run_timers()

    revoked, reversed_ = await live.harness.take()
    assert isinstance(revoked, SessionViewerRevokedV1)
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert revoked.remaining.exp == live.at(STEP - 1)
    assert (reversed_.payment_id, reversed_.reason) == (payment.id, "session_ended")
    assert (reversed_.amount_diamonds, reversed_.duration) == (60, 6 * STEP)
    assert (await live.payment(payment)).status == "succeeded"


async def test_anothers_agreement_pays_back_what_has_not_begun_but_not_what_was_bought_after_it_is_over(
    live: LiveSession,
) -> None:
    other = ids.new_id()
    await pays(live, other, 10)
    live.harness.clock.advance(STEP + 1)
    invitation_id, goal_id = await live.begin()
    live.harness.clock.advance(1)
    await live.harness.handle(live.over(goal_id, invitation_id))
    after = await pays(live, other, 5)
    await live.harness.take()

    await live.harness.run_timers()

    (reversed_,) = await live.published(SessionPaymentReversedV1)
    assert (reversed_.duration, reversed_.reason) == (8 * STEP, "exclusive_to_another")
    viewer = await live.viewer(other)
    assert viewer is not None
    assert viewer.duration == 7 * STEP
    assert (await live.payment(after)).reversal is None


async def test_a_block_pays_back_what_has_not_begun_and_gives_nothing_more(live: LiveSession) -> None:
    await pays(live, live.viewer_id, 10)
    waiting = await live.asked(live.viewer_id)
    live.harness.clock.advance(1)
    await live.harness.take()

    blocked = await live.harness.client(live.streamer_id, "CREATOR").put(f"/blocks/{live.viewer_id}")

    assert blocked.status_code == 204
    (reversed_,) = await live.published(SessionPaymentReversedV1)
    assert (reversed_.duration, reversed_.reason) == (9 * STEP, "blocked")
    await live.harness.handle(live.paid(waiting))
    (reversed_,) = await live.published(SessionPaymentReversedV1)
    assert (reversed_.payment_id, reversed_.reason) == (waiting.id, "blocked")


@pytest.mark.parametrize("rejected_first", [True, False])
async def test_what_goals_and_the_sessions_end_both_give_back_goes_back_once(
    live: LiveSession, *, rejected_first: bool
) -> None:
    _, goal_id = await live.begin()
    payment = await pays(live, live.viewer_id, 5, goal_id)
    rejected = live.rejected(goal_id, payment).model_copy(update={"duration": 3 * STEP})
    live.harness.clock.advance(PREPAID + STEP + 2 * STEP)
    await live.end()

    if rejected_first:
        await live.harness.handle(rejected)
    await live.harness.run_timers()
    await live.harness.handle(rejected, rejected)

    (reversed_,) = await live.published(SessionPaymentReversedV1)
    assert (reversed_.amount_diamonds, reversed_.duration) == (30, 3 * STEP)


async def test_a_part_that_was_rejected_leaves_the_rest(live: LiveSession) -> None:
    _, goal_id = await live.begin()
    payment = await pays(live, live.viewer_id, 5, goal_id)

    await live.harness.handle(live.rejected(goal_id, payment).model_copy(update={"duration": 2 * STEP}))

    viewer = await live.viewer()
    assert viewer is not None
    assert viewer.duration == PREPAID + STEP + 3 * STEP


async def test_a_payment_of_before_there_were_parts_is_reversed_once(live: LiveSession) -> None:
    _, goal_id = await live.begin()
    payment = await pays(live, live.viewer_id, 5, goal_id)
    async with live.harness.tx() as tx:
        tx.put(store.PAYMENTS, replace(await load.payment(tx, payment.id), reversal="extension_rejected"))

    await live.harness.handle(live.rejected(goal_id, payment))

    assert await live.published(SessionPaymentReversedV1) == []


@pytest.mark.parametrize("_round", range(20))
async def test_a_block_and_a_payment_at_once_leave_no_minutes(live: LiveSession, _round: int) -> None:
    payment = await live.asked(live.viewer_id, steps=5)
    streamer = live.harness.client(live.streamer_id, "CREATOR")

    await asyncio.gather(streamer.put(f"/blocks/{live.viewer_id}"), live.harness.handle(live.paid(payment)))

    viewer = await live.viewer()
    assert viewer is None or viewer.exp is None
    (reversed_,) = await live.published(SessionPaymentReversedV1)
    assert reversed_.duration == 5 * STEP


# -- slices --------------------------------------------------------------------------------------------------------


async def test_many_are_paid_back_in_slices_each_in_a_transaction_of_its_own(live: LiveSession) -> None:
    count = 2 * minutes.SLICE_MAX + 3
    await _many(live, count)
    await live.harness.handle(live.invited(ids.new_id()))
    live.harness.clock.advance(1)

    goal_id = await live.agree()

    assert await live.published(SessionPaymentReversedV1) == []  # nothing of it in the agreement's own transaction
    assert await live.harness.run_timers() == 3
    reversed_ = await live.published(SessionPaymentReversedV1)
    assert len({event.payment_id for event in reversed_}) == len(reversed_) == count
    assert goal_id


async def test_a_run_that_stops_anywhere_goes_on(live: LiveSession) -> None:
    await _many(live, minutes.SLICE_MAX + 3)
    await live.end()
    (left,) = await live.harness.timers()
    assert isinstance(left, MinutesLeft)
    async with live.harness.tx() as tx:
        session = await load.session(tx, live.session_id)
        slice_ = await holders.viewers_with_minutes(tx, left, STEP)
        await holders.pay_back(tx, session, left, slice_, STEP)  # and its timer is not set anew

    await live.harness.run_timers()

    reversed_ = await live.published(SessionPaymentReversedV1)
    assert len({event.payment_id for event in reversed_}) == len(reversed_) == minutes.SLICE_MAX + 3


async def test_a_worker_that_dies_within_a_slice_and_one_that_dies_after_it_pay_each_viewer_back_once(
    live_session: LiveSessionOf,
) -> None:
    live = await live_session(clock=SystemClock())
    count = 2 * minutes.SLICE_MAX + 3
    await _many(live, count)
    await live.end()
    await live.harness.take()
    (left,) = await live.harness.timers()
    assert isinstance(left, MinutesLeft)

    within = live.harness.runtime.begin(live.harness.cause())
    await payments.pay_back_minutes(left, within)
    await within.flush(*store.COLLECTIONS)
    await within.abort()  # as the server does when who had it open is gone
    assert await live.harness.published() == []
    plan_faults(json.dumps({"timers.in_run": {"action": "raise"}}))
    try:
        with pytest.raises(FaultError):
            await TimerDispatcher(live.harness.runtime, SERVICE).run()
    finally:
        plan_faults(None)
    assert len(await live.harness.published()) == 2 * minutes.SLICE_MAX
    timers = TimerDispatcher(live.harness.runtime, SERVICE)
    running = asyncio.create_task(timers.run())
    async with asyncio.timeout(60):
        while await live.harness.timers():
            await asyncio.sleep(0.02)
    timers.stop()
    await running

    reversed_ = await live.published(SessionPaymentReversedV1)
    assert len({event.payment_id for event in reversed_}) == len(reversed_) == count
    assert {event.amount_diamonds for event in reversed_} <= {10, 20}  # a step may have begun when the session ended


async def test_who_has_bought_more_often_than_is_read_at_once_gets_all_of_it_back(live: LiveSession) -> None:
    times = holders.LOOKS_MAX + holders.GRANTS_PAGE + 3
    for _ in range(times):
        await pays(live, live.viewer_id, 1)
    other = await pays(live, ids.new_id(), 1)
    live.harness.clock.advance(STEP + 1)
    await live.harness.take()
    await live.end()

    await live.harness.run_timers()

    reversed_ = await live.published(SessionPaymentReversedV1)
    assert len({event.payment_id for event in reversed_} - {other.id}) == len(reversed_) == times - 2
    viewer = await live.viewer()
    assert viewer is not None
    assert viewer.duration == 2 * STEP


async def _many(live: LiveSession, count: int) -> None:
    """So many viewers who have just paid two steps."""
    async with live.harness.tx() as tx:
        for _ in range(count):
            viewer_id, payment_id = ids.new_id(), ids.new_id()
            one = Grant(payment_id, live.session_id, viewer_id, "paid", live.harness.now, 2 * STEP)
            nobody = Viewer(holder_id(live.session_id, viewer_id), live.session_id, viewer_id)
            viewer, (following,) = refolded(nobody, Permission(), [one])
            tx.insert(store.VIEWERS, viewer)
            tx.insert(store.GRANTS, following)
            tx.insert(
                store.PAYMENTS,
                Payment(
                    payment_id, live.session_id, live.streamer_id, viewer_id, 20, 2 * STEP, "sd", None, "succeeded"
                ),
            )
