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
    from chassis.testing import Solo
    from services.sessions.tests.conftest import Night, NightOf

STEP = 60
PREPAID = 300


# -- invitations ---------------------------------------------------------------------------------------------------


async def test_an_invitation_becomes_its_viewers_pair_and_is_told(night: Night) -> None:
    goal_id = ids.new_id()

    await night.solo.hear(night.invited(goal_id))

    pair = (await night.session()).exclusive_goal_pairs[night.viewer_id]
    assert (pair.trigger_exclusive_goal, pair.trigger_exclusive_goal_ended) == (goal_id, None)
    (added,) = await night.told(SessionGoalAddedV1)
    assert (added.goal_id, added.kind) == (goal_id, "TriggerExclusiveGoal")


async def test_a_new_invitation_replaces_the_whole_pair(night: Night) -> None:
    first, second = ids.new_id(), ids.new_id()
    await night.solo.hear(night.invited(first), night.answered(first, "refused"))

    await night.solo.hear(night.invited(second))

    pair = (await night.session()).exclusive_goal_pairs[night.viewer_id]
    assert (pair.trigger_exclusive_goal, pair.trigger_exclusive_goal_ended) == (second, None)


async def test_a_replayed_invitation_does_not_replace_the_one_after_it(night: Night) -> None:
    first, second = ids.new_id(), ids.new_id()
    events = [night.invited(first), night.answered(first, "refused"), night.invited(second)]
    await night.solo.hear(*events)

    await night.solo.hear(*events)

    assert (await night.session()).exclusive_goal_pairs[night.viewer_id].trigger_exclusive_goal == second


@pytest.mark.parametrize("outcome", ["refused", "timed_out", "cancelled"])
async def test_an_invitation_that_was_not_agreed_to_closes_its_pair_and_nothing_else(
    night: Night, outcome: Outcome
) -> None:
    goal_id = ids.new_id()
    await night.solo.hear(night.invited(goal_id))
    await night.solo.take()

    await night.solo.hear(night.answered(goal_id, outcome))

    session = await night.session()
    pair = session.exclusive_goal_pairs[night.viewer_id]
    assert (pair.trigger_exclusive_goal_agreed, pair.trigger_exclusive_goal_ended) == (None, night.solo.now)
    assert session.exclusive_to == ()
    assert await night.solo.take() == []


async def test_closed_pairs_are_bounded_the_latest_are_kept(night: Night) -> None:
    viewers = [ids.new_id() for _ in range(CLOSED_MAX + 3)]
    goals = {viewer_id: ids.new_id() for viewer_id in viewers}
    await night.solo.hear(*(night.invited(goals[viewer_id], viewer_id) for viewer_id in viewers))

    await night.solo.hear(*(night.answered(goals[viewer_id], "refused", viewer_id) for viewer_id in reversed(viewers)))

    assert set((await night.session()).exclusive_goal_pairs) == set(viewers[:CLOSED_MAX])


# -- the agreement -------------------------------------------------------------------------------------------------


async def test_an_agreement_gives_the_session_and_a_step_more_than_was_bought(night: Night) -> None:
    goal_id = ids.new_id()
    await night.solo.hear(night.invited(goal_id))
    await night.solo.take()

    await night.solo.hear(night.answered(goal_id, "agreed"))

    assert (await night.session()).exclusive_to == (night.viewer_id,)
    updated, authorized = await night.solo.take()
    assert isinstance(updated, SessionUpdatedV1)
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert updated.exclusive_to == (night.viewer_id,)
    assert (authorized.reason, authorized.goal_id, authorized.preset) == ("agreed", goal_id, "sd")
    assert (authorized.nbf, authorized.duration) == (night.solo.now, STEP + PREPAID)
    assert authorized.exp == night.at(STEP + PREPAID)


async def test_an_agreement_drops_other_pairs_that_are_open_or_whose_exclusive_is_over(night: Night) -> None:
    invitation_id, exclusive_id = await night.begin()
    await night.solo.hear(night.over(exclusive_id, invitation_id))
    refused, waiting, agreed = ids.new_id(), ids.new_id(), ids.new_id()
    one, other, winner = ids.new_id(), ids.new_id(), ids.new_id()
    await night.solo.hear(night.invited(refused, one), night.answered(refused, "refused", one))
    await night.solo.hear(night.invited(waiting, other), night.invited(agreed, winner))

    await night.solo.hear(night.answered(agreed, "agreed", winner))

    assert set((await night.session()).exclusive_goal_pairs) == {one, winner}


async def test_what_was_dropped_stays_dropped_when_it_ends(night: Night) -> None:
    waiting, other = ids.new_id(), ids.new_id()
    await night.solo.hear(night.invited(waiting, other))
    await night.agree()

    await night.solo.hear(night.answered(waiting, "timed_out", other))

    assert set((await night.session()).exclusive_goal_pairs) == {night.viewer_id}


async def test_an_agreement_without_its_pair_does_nothing(night: Night) -> None:
    waiting, other = ids.new_id(), ids.new_id()
    await night.solo.hear(night.invited(waiting, other))
    await night.agree()
    await night.solo.take()

    await night.solo.hear(night.answered(waiting, "agreed", other))

    assert (await night.session()).exclusive_to == (night.viewer_id,)
    assert await night.viewer(other) is None
    assert await night.solo.take() == []


async def test_on_an_ended_session_an_agreement_only_closes_its_pair(night: Night) -> None:
    goal_id = ids.new_id()
    await night.solo.hear(night.invited(goal_id))
    await night.end()
    await night.solo.take()

    await night.solo.hear(night.answered(goal_id, "agreed"))

    session = await night.session()
    assert session.exclusive_goal_pairs[night.viewer_id].trigger_exclusive_goal_agreed == night.solo.now
    assert session.exclusive_to == ()
    assert await night.viewer() is None
    assert await night.solo.take() == []


async def test_payments_of_others_from_the_agreement_on_go_back_as_if_read_after_it(night: Night) -> None:
    goal_id, other = ids.new_id(), ids.new_id()
    before, own = await night.asked(other), await night.asked(night.viewer_id)
    await night.solo.hear(night.invited(goal_id), night.paid(before))
    night.solo.clock.advance(5)
    agreement = night.answered(goal_id, "agreed")
    after = await night.asked(other)
    await night.solo.hear(night.paid(after), night.paid(own))
    await night.solo.take()

    await night.solo.hear(agreement)
    await night.solo.run_timers()

    *_, authorized, revoked, reversed_ = await night.solo.take()
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert isinstance(revoked, SessionViewerRevokedV1)
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert (revoked.viewer_id, revoked.reason, revoked.payment_id) == (other, "reversed", after.id)
    assert revoked.remaining.exp == night.at(-5 + STEP)
    assert (reversed_.payment_id, reversed_.reason) == (after.id, "exclusive_to_another")
    assert [(await night.payment(one)).reversal for one in (before, own)] == [None, None]


# -- the exclusive -------------------------------------------------------------------------------------------------


async def test_an_exclusive_joins_the_pair_of_its_invitation(night: Night) -> None:
    invitation_id = await night.agree()
    await night.solo.take()
    goal_id = ids.new_id()

    await night.solo.hear(night.began(goal_id, invitation_id))

    assert (await night.session()).exclusive_goal_pairs[night.viewer_id].exclusive_goal == goal_id
    (added,) = await night.solo.take()
    assert isinstance(added, SessionGoalAddedV1)
    assert added.goal_id == goal_id


async def test_an_exclusive_without_its_pair_binds_nothing_and_is_never_kept(night: Night) -> None:
    goal_id, unknown = ids.new_id(), ids.new_id()

    await night.solo.hear(night.began(goal_id, unknown))
    night.solo.clock.advance(PREPAID)
    await night.solo.hear(night.over(goal_id, unknown))

    assert (await night.session()).exclusive_goal_pairs == {}
    (closed,) = await night.solo.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


async def test_an_exclusive_performed_as_long_as_prepaid_is_kept_and_the_session_is_everyones_again(
    night: Night,
) -> None:
    invitation_id, goal_id = await night.begin()
    await night.solo.take()
    night.solo.clock.advance(PREPAID)

    await night.solo.hear(night.over(goal_id, invitation_id))

    session = await night.session()
    assert session.exclusive_to == ()
    assert session.exclusive_goal_pairs[night.viewer_id].exclusive_goal_ended == night.solo.now
    updated, authorized, closed = await night.solo.take()
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
    night: Night, outcome: Outcome, began_after: int, ran_seconds: float, *, kept: bool
) -> None:
    invitation_id, goal_id = await night.agree(), ids.new_id()
    night.solo.clock.advance(began_after)
    await night.solo.hear(night.began(goal_id, invitation_id))
    night.solo.clock.advance(ran_seconds)

    await night.solo.hear(night.over(goal_id, invitation_id, outcome))

    (closed,) = await night.told(SessionGoalClosedV1)
    assert closed.kept is kept


async def test_what_sessions_read_too_late_was_not_performed(night: Night) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    invited, agreed, began = (
        night.invited(invitation_id),
        night.answered(invitation_id, "agreed"),
        night.began(goal_id, invitation_id),
    )
    night.solo.clock.advance(PREPAID)
    over = night.over(goal_id, invitation_id)

    await night.solo.hear(invited, agreed, began, over)

    (closed,) = await night.told(SessionGoalClosedV1)
    assert not closed.kept


async def test_the_sessions_end_ends_what_counts_as_performed(night: Night) -> None:
    invitation_id, goal_id = await night.begin()
    night.solo.clock.advance(PREPAID - 10)
    await night.end()
    night.solo.clock.advance(10)
    await night.solo.take()

    await night.solo.hear(night.over(goal_id, invitation_id))

    assert (await night.session()).exclusive_goal_pairs[night.viewer_id].exclusive_goal_ended == night.solo.now
    (closed,) = await night.solo.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


async def test_a_promise_kept_is_told_once(night: Night) -> None:
    invitation_id, goal_id = await night.begin()
    night.solo.clock.advance(PREPAID)
    over = night.over(goal_id, invitation_id)

    await night.solo.hear(over, over)
    await night.solo.hear(over)

    assert len(await night.told(SessionGoalClosedV1)) == 1


async def test_a_session_never_ends_before_what_it_has_confirmed(night: Night) -> None:
    invitation_id, goal_id = await night.begin()
    night.solo.clock.advance(PREPAID)
    over = night.over(goal_id, invitation_id)
    ended_at = night.solo.now + timedelta(seconds=1)  # goals' clock is ahead
    await night.solo.hear(over.model_copy(update={"ended_at": ended_at}))

    await night.end()

    assert (await night.session()).ended == ended_at


async def test_the_sessions_end_gives_it_back_to_everyone(night: Night) -> None:
    await night.agree()

    await night.end()

    (ended,) = await night.told(SessionEndedV1)
    assert ended.exclusive_to == ()
    assert (await night.session()).exclusive_to == ()


async def test_a_lapsed_agreement_gives_the_session_back(night: Night) -> None:
    goal_id = await night.agree()
    await night.solo.take()

    await night.solo.hear(night.lapsed(goal_id))

    (updated,) = await night.solo.take()
    assert isinstance(updated, SessionUpdatedV1)
    assert updated.exclusive_to == ()


async def test_another_agreements_lapse_leaves_the_session_exclusive(night: Night) -> None:
    await night.agree()

    await night.solo.hear(night.lapsed(ids.new_id()))

    assert (await night.session()).exclusive_to == (night.viewer_id,)


# -- extending -----------------------------------------------------------------------------------------------------


async def test_an_extension_gives_a_step_once(night: Night) -> None:
    _, goal_id = await night.begin()
    await night.solo.take()
    extended = night.extended(goal_id, PREPAID + 2 * STEP)

    await night.solo.hear(extended, extended)
    await night.solo.hear(extended)

    (authorized,) = await night.told(SessionViewerAuthorizedV1)
    assert (authorized.reason, authorized.goal_id) == ("extended", goal_id)
    assert (authorized.duration, authorized.exp) == (STEP, night.at(PREPAID + 2 * STEP))


async def test_each_extension_gives_a_step(night: Night) -> None:
    _, goal_id = await night.begin()

    await night.solo.hear(night.extended(goal_id, PREPAID + 2 * STEP), night.extended(goal_id, PREPAID + 3 * STEP))

    viewer = await night.viewer()
    assert viewer is not None
    assert viewer.duration == PREPAID + 3 * STEP


async def test_an_extension_by_a_payment_gives_nothing_more(night: Night) -> None:
    _, goal_id = await night.begin()
    await night.solo.take()

    await night.solo.hear(night.extended(goal_id, PREPAID + 2 * STEP, payment_id=ids.new_id()))

    assert await night.solo.take() == []


async def test_an_ended_session_gives_no_extension(night: Night) -> None:
    _, goal_id = await night.begin()
    await night.end()
    await night.solo.take()

    await night.solo.hear(night.extended(goal_id, PREPAID + 2 * STEP))

    assert await night.solo.take() == []


# -- refunds -------------------------------------------------------------------------------------------------------


async def test_a_refund_takes_the_invitations_time_and_its_exclusives_extensions_but_not_what_was_paid_besides(
    night: Night,
) -> None:
    invitation_id, goal_id = await night.begin()
    payment = await night.asked(night.viewer_id, goal_id)
    await night.solo.hear(night.extended(goal_id, PREPAID + 2 * STEP), night.paid(payment))
    await night.solo.take()

    await night.solo.hear(night.refunded(invitation_id))

    (revoked,) = await night.solo.take()
    assert isinstance(revoked, SessionViewerRevokedV1)
    assert (revoked.reason, revoked.goal_id) == ("refunded", invitation_id)
    assert (revoked.remaining.nbf, revoked.remaining.exp) == (night.solo.now, night.at(STEP))


async def test_a_refund_read_before_its_cause_is_remembered(night: Night) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()

    await night.solo.hear(night.refunded(invitation_id))
    await night.solo.hear(night.invited(invitation_id), night.answered(invitation_id, "agreed"))
    await night.solo.hear(night.began(goal_id, invitation_id), night.extended(goal_id, PREPAID + 2 * STEP))

    viewer = await night.viewer()
    assert viewer is not None
    assert (viewer.duration, viewer.exp) == (0, None)
    assert await night.told(SessionViewerAuthorizedV1) == []


async def test_a_refund_of_what_gave_nothing_revokes_nothing(night: Night) -> None:
    goal_id = ids.new_id()
    await night.solo.hear(night.invited(goal_id), night.answered(goal_id, "refused"))
    await night.solo.take()

    await night.solo.hear(night.refunded(goal_id))

    assert await night.solo.take() == []


# -- payments ------------------------------------------------------------------------------------------------------


async def test_a_payment_gives_its_time_from_now_on_once(night: Night) -> None:
    payment = await night.asked(night.viewer_id)
    night.solo.clock.advance(7)
    paid = night.paid(payment)

    await night.solo.hear(paid, paid)
    await night.solo.hear(paid)

    (authorized,) = await night.solo.take()
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert (authorized.reason, authorized.payment_id) == ("paid", payment.id)
    assert (authorized.nbf, authorized.duration, authorized.exp) == (night.solo.now, STEP, night.at(STEP))
    assert (await night.payment(payment)).status == "succeeded"


async def test_a_payment_for_an_exclusive_names_it(night: Night) -> None:
    _, goal_id = await night.begin()
    payment = await night.asked(night.viewer_id, goal_id)
    await night.solo.take()

    await night.solo.hear(night.paid(payment))

    (authorized,) = await night.told(SessionViewerAuthorizedV1)
    assert authorized.exclusive_goal_id == goal_id


async def test_a_payment_after_the_sessions_end_goes_back_once(night: Night) -> None:
    payment = await night.asked(night.viewer_id)
    await night.end()
    await night.solo.take()

    await night.solo.hear(night.paid(payment), night.paid(payment))

    (reversed_,) = await night.solo.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert (reversed_.payer_id, reversed_.amount_diamonds, reversed_.reason) == (night.viewer_id, 10, "session_ended")


async def test_a_payment_while_exclusive_to_another_goes_back(night: Night) -> None:
    payment = await night.asked(ids.new_id())
    await night.agree()
    await night.solo.take()

    await night.solo.hear(night.paid(payment))

    (reversed_,) = await night.solo.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert reversed_.reason == "exclusive_to_another"


async def test_a_payment_for_an_exclusive_that_is_over_goes_back(night: Night) -> None:
    invitation_id, goal_id = await night.begin()
    payment = await night.asked(night.viewer_id, goal_id)
    await night.solo.hear(night.over(goal_id, invitation_id))
    await night.solo.take()

    await night.solo.hear(night.paid(payment))

    (reversed_,) = await night.solo.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert reversed_.reason == "exclusive_over"


@pytest.mark.parametrize("ended", [False, True], ids=["on air", "ended"])
async def test_a_rejected_extension_takes_the_time_back_and_reverses_its_payment_once(
    night: Night, *, ended: bool
) -> None:
    _, goal_id = await night.begin()
    payment = await night.asked(night.viewer_id, goal_id)
    await night.solo.hear(night.paid(payment))
    if ended:
        await night.end()
    await night.solo.take()

    await night.solo.hear(night.rejected(goal_id, payment), night.rejected(goal_id, payment))

    revoked, reversed_ = await night.solo.take()
    assert isinstance(revoked, SessionViewerRevokedV1)
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert (revoked.reason, revoked.remaining.exp) == ("extension_rejected", night.at(STEP + PREPAID))
    assert reversed_.reason == "extension_rejected"


async def test_a_rejection_read_before_the_payment_is_remembered(night: Night) -> None:
    _, goal_id = await night.begin()
    payment = await night.asked(night.viewer_id, goal_id)

    await night.solo.hear(night.rejected(goal_id, payment), night.paid(payment))

    viewer = await night.viewer()
    assert viewer is not None
    assert viewer.duration == STEP + PREPAID
    assert len(await night.told(SessionPaymentReversedV1)) == 1
    assert (await night.payment(payment)).status == "succeeded"


async def test_what_escrow_paid_back_is_reversed(night: Night) -> None:
    payment = await night.asked(night.viewer_id)
    await night.end()
    await night.solo.hear(night.paid(payment))

    await night.solo.hear(night.paid_back(payment), night.paid_back(payment))

    assert (await night.payment(payment)).status == "reversed"


async def test_a_payment_is_reversed_once_all_of_it_is_paid_back(night: Night) -> None:
    payment = await night.asked(night.viewer_id)
    await night.end()
    await night.solo.hear(night.paid(payment))
    part = night.paid_back(payment).model_copy(update={"amount_diamonds": 4})

    await night.solo.hear(part)

    back = await night.payment(payment)
    assert (back.status, back.reversed_diamonds) == ("succeeded", 4)
    await night.solo.hear(part.model_copy(update={"amount_diamonds": 6}))
    back = await night.payment(payment)
    assert (back.status, back.reversed_diamonds) == ("reversed", 10)


async def test_a_failed_payment_gives_nothing(night: Night) -> None:
    payment = await night.asked(night.viewer_id)

    await night.solo.hear(night.not_paid(payment), night.not_paid(payment))

    assert await night.solo.take() == []
    failed = await night.payment(payment)
    assert (failed.status, failed.reason) == ("failed", "insufficient_diamonds")


async def test_a_payment_of_a_gift_is_not_ours(night: Night) -> None:
    payment = await night.asked(night.viewer_id)
    gift = night.paid(payment).model_copy(update={"purpose": "gift", "payment_id": ids.new_id()})

    await night.solo.hear(gift)

    assert await night.solo.take() == []


# -- timers and counts ---------------------------------------------------------------------------------------------


async def test_a_session_ends_by_itself_at_the_moment_set_when_it_began(night_of: NightOf) -> None:
    night = await night_of(SESSION_MAX_SECONDS=100)
    began = night.solo.now
    night.solo.clock.advance(99)
    assert await night.solo.run_timers() == 0

    night.solo.clock.advance(50)
    await night.solo.run_timers()

    (ended,) = await night.told(SessionEndedV1)
    assert ended.statuses.ended == began + timedelta(seconds=100)


async def test_an_ended_session_has_no_timer(night: Night) -> None:
    await night.end()

    assert await night.solo.timers() == []


async def test_the_last_head_count_of_each_preset_makes_the_rank(night: Night) -> None:
    def counted(preset: Any, viewers: int) -> PresenceCountedV1:
        return PresenceCountedV1(
            session_id=night.session_id, streamer_id=night.streamer_id, preset=preset, viewers=viewers
        )

    await night.solo.hear(counted("preview", 50), counted("sd", 4), counted("preview", 3))

    async with night.solo.tx() as tx:
        head_count = await tx.get(store.HEAD_COUNTS, night.session_id)
    assert head_count is not None
    assert head_count.rank == -7


# -- any order, any number of times, in one batch or one by one ----------------------------------------------------


async def test_events_of_different_owners_leave_the_same_state_in_any_order_once_in_a_batch_or_twice_one_by_one(
    night: Night,
) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    own, others = await night.asked(night.viewer_id), await night.asked(ids.new_id())
    began = await night.solo.snapshot()
    of_goals: list[Event] = [
        night.invited(invitation_id),
        night.answered(invitation_id, "agreed"),
        night.began(goal_id, invitation_id),
        night.extended(goal_id, PREPAID + 2 * STEP),
    ]
    of_escrow: list[Event] = [night.paid(own), night.refunded(invitation_id), night.paid(others)]
    total = len(of_goals) + len(of_escrow)
    ends, reversals = [], []

    for places in combinations(range(total), len(of_escrow)):
        goals, escrow = iter(of_goals), iter(of_escrow)
        story = [next(escrow) if place in places else next(goals) for place in range(total)]
        for times in (1, 2):
            await _restore(night.solo, began)
            await night.solo.hear(*(event for event in story for _ in range(times)), apart=times == 2)
            await night.solo.run_timers()
            ends.append(await night.solo.snapshot())
            reversals.append([event.payment_id for event in await night.told(SessionPaymentReversedV1)])

    assert all(end == ends[0] for end in ends[1:])
    assert all(reversed_ == [others.id] for reversed_ in reversals)


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "one by one"])
async def test_a_refund_comes_out_the_same_wherever_it_is_read(night: Night, *, apart: bool) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    began = await night.solo.snapshot()
    of_goals: list[Event] = [
        night.invited(invitation_id),
        night.answered(invitation_id, "agreed"),
        night.began(goal_id, invitation_id),
        night.extended(goal_id, PREPAID + 2 * STEP),
        night.over(goal_id, invitation_id, "cancelled"),
    ]
    ends = []

    for place in range(len(of_goals) + 1):
        await _restore(night.solo, began)
        await night.solo.hear(*of_goals[:place], night.refunded(invitation_id), *of_goals[place:], apart=apart)
        ends.append(await night.solo.snapshot())

    assert all(end == ends[0] for end in ends[1:])


async def test_a_replay_from_the_beginning_changes_nothing(night: Night) -> None:
    invitation_id, goal_id = ids.new_id(), ids.new_id()
    payment = await night.asked(ids.new_id())
    story: list[Event] = [
        night.paid(payment),
        night.invited(invitation_id),
        night.answered(invitation_id, "agreed"),
        night.began(goal_id, invitation_id),
        night.extended(goal_id, PREPAID + 2 * STEP),
        night.over(goal_id, invitation_id),
        night.refunded(invitation_id),
    ]
    await night.solo.hear(*story)
    before = await night.solo.snapshot()
    await night.solo.take()
    night.solo.clock.advance(3_600)

    await night.solo.hear(*story)

    assert await night.solo.snapshot() == before
    assert await night.solo.take() == []


# -- races ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("_round", range(20))
async def test_an_agreement_and_a_payment_of_another_never_both_stand(night: Night, _round: int) -> None:
    goal_id, other = ids.new_id(), ids.new_id()
    payment = await night.asked(other)
    await night.solo.hear(night.invited(goal_id))

    await asyncio.gather(
        night.solo.hear(night.answered(goal_id, "agreed")),
        night.solo.hear(night.paid(payment)),
    )
    await night.solo.run_timers()

    viewer = await night.viewer(other)
    assert viewer is None or viewer.exp is None
    assert len(await night.told(SessionPaymentReversedV1)) == 1


@pytest.mark.parametrize("_round", range(20))
async def test_an_agreement_racing_the_sessions_end_never_leaves_a_dead_session_exclusive(
    night: Night, _round: int
) -> None:
    goal_id = ids.new_id()
    await night.solo.hear(night.invited(goal_id))

    await asyncio.gather(night.solo.hear(night.answered(goal_id, "agreed")), night.end())

    session = await night.session()
    assert (session.active, session.exclusive_to) == (False, ())
    assert session.exclusive_goal_pairs[night.viewer_id].trigger_exclusive_goal_agreed is not None


@pytest.mark.parametrize("_round", range(20))
async def test_two_grants_at_once_both_count(night: Night, _round: int) -> None:
    one, other = await night.asked(night.viewer_id), await night.asked(night.viewer_id)

    await asyncio.gather(night.solo.hear(night.paid(one)), night.solo.hear(night.paid(other)))

    viewer = await night.viewer()
    assert viewer is not None
    assert viewer.duration == 2 * STEP


async def _restore(solo: Solo, state: dict[str, list[dict[str, Any]]]) -> None:
    """Put the database back to what it was."""
    await solo.take()
    for name, rows in state.items():
        await solo.runtime.database[name].delete_many({})
        if rows:
            await solo.runtime.database[name].insert_many([{**row, "_stamp": 0} for row in rows])
