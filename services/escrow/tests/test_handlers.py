"""Escrow's handlers on the real MongoDB: where the money is after each history."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from chassis import ids
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    EscrowSettledV1,
    Event,
    GoalLapsedV1,
)
from contracts.goals import Outcome
from escrow import store
from escrow.domain import escrows, ledger
from escrow.settings import Settings
from escrow.store import accounts

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

StoryWith = Callable[..., Awaitable["Story"]]
PRICE = 500


async def test_a_proposal_holds_its_price(story: Story) -> None:
    await story.credit(800)
    await story.harness.handle(story.proposed())

    assert await story.money() == {"wallet": 300, "escrow": 500}
    (told,) = await story.take(EscrowHeldV1)
    assert isinstance(told, EscrowHeldV1)
    assert (told.earning_id, told.buyer_id, told.amount_diamonds) == (story.earning, story.viewer, 500)


async def test_a_proposal_that_the_wallet_cannot_pay_is_rejected_for_good(story: Story) -> None:
    await story.harness.handle(story.proposed())
    await story.credit(PRICE)
    await story.harness.handle(story.proposed())

    assert await story.money() == {"wallet": 500}
    (told,) = await story.take(EscrowRejectedV1)
    assert isinstance(told, EscrowRejectedV1)
    assert told.reason == "insufficient_diamonds"


async def test_a_proposal_that_is_read_too_late_holds_nothing(story: Story) -> None:
    await story.credit(PRICE)
    proposed = story.proposed()
    story.harness.clock.advance(31)
    await story.harness.handle(proposed)

    assert await story.money() == {"wallet": 500}
    (told,) = await story.take(EscrowRejectedV1)
    assert isinstance(told, EscrowRejectedV1)
    assert told.reason == "expired"


@pytest.mark.parametrize("outcome", ["refused", "timed_out", "cancelled"])
async def test_an_invitation_that_is_not_agreed_is_refunded_at_once(story: Story, outcome: Outcome) -> None:
    await story.held()
    await story.harness.handle(story.accepted(), story.ended("TriggerExclusiveGoal", outcome))

    assert await story.money() == {"wallet": 500}
    failed, settled = await story.take()
    assert isinstance(failed, EscrowFailedV1)
    assert failed.reason == outcome
    assert isinstance(settled, EscrowSettledV1)
    assert (settled.verdict, settled.released, settled.refunded) == ("refund", 0, 1)


async def test_a_hold_that_goals_rejects_is_refunded_without_a_verdict(story: Story) -> None:
    await story.held()
    await story.harness.handle(story.rejected())

    assert await story.money() == {"wallet": 500}
    (failed,) = await story.take()
    assert isinstance(failed, EscrowFailedV1)
    assert failed.reason == "contribution_rejected"


async def test_an_agreed_invitation_is_refunded_when_it_lapsed_and_its_check_is_due(story: Story) -> None:
    await story.held()
    await story.harness.handle(story.accepted(), story.ended("TriggerExclusiveGoal", "agreed"))
    story.harness.clock.advance(61)
    await story.harness.handle(story.lapsed("no_exclusive"))
    assert await story.money() == {"escrow": 500}

    story.harness.clock.advance(4)
    await story.harness.run_timers()

    assert await story.money() == {"wallet": 500}


async def test_a_late_lapse_refunds_as_soon_as_it_is_said(story: Story) -> None:
    await story.held()
    await story.harness.handle(story.accepted(), story.ended("TriggerExclusiveGoal", "agreed"))
    story.harness.clock.advance(120)
    await story.harness.run_timers()
    assert await story.money() == {"escrow": 500}

    await story.harness.handle(story.lapsed("no_exclusive"))

    assert await story.money() == {"wallet": 500}


async def test_a_slow_escrow_never_refunds_an_exclusive_that_came(story: Story) -> None:
    await story.held()
    await story.harness.handle(story.accepted(), story.ended("TriggerExclusiveGoal", "agreed"))
    story.harness.clock.advance(10_000)
    await story.harness.run_timers()
    await story.harness.handle(story.ended("ExclusiveGoal", "completed"), story.closed(kept=True))

    assert await story.money() == {"earnings": 500}


async def test_a_session_that_ended_refunds_at_once(story: Story) -> None:
    await story.held()
    await story.harness.handle(
        story.accepted(), story.ended("TriggerExclusiveGoal", "agreed"), story.lapsed("session_ended")
    )

    assert await story.money() == {"wallet": 500}


async def test_an_exclusive_that_was_cut_short_is_refunded(story: Story) -> None:
    await story.held()
    await story.harness.handle(story.accepted(), story.ended("ExclusiveGoal", "cancelled"))

    assert await story.money() == {"wallet": 500}


@pytest.mark.parametrize("ended_first", [True, False])
async def test_why_an_exclusive_is_refunded_does_not_depend_on_what_is_read_first(
    story: Story, *, ended_first: bool
) -> None:
    await story.held()
    facts = [story.ended("ExclusiveGoal", "cancelled"), story.closed(kept=False, outcome="cancelled")]
    await story.harness.handle(story.accepted(), *(facts if ended_first else reversed(facts)))

    assert [getattr(event, "reason", "") for event in await story.take(EscrowFailedV1)] == ["cancelled"]


@pytest.mark.parametrize(("kept", "where"), [(True, "earnings"), (False, "wallet")])
async def test_a_completed_exclusive_goes_where_sessions_says(story: Story, *, kept: bool, where: str) -> None:
    await story.held()
    await story.harness.handle(story.accepted(), story.ended("ExclusiveGoal", "completed"))
    assert await story.money() == {"escrow": 500}

    await story.harness.handle(story.closed(kept=kept))

    assert await story.money() == {where: 500}
    settled = await story.take(EscrowCompletedV1, EscrowFailedV1)
    assert len(settled) == 1


async def test_the_platforms_share_is_rounded_down(story_with: StoryWith) -> None:
    story = await story_with(PLATFORM_SHARE="0.333")
    await story.held()
    await story.harness.handle(story.accepted(), story.closed(kept=True))

    assert await story.money() == {"earnings": 334, "revenue": 166}


@pytest.mark.parametrize("order", list(itertools.permutations(["accepted", "cancelled", "kept"])))
@pytest.mark.parametrize("apart", [True, False])
async def test_the_first_verdict_is_final_and_the_order_of_the_two_facts_does_not_matter(
    story: Story, order: tuple[str, ...], *, apart: bool
) -> None:
    await story.held()
    events = {
        "accepted": story.accepted(),
        "cancelled": story.ended("ExclusiveGoal", "cancelled"),
        "kept": story.closed(kept=True),
    }

    await story.harness.handle(*(events[name] for name in order), apart=apart)

    first = next(name for name in order if name != "accepted")
    assert await story.money() == {"wallet" if first == "cancelled" else "earnings": 500}


async def test_everything_heard_five_times_is_done_once(story: Story) -> None:
    await story.credit(PRICE)
    history: list[Event] = [
        story.proposed(),
        story.accepted(),
        story.ended("TriggerExclusiveGoal", "agreed"),
        story.ended("ExclusiveGoal", "completed"),
        story.closed(kept=True),
    ]
    await story.harness.handle(*history)
    told, money, state = await story.harness.published(), await story.money(), await story.harness.snapshot()

    for _ in range(4):
        await story.harness.handle(*history)

    assert (await story.harness.published(), await story.money(), await story.harness.snapshot()) == (
        told,
        money,
        state,
    )


async def test_a_run_over_many_earnings_goes_slice_by_slice(story: Story) -> None:
    count = Settings().settlement_slice + 20
    goal = ids.new_id()
    escrow_id = f"show_funding:{goal}"
    buyers = [ids.new_id() for _ in range(count)]
    async with story.harness.tx() as tx:
        paid = [
            escrows.Earning(
                id=ids.new_id(), escrow_id=escrow_id, session_id=story.session, streamer_id=story.streamer,
                buyer_id=buyer, goal_id=goal, cause_id=buyer, amount_diamonds=7, count=1, status="held",
                at=tx.now, accepted=True,
            )
            for buyer in buyers
        ]  # fmt: skip
        for earning in paid:
            tx.insert(store.EARNINGS, earning)
        minted = ledger.transfer(
            "credit", "m", debit=ledger.MINT, credit=ledger.escrow(escrow_id), amount_diamonds=7 * count, at=tx.now
        )
        await accounts.post(tx, (minted,))
        tx.put(
            store.ESCROWS,
            escrows.Escrow(
                escrow_id, goal, story.session, story.streamer, paid_diamonds=7 * count, open_earnings=count
            ),
        )
    lapsed = GoalLapsedV1(**story.of, goal_id=goal, kind="ShowFundingGoal", reason="session_ended")

    await story.harness.handle(lapsed)
    await story.harness.run_timers()

    told = await story.take()
    assert sum(isinstance(event, EscrowFailedV1) for event in told) == count
    (settled,) = [event for event in told if isinstance(event, EscrowSettledV1)]
    assert settled.refunded == count
    async with story.harness.tx() as tx:
        wallets = await accounts.balances_diamonds(tx, [ledger.wallet(buyer) for buyer in buyers])
    assert set(wallets.values()) == {7}
