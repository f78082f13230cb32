"""What the 1-on-1 does to a session and its viewers, told by events, on the real MongoDB."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from contracts import (
    Event,
    Outcome,
    PresenceCountedV1,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionGoalClosedV1,
    SessionPaymentReversedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from sessions import store
from sessions.domain.session import CLOSED_MAX

if TYPE_CHECKING:
    from chassis_testing.service import ServiceHarness
    from services.sessions.tests.conftest import LiveSession, LiveSessionOf

STEP = 60
PREPAID = 300


# -- invitations ---------------------------------------------------------------------------------------------------


async def test_an_invitation_becomes_its_viewers_pair_and_is_told(live: LiveSession) -> None:
    goal_id = ids.new_id()

    await live.harness.handle(live.invited(goal_id))

    pair = (await live.session()).exclusive_goal_pairs[live.viewer_id]
    assert (pair.trigger_exclusive_goal, pair.trigger_exclusive_goal_ended) == (goal_id, None)
    (added,) = await live.published(SessionGoalAddedV1)
    assert (added.goal_id, added.kind) == (goal_id, "TriggerExclusiveGoal")


async def test_a_new_invitation_replaces_the_whole_pair(live: LiveSession) -> None:
    first, second = ids.new_id(), ids.new_id()
    await live.harness.handle(live.invited(first), live.answered(first, "refused"))

    await live.harness.handle(live.invited(second))

    pair = (await live.session()).exclusive_goal_pairs[live.viewer_id]
    assert (pair.trigger_exclusive_goal, pair.trigger_exclusive_goal_ended) == (second, None)


async def test_a_replayed_invitation_does_not_replace_the_one_after_it(live: LiveSession) -> None:
    first, second = ids.new_id(), ids.new_id()
    events = [live.invited(first), live.answered(first, "refused"), live.invited(second)]
    await live.harness.handle(*events)

    await live.harness.handle(*events)

    assert (await live.session()).exclusive_goal_pairs[live.viewer_id].trigger_exclusive_goal == second


@pytest.mark.parametrize("outcome", ["refused", "timed_out", "cancelled"])
async def test_an_invitation_that_was_not_agreed_to_closes_its_pair_and_nothing_else(
    live: LiveSession, outcome: Outcome
) -> None:
    goal_id = ids.new_id()
    await live.harness.handle(live.invited(goal_id))
    await live.harness.take()

    await live.harness.handle(live.answered(goal_id, outcome))

    session = await live.session()
    pair = session.exclusive_goal_pairs[live.viewer_id]
    assert (pair.trigger_exclusive_goal_agreed, pair.trigger_exclusive_goal_ended) == (None, live.harness.now)
    assert session.exclusive_to == ()
    assert await live.harness.take() == []


async def test_closed_pairs_are_bounded_the_latest_are_kept(live: LiveSession) -> None:
    viewers = [ids.new_id() for _ in range(CLOSED_MAX + 3)]
    goals = {viewer_id: ids.new_id() for viewer_id in viewers}
    await live.harness.handle(*(live.invited(goals[viewer_id], viewer_id) for viewer_id in viewers))

    await live.harness.handle(
        *(live.answered(goals[viewer_id], "refused", viewer_id) for viewer_id in reversed(viewers))
    )

    assert set((await live.session()).exclusive_goal_pairs) == set(viewers[:CLOSED_MAX])


# -- the agreement -------------------------------------------------------------------------------------------------


async def test_an_agreement_gives_the_session_and_a_step_more_than_was_bought(live: LiveSession) -> None:
    goal_id = ids.new_id()
    await live.harness.handle(live.invited(goal_id))
    await live.harness.take()

    await live.harness.handle(live.answered(goal_id, "agreed"))

    assert (await live.session()).exclusive_to == (live.viewer_id,)
    updated, authorized = await live.harness.take()
    assert isinstance(updated, SessionUpdatedV1)
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert updated.exclusive_to == (live.viewer_id,)
    assert (authorized.reason, authorized.goal_id, authorized.preset) == ("agreed", goal_id, "sd")
    assert (authorized.nbf, authorized.duration) == (live.harness.now, STEP + PREPAID)
    assert authorized.exp == live.at(STEP + PREPAID)


async def test_an_agreement_drops_other_pairs_that_are_open_or_whose_exclusive_is_over(live: LiveSession) -> None:
    invitation_id, exclusive_id = await live.begin()
    await live.harness.handle(live.over(exclusive_id, invitation_id))
    refused, waiting, agreed = ids.new_id(), ids.new_id(), ids.new_id()
    one, other, winner = ids.new_id(), ids.new_id(), ids.new_id()
    await live.harness.handle(live.invited(refused, one), live.answered(refused, "refused", one))
    await live.harness.handle(live.invited(waiting, other), live.invited(agreed, winner))

    await live.harness.handle(live.answered(agreed, "agreed", winner))

    assert set((await live.session()).exclusive_goal_pairs) == {one, winner}


async def test_what_was_dropped_stays_dropped_when_it_ends(live: LiveSession) -> None:
    waiting, other = ids.new_id(), ids.new_id()
    await live.harness.handle(live.invited(waiting, other))
    await live.agree()

    await live.harness.handle(live.answered(waiting, "timed_out", other))

    assert set((await live.session()).exclusive_goal_pairs) == {live.viewer_id}


async def test_an_agreement_without_its_pair_does_nothing(live: LiveSession) -> None:
    waiting, other = ids.new_id(), ids.new_id()
    await live.harness.handle(live.invited(waiting, other))
    await live.agree()
    await live.harness.take()

    await live.harness.handle(live.answered(waiting, "agreed", other))

    assert (await live.session()).exclusive_to == (live.viewer_id,)
    assert await live.viewer(other) is None
    assert await live.harness.take() == []


async def test_on_an_ended_session_an_agreement_only_closes_its_pair(live: LiveSession) -> None:
    goal_id = ids.new_id()
    await live.harness.handle(live.invited(goal_id))
    await live.end()
    await live.harness.take()

    await live.harness.handle(live.answered(goal_id, "agreed"))

    session = await live.session()
    assert session.exclusive_goal_pairs[live.viewer_id].trigger_exclusive_goal_agreed == live.harness.now
    assert session.exclusive_to == ()
    assert await live.viewer() is None
    assert await live.harness.take() == []


async def test_payments_of_others_from_the_agreement_on_go_back_as_if_read_after_it(live: LiveSession) -> None:
    goal_id, other = ids.new_id(), ids.new_id()
    before, own = await live.asked(other), await live.asked(live.viewer_id)
    await live.harness.handle(live.invited(goal_id), live.paid(before))
    live.harness.clock.advance(5)
    agreement = live.answered(goal_id, "agreed")
    after = await live.asked(other)
    await live.harness.handle(live.paid(after), live.paid(own))
    await live.harness.take()

    await live.harness.handle(agreement)
    await live.harness.run_timers()

    *_, authorized, revoked, reversed_ = await live.harness.take()
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert isinstance(revoked, SessionViewerRevokedV1)
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert (revoked.viewer_id, revoked.reason, revoked.payment_id) == (other, "reversed", after.id)
    assert revoked.remaining.exp == live.at(-5 + STEP)
    assert (reversed_.payment_id, reversed_.reason) == (after.id, "exclusive_to_another")
    assert [(await live.payment(one)).reversal for one in (before, own)] == [None, None]


# -- the exclusive -------------------------------------------------------------------------------------------------


async def test_an_exclusive_joins_the_pair_of_its_invitation(live: LiveSession) -> None:
    invitation_id = await live.agree()
    await live.harness.take()
    goal_id = ids.new_id()

    await live.harness.handle(live.began(goal_id, invitation_id))

    assert (await live.session()).exclusive_goal_pairs[live.viewer_id].exclusive_goal == goal_id
    (added,) = await live.harness.take()
    assert isinstance(added, SessionGoalAddedV1)
    assert added.goal_id == goal_id


async def test_an_exclusive_without_its_pair_binds_nothing_and_is_never_kept(live: LiveSession) -> None:
    goal_id, unknown = ids.new_id(), ids.new_id()

    await live.harness.handle(live.began(goal_id, unknown))
    live.harness.clock.advance(PREPAID)
    await live.harness.handle(live.over(goal_id, unknown))

    assert (await live.session()).exclusive_goal_pairs == {}
    (closed,) = await live.harness.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


async def test_an_exclusive_performed_as_long_as_prepaid_is_kept_and_the_session_is_everyones_again(
    live: LiveSession,
) -> None:
    invitation_id, goal_id = await live.begin()
    await live.harness.take()
    live.harness.clock.advance(PREPAID)

    await live.harness.handle(live.over(goal_id, invitation_id))

    session = await live.session()
    assert session.exclusive_to == ()
    assert session.exclusive_goal_pairs[live.viewer_id].exclusive_goal_ended == live.harness.now
    updated, authorized, closed = await live.harness.take()
    assert isinstance(updated, SessionUpdatedV1)
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert isinstance(closed, SessionGoalClosedV1)
    assert updated.exclusive_to == ()
    assert (authorized.reason, authorized.nbf, authorized.duration, authorized.exp) == (
        "exclusive_ended", None, None, None,
    )  # fmt: skip
    assert (closed.kept, closed.outcome, closed.trigger_exclusive_goal_id) == (True, "completed", invitation_id)


@pytest.mark.parametrize(
    ("outcome", "began_after", "ran_seconds", "kept"),
    [
        ("completed", 0, PREPAID, True),
        ("completed", 0, PREPAID - STEP / 10, True),
        ("completed", 0, PREPAID - STEP / 10 - 0.001, False),
        ("completed", 20, PREPAID, True),
        ("completed", 20, PREPAID - 7, False),
        ("cancelled", 0, PREPAID, False),
    ],
)
async def test_an_exclusive_is_kept_when_it_was_on_air_as_long_as_prepaid_but_a_tenth_of_a_step(
    live: LiveSession, outcome: Outcome, began_after: int, ran_seconds: float, *, kept: bool
) -> None:
    invitation_id, goal_id = await live.agree(), ids.new_id()
    live.harness.clock.advance(began_after)
    await live.harness.handle(live.began(goal_id, invitation_id))
    live.harness.clock.advance(ran_seconds)

    await live.harness.handle(live.over(goal_id, invitation_id, outcome))

    (closed,) = await live.published(SessionGoalClosedV1)
    assert closed.kept is kept


async def test_what_sessions_read_too_late_was_not_performed(live: LiveSession) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    invited, agreed, began = (
        live.invited(invitation_id),
        live.answered(invitation_id, "agreed"),
        live.began(goal_id, invitation_id),
    )
    live.harness.clock.advance(PREPAID)
    over = live.over(goal_id, invitation_id)

    await live.harness.handle(invited, agreed, began, over)

    (closed,) = await live.published(SessionGoalClosedV1)
    assert not closed.kept


async def test_the_sessions_end_ends_what_counts_as_performed(live: LiveSession) -> None:
    invitation_id, goal_id = await live.begin()
    live.harness.clock.advance(PREPAID - 10)
    await live.end()
    live.harness.clock.advance(10)
    await live.harness.take()

    await live.harness.handle(live.over(goal_id, invitation_id))

    assert (await live.session()).exclusive_goal_pairs[live.viewer_id].exclusive_goal_ended == live.harness.now
    (closed,) = await live.harness.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


async def test_a_promise_kept_is_told_once(live: LiveSession) -> None:
    invitation_id, goal_id = await live.begin()
    live.harness.clock.advance(PREPAID)
    over = live.over(goal_id, invitation_id)

    await live.harness.handle(over, over)
    await live.harness.handle(over)

    assert len(await live.published(SessionGoalClosedV1)) == 1


async def test_a_session_never_ends_before_what_it_has_confirmed(live: LiveSession) -> None:
    invitation_id, goal_id = await live.begin()
    live.harness.clock.advance(PREPAID)
    over = live.over(goal_id, invitation_id)
    ended_at = live.harness.now + timedelta(seconds=1)  # goals' clock is ahead
    await live.harness.handle(over.model_copy(update={"ended_at": ended_at}))

    await live.end()

    assert (await live.session()).ended == ended_at


async def test_the_sessions_end_gives_it_back_to_everyone(live: LiveSession) -> None:
    await live.agree()

    await live.end()

    (ended,) = await live.published(SessionEndedV1)
    assert ended.exclusive_to == ()
    assert (await live.session()).exclusive_to == ()


async def test_a_lapsed_agreement_gives_the_session_back(live: LiveSession) -> None:
    goal_id = await live.agree()
    await live.harness.take()

    await live.harness.handle(live.lapsed(goal_id))

    (updated,) = await live.harness.take()
    assert isinstance(updated, SessionUpdatedV1)
    assert updated.exclusive_to == ()


async def test_another_agreements_lapse_leaves_the_session_exclusive(live: LiveSession) -> None:
    await live.agree()

    await live.harness.handle(live.lapsed(ids.new_id()))

    assert (await live.session()).exclusive_to == (live.viewer_id,)


# -- extending -----------------------------------------------------------------------------------------------------


async def test_an_extension_gives_a_step_once(live: LiveSession) -> None:
    _, goal_id = await live.begin()
    await live.harness.take()
    extended = live.extended(goal_id, PREPAID + 2 * STEP)

    await live.harness.handle(extended, extended)
    await live.harness.handle(extended)

    (authorized,) = await live.published(SessionViewerAuthorizedV1)
    assert (authorized.reason, authorized.goal_id) == ("extended", goal_id)
    assert (authorized.duration, authorized.exp) == (STEP, live.at(PREPAID + 2 * STEP))


async def test_each_extension_gives_a_step(live: LiveSession) -> None:
    _, goal_id = await live.begin()

    await live.harness.handle(live.extended(goal_id, PREPAID + 2 * STEP), live.extended(goal_id, PREPAID + 3 * STEP))

    viewer = await live.viewer()
    assert viewer is not None
    assert viewer.duration == PREPAID + 3 * STEP


async def test_an_extension_by_a_payment_gives_nothing_more(live: LiveSession) -> None:
    _, goal_id = await live.begin()
    await live.harness.take()

    await live.harness.handle(live.extended(goal_id, PREPAID + 2 * STEP, payment_id=ids.new_id()))

    assert await live.harness.take() == []


async def test_an_ended_session_gives_no_extension(live: LiveSession) -> None:
    _, goal_id = await live.begin()
    await live.end()
    await live.harness.take()

    await live.harness.handle(live.extended(goal_id, PREPAID + 2 * STEP))

    assert await live.harness.take() == []


# -- refunds -------------------------------------------------------------------------------------------------------


async def test_a_refund_takes_the_invitations_time_and_its_exclusives_extensions_but_not_what_was_paid_besides(
    live: LiveSession,
) -> None:
    invitation_id, goal_id = await live.begin()
    payment = await live.asked(live.viewer_id, goal_id)
    await live.harness.handle(live.extended(goal_id, PREPAID + 2 * STEP), live.paid(payment))
    await live.harness.take()

    await live.harness.handle(live.refunded(invitation_id))

    (revoked,) = await live.harness.take()
    assert isinstance(revoked, SessionViewerRevokedV1)
    assert (revoked.reason, revoked.goal_id) == ("refunded", invitation_id)
    assert (revoked.remaining.nbf, revoked.remaining.exp) == (live.harness.now, live.at(STEP))


async def test_a_refund_read_before_its_cause_is_remembered(live: LiveSession) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()

    await live.harness.handle(live.refunded(invitation_id))
    await live.harness.handle(live.invited(invitation_id), live.answered(invitation_id, "agreed"))
    await live.harness.handle(live.began(goal_id, invitation_id), live.extended(goal_id, PREPAID + 2 * STEP))

    viewer = await live.viewer()
    assert viewer is not None
    assert (viewer.duration, viewer.exp) == (0, None)
    assert await live.published(SessionViewerAuthorizedV1) == []


async def test_a_refund_of_what_gave_nothing_revokes_nothing(live: LiveSession) -> None:
    goal_id = ids.new_id()
    await live.harness.handle(live.invited(goal_id), live.answered(goal_id, "refused"))
    await live.harness.take()

    await live.harness.handle(live.refunded(goal_id))

    assert await live.harness.take() == []


# -- payments ------------------------------------------------------------------------------------------------------


async def test_a_payment_gives_its_time_from_now_on_once(live: LiveSession) -> None:
    payment = await live.asked(live.viewer_id)
    live.harness.clock.advance(7)
    paid = live.paid(payment)

    await live.harness.handle(paid, paid)
    await live.harness.handle(paid)

    (authorized,) = await live.harness.take()
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert (authorized.reason, authorized.payment_id) == ("paid", payment.id)
    assert (authorized.nbf, authorized.duration, authorized.exp) == (live.harness.now, STEP, live.at(STEP))
    assert (await live.payment(payment)).status == "succeeded"


async def test_a_payment_for_an_exclusive_names_it(live: LiveSession) -> None:
    _, goal_id = await live.begin()
    payment = await live.asked(live.viewer_id, goal_id)
    await live.harness.take()

    await live.harness.handle(live.paid(payment))

    (authorized,) = await live.published(SessionViewerAuthorizedV1)
    assert authorized.exclusive_goal_id == goal_id


async def test_a_payment_after_the_sessions_end_goes_back_once(live: LiveSession) -> None:
    payment = await live.asked(live.viewer_id)
    await live.end()
    await live.harness.take()

    await live.harness.handle(live.paid(payment), live.paid(payment))

    (reversed_,) = await live.harness.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert (reversed_.payer_id, reversed_.amount_diamonds, reversed_.reason) == (live.viewer_id, 10, "session_ended")


async def test_a_payment_while_exclusive_to_another_goes_back(live: LiveSession) -> None:
    payment = await live.asked(ids.new_id())
    await live.agree()
    await live.harness.take()

    await live.harness.handle(live.paid(payment))

    (reversed_,) = await live.harness.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert reversed_.reason == "exclusive_to_another"


async def test_a_payment_for_an_exclusive_that_is_over_goes_back(live: LiveSession) -> None:
    invitation_id, goal_id = await live.begin()
    payment = await live.asked(live.viewer_id, goal_id)
    await live.harness.handle(live.over(goal_id, invitation_id))
    await live.harness.take()

    await live.harness.handle(live.paid(payment))

    (reversed_,) = await live.harness.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert reversed_.reason == "exclusive_over"


@pytest.mark.parametrize("ended", [False, True], ids=["on air", "ended"])
async def test_a_rejected_extension_takes_the_time_back_and_reverses_its_payment_once(
    live: LiveSession, *, ended: bool
) -> None:
    _, goal_id = await live.begin()
    payment = await live.asked(live.viewer_id, goal_id)
    await live.harness.handle(live.paid(payment))
    if ended:
        await live.end()
    await live.harness.take()

    await live.harness.handle(live.rejected(goal_id, payment), live.rejected(goal_id, payment))

    revoked, reversed_ = await live.harness.take()
    assert isinstance(revoked, SessionViewerRevokedV1)
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert (revoked.reason, revoked.remaining.exp) == ("extension_rejected", live.at(STEP + PREPAID))
    assert reversed_.reason == "extension_rejected"


async def test_a_rejection_read_before_the_payment_is_remembered(live: LiveSession) -> None:
    _, goal_id = await live.begin()
    payment = await live.asked(live.viewer_id, goal_id)

    await live.harness.handle(live.rejected(goal_id, payment), live.paid(payment))

    viewer = await live.viewer()
    assert viewer is not None
    assert viewer.duration == STEP + PREPAID
    assert len(await live.published(SessionPaymentReversedV1)) == 1
    assert (await live.payment(payment)).status == "succeeded"


async def test_what_escrow_paid_back_is_reversed(live: LiveSession) -> None:
    payment = await live.asked(live.viewer_id)
    await live.end()
    await live.harness.handle(live.paid(payment))

    await live.harness.handle(live.paid_back(payment), live.paid_back(payment))

    assert (await live.payment(payment)).status == "reversed"


async def test_a_payment_is_reversed_once_all_of_it_is_paid_back(live: LiveSession) -> None:
    payment = await live.asked(live.viewer_id)
    await live.end()
    await live.harness.handle(live.paid(payment))
    part = live.paid_back(payment).model_copy(update={"amount_diamonds": 4})

    await live.harness.handle(part)

    back = await live.payment(payment)
    assert (back.status, back.reversed_diamonds) == ("succeeded", 4)
    await live.harness.handle(part.model_copy(update={"amount_diamonds": 6}))
    back = await live.payment(payment)
    assert (back.status, back.reversed_diamonds) == ("reversed", 10)


async def test_a_failed_payment_gives_nothing(live: LiveSession) -> None:
    payment = await live.asked(live.viewer_id)

    await live.harness.handle(live.not_paid(payment), live.not_paid(payment))

    assert await live.harness.take() == []
    failed = await live.payment(payment)
    assert (failed.status, failed.reason) == ("failed", "insufficient_diamonds")


async def test_a_payment_that_never_cost_anything_is_forgotten_and_late_news_of_it_changes_nothing(
    live: LiveSession,
) -> None:
    unpaid, paid = await live.asked(live.viewer_id), await live.asked(live.viewer_id)

    await live.harness.handle(live.not_paid(unpaid), live.paid(paid))

    assert (await live.payment(unpaid)).unpaid_at == live.harness.now
    assert (await live.payment(paid)).unpaid_at is None
    assert 86_400 in [index.expire_after_seconds for index in store.PAYMENTS.indexes]  # MongoDB's own work
    async with live.harness.tx() as tx:
        tx.delete(store.PAYMENTS, unpaid.id)
    await live.harness.handle(live.not_paid(unpaid))


async def test_a_payment_of_a_gift_is_not_ours(live: LiveSession) -> None:
    payment = await live.asked(live.viewer_id)
    gift = live.paid(payment).model_copy(update={"purpose": "gift", "payment_id": ids.new_id()})

    await live.harness.handle(gift)

    assert await live.harness.take() == []


# -- timers and counts ---------------------------------------------------------------------------------------------


async def test_a_session_ends_by_itself_at_the_moment_set_when_it_began(live_session: LiveSessionOf) -> None:
    live = await live_session(SESSION_MAX_SECONDS=100)
    began = live.harness.now
    live.harness.clock.advance(99)
    assert await live.harness.run_timers() == 0

    live.harness.clock.advance(50)
    await live.harness.run_timers()

    (ended,) = await live.published(SessionEndedV1)
    assert ended.statuses.ended == began + timedelta(seconds=100)


async def test_an_ended_session_has_no_timer(live: LiveSession) -> None:
    await live.end()

    assert await live.harness.timers() == []


async def test_the_last_head_count_of_each_preset_makes_the_rank(live: LiveSession) -> None:
    def counted(preset: Any, viewers: int) -> PresenceCountedV1:
        return PresenceCountedV1(
            session_id=live.session_id, streamer_id=live.streamer_id, preset=preset, viewers=viewers
        )

    await live.harness.handle(counted("preview", 50), counted("sd", 4), counted("preview", 3))

    async with live.harness.tx() as tx:
        head_count = await tx.get(store.HEAD_COUNTS, live.session_id)
    assert head_count is not None
    assert head_count.rank == -7


# -- any order, any number of times, in one batch or one by one ----------------------------------------------------


async def test_events_of_different_owners_leave_the_same_state_in_any_order_once_in_a_batch_or_twice_one_by_one(
    live: LiveSession,
) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    own, others = await live.asked(live.viewer_id), await live.asked(ids.new_id())
    began = await live.harness.snapshot()
    of_goals: list[Event] = [
        live.invited(invitation_id),
        live.answered(invitation_id, "agreed"),
        live.began(goal_id, invitation_id),
        live.extended(goal_id, PREPAID + 2 * STEP),
    ]
    of_escrow: list[Event] = [live.paid(own), live.refunded(invitation_id), live.paid(others)]
    total = len(of_goals) + len(of_escrow)
    ends, reversals = [], []

    for places in combinations(range(total), len(of_escrow)):
        goals, escrow = iter(of_goals), iter(of_escrow)
        story = [next(escrow) if place in places else next(goals) for place in range(total)]
        for times in (1, 2):
            await _restore(live.harness, began)
            await live.harness.handle(*(event for event in story for _ in range(times)), apart=times == 2)
            await live.harness.run_timers()
            ends.append(await live.harness.snapshot())
            reversals.append([event.payment_id for event in await live.published(SessionPaymentReversedV1)])

    assert all(end == ends[0] for end in ends[1:])
    assert all(reversed_ == [others.id] for reversed_ in reversals)


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "one by one"])
async def test_a_refund_comes_out_the_same_wherever_it_is_read(live: LiveSession, *, apart: bool) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    began = await live.harness.snapshot()
    of_goals: list[Event] = [
        live.invited(invitation_id),
        live.answered(invitation_id, "agreed"),
        live.began(goal_id, invitation_id),
        live.extended(goal_id, PREPAID + 2 * STEP),
        live.over(goal_id, invitation_id, "cancelled"),
    ]
    ends = []

    for place in range(len(of_goals) + 1):
        await _restore(live.harness, began)
        await live.harness.handle(*of_goals[:place], live.refunded(invitation_id), *of_goals[place:], apart=apart)
        ends.append(await live.harness.snapshot())

    assert all(end == ends[0] for end in ends[1:])


async def test_a_replay_from_the_beginning_changes_nothing(live: LiveSession) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    payment = await live.asked(ids.new_id())
    story: list[Event] = [
        live.paid(payment),
        live.invited(invitation_id),
        live.answered(invitation_id, "agreed"),
        live.began(goal_id, invitation_id),
        live.extended(goal_id, PREPAID + 2 * STEP),
        live.over(goal_id, invitation_id),
        live.refunded(invitation_id),
    ]
    await live.harness.handle(*story)
    before = await live.harness.snapshot()
    await live.harness.take()
    live.harness.clock.advance(3_600)

    await live.harness.handle(*story)

    assert await live.harness.snapshot() == before
    assert await live.harness.take() == []


# -- races ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("_round", range(20))
async def test_an_agreement_and_a_payment_of_another_never_both_stand(live: LiveSession, _round: int) -> None:
    goal_id, other = ids.new_id(), ids.new_id()
    payment = await live.asked(other)
    await live.harness.handle(live.invited(goal_id))

    await asyncio.gather(
        live.harness.handle(live.answered(goal_id, "agreed")),
        live.harness.handle(live.paid(payment)),
    )
    await live.harness.run_timers()

    viewer = await live.viewer(other)
    assert viewer is None or viewer.exp is None
    assert len(await live.published(SessionPaymentReversedV1)) == 1


@pytest.mark.parametrize("_round", range(20))
async def test_an_agreement_racing_the_sessions_end_never_leaves_a_dead_session_exclusive(
    live: LiveSession, _round: int
) -> None:
    goal_id = ids.new_id()
    await live.harness.handle(live.invited(goal_id))

    await asyncio.gather(live.harness.handle(live.answered(goal_id, "agreed")), live.end())

    session = await live.session()
    assert (session.active, session.exclusive_to) == (False, ())
    assert session.exclusive_goal_pairs[live.viewer_id].trigger_exclusive_goal_agreed is not None


@pytest.mark.parametrize("_round", range(20))
async def test_two_grants_at_once_both_count(live: LiveSession, _round: int) -> None:
    one, other = await live.asked(live.viewer_id), await live.asked(live.viewer_id)

    await asyncio.gather(live.harness.handle(live.paid(one)), live.harness.handle(live.paid(other)))

    viewer = await live.viewer()
    assert viewer is not None
    assert viewer.duration == 2 * STEP


async def _restore(harness: ServiceHarness, state: dict[str, list[dict[str, Any]]]) -> None:
    """Put the database back to what it was."""
    await harness.take()
    for name, rows in state.items():
        await harness.runtime.database[name].delete_many({})
        if rows:
            await harness.runtime.database[name].insert_many([{**row, "_stamp": 0} for row in rows])
