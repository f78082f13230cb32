"""One handler per row of who acts on what: each acts on its kinds, and returns on all others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from chassis import ids
from chassis.decision import At
from chassis.storage.tx import Tx
from contracts import EscrowFailedV1, GoalEndedV1, GoalLapsedV1
from contracts.goals import Conditions, Context, GoalKind, Metadata, Outcome
from escrow import store
from escrow.domain.escrows import Escrow, HeldTooLong
from escrow.domain.verdicts import FundingRefundCheckDue, InvitationRefundCheckDue, RefundCheckDue
from escrow.handlers import verdicts
from escrow.service import SERVICE

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

Handler = Callable[[GoalEndedV1, Tx], Awaitable[None]]

REFUND, TIMER = "refund", "timer"
ENDS: dict[tuple[GoalKind, Outcome], tuple[Handler, str] | None] = {
    ("ShowFundingGoal", "unfunded"): (verdicts.trigger_show_escrow_refund, TIMER),
    ("ShowFundingGoal", "funded"): None,
    ("ShowGoal", "completed"): None,
    ("ShowGoal", "cancelled"): (verdicts.trigger_show_escrow_refund, REFUND),
    ("TriggerExclusiveGoal", "agreed"): (verdicts.trigger_exclusive_goal_escrow_refund, TIMER),
    ("TriggerExclusiveGoal", "refused"): (verdicts.trigger_exclusive_goal_escrow_refund, REFUND),
    ("TriggerExclusiveGoal", "timed_out"): (verdicts.trigger_exclusive_goal_escrow_refund, REFUND),
    ("TriggerExclusiveGoal", "cancelled"): (verdicts.trigger_exclusive_goal_escrow_refund, REFUND),
    ("ExclusiveGoal", "completed"): None,
    ("ExclusiveGoal", "cancelled"): (verdicts.trigger_exclusive_goal_escrow_refund, REFUND),
    ("TriggerPrivateGoal", "completed"): None,
    ("TriggerPrivateGoal", "timed_out"): (verdicts.handle_trigger_private_goal_escrow, REFUND),
    ("TriggerPrivateGoal", "cancelled"): (verdicts.handle_trigger_private_goal_escrow, REFUND),
    ("KaraokeGoal", "completed"): None,
    ("KaraokeGoal", "cancelled"): None,
}


def ended(story: Story, kind: GoalKind, outcome: Outcome) -> GoalEndedV1:
    of = {"ShowGoal": {"funding_goal_id": story.goal}, "ExclusiveGoal": {"trigger_exclusive_goal_id": story.goal}}
    return GoalEndedV1(
        **story.of,
        goal_id=ids.new_id(),
        kind=kind,
        active=False,
        progress=0,
        levels=(),
        conditions=Conditions(session_id=story.session),
        context=Context.model_validate({"type": "show", **of.get(kind, {})}),
        exp=story.harness.now,
        ended_at=story.harness.now,
        triggerer=None,
        metadata=Metadata(user_id=story.streamer),
        outcome=outcome,
    )


@pytest.mark.parametrize(("kind", "outcome"), ENDS)
async def test_each_row_acts_on_its_kinds_and_returns_on_others(story: Story, kind: GoalKind, outcome: Outcome) -> None:
    rows = [row.handler for row in SERVICE.handlers if row.subject is GoalEndedV1]
    assert [row.__name__ for row in rows] == [
        "trigger_show_escrow_refund",
        "trigger_exclusive_goal_escrow_refund",
        "handle_trigger_private_goal_escrow",
    ]
    expected = ENDS[kind, outcome]
    for row in rows:
        await story.harness.clear()
        async with story.harness.tx() as tx:
            await row(ended(story, kind, outcome), tx)
        async with story.harness.tx() as tx:
            written = await tx.find(store.ESCROWS, {})
        timers = [timer for timer in await story.harness.timers() if "refund-check" in timer.NAME]
        did = REFUND if written and written[0].verdict == "refund" else TIMER if timers else None
        assert did == (expected[1] if expected and expected[0] is row else None), row
        assert expected or not written


async def test_each_timer_has_the_name_of_its_row(story: Story) -> None:
    names = {row.subject: row.handler.__name__ for row in SERVICE.timers}

    assert names[FundingRefundCheckDue] == "check_funding_goal_refundable"
    assert names[InvitationRefundCheckDue] == "check_trigger_exclusive_goal_refundable"
    await story.harness.handle(
        ended(story, "ShowFundingGoal", "unfunded"), ended(story, "TriggerExclusiveGoal", "agreed")
    )
    assert {type(timer) for timer in await story.harness.timers()} == {FundingRefundCheckDue, InvitationRefundCheckDue}


async def test_a_funding_that_was_given_up_is_refunded_at_once(story: Story) -> None:
    await story.credit(500)
    funding = ids.new_id()
    ticket = story.gift(200, funding=funding)
    await story.harness.handle(ticket)
    [held] = [event for event in await story.take() if event.TYPE == "escrow.held.v1"]
    accepted = story.accepted().model_copy(
        update={"earning_id": held.subject, "escrow_id": f"show_funding:{funding}", "goal_id": funding}
    )
    lapsed = GoalLapsedV1(**story.of, goal_id=funding, kind="ShowFundingGoal", reason="given_up")
    await story.harness.handle(accepted, lapsed)
    await story.harness.run_timers()

    assert await story.money() == {"wallet": 500}
    assert [getattr(event, "reason", "") for event in await story.take(EscrowFailedV1)] == ["given_up"]


async def test_timers_that_an_older_release_has_set_still_run(story: Story) -> None:
    escrow_id = f"show_funding:{ids.new_id()}"
    async with story.harness.tx() as tx:
        tx.put(store.ESCROWS, Escrow(escrow_id, escrow_id[-24:], story.session, story.streamer, lapsed="no_show"))
        for timer in (RefundCheckDue(escrow_id=escrow_id), HeldTooLong()):
            tx.set_timer(At(timer, timer.NAME, tx.now, story.session))

    await story.harness.run_timers()

    async with story.harness.tx() as tx:
        escrow = await tx.get(store.ESCROWS, escrow_id)
    assert escrow is not None
    assert (escrow.verdict, escrow.reason) == ("refund", "no_show")
