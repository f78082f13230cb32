"""Minutes and gifts: paid at once, and back in parts or whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis_testing.service import START_TIME
from contracts import Event, PaymentFailedV1, PaymentReversedV1, SessionPaymentReversedV1
from escrow import store
from escrow.domain import payments
from escrow.domain.payments import Payment

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

StoryWith = Callable[..., Awaitable["Story"]]


def types_of(events: list[Event]) -> list[str]:
    return [event.TYPE for event in events if event.TYPE.startswith("payment")]


async def test_minutes_are_paid_to_the_streamer_and_come_back_when_reversed_once(story: Story) -> None:
    await story.credit(500)
    paid = story.payment()
    await story.harness.handle(paid)
    assert await story.money() == {"wallet": 300, "earnings": 200}

    await story.harness.handle(story.reversal(paid))
    await story.harness.handle(story.reversal(paid), paid)

    assert await story.money() == {"wallet": 500}
    assert types_of(await story.take()) == ["payment.succeeded.v1", "payment.reversed.v1"]


async def test_minutes_that_the_wallet_cannot_pay_fail_for_good(story: Story) -> None:
    paid = story.payment()
    await story.harness.handle(paid)
    await story.credit(500)
    await story.harness.handle(paid, story.reversal(paid))

    assert await story.money() == {"wallet": 500}
    assert types_of(await story.take()) == ["payment.failed.v1"]


@pytest.mark.parametrize("what", ["minutes", "gift"])
@pytest.mark.parametrize(("late", "reason"), [(0, None), (1, "expired")])
async def test_a_request_that_is_read_after_its_exp_is_not_charged(
    story: Story, what: str, late: int, reason: str | None
) -> None:
    await story.credit(500)
    exp = story.harness.now + timedelta(seconds=30)
    asked = story.payment(exp=exp) if what == "minutes" else story.gift(exp=exp)
    story.harness.clock.advance(30 + late)
    await story.harness.handle(asked)
    await story.harness.handle(asked)

    assert await story.money() == ({"wallet": 500} if reason else {"wallet": 300, "earnings": 200})
    assert [event.reason for event in await story.take(PaymentFailedV1) if isinstance(event, PaymentFailedV1)] == (
        [reason] if reason else []
    )


@pytest.mark.parametrize("what", ["minutes", "gift", "ticket"])
async def test_a_request_without_exp_of_an_older_release_is_taken_however_late(story: Story, what: str) -> None:
    await story.credit(500)
    asked = {"minutes": story.payment(), "gift": story.gift(), "ticket": story.gift(funding=story.goal)}[what]
    story.harness.clock.advance(100_000)
    await story.harness.handle(asked)

    assert (await story.money())["wallet"] == 300


async def test_a_payment_comes_back_in_parts_once_per_event_and_never_more_than_was_paid(
    story_with: StoryWith,
) -> None:
    story = await story_with(PLATFORM_SHARE="0.333")
    await story.credit(500)
    paid = story.payment(101)
    await story.harness.handle(paid)
    assert await story.money() == {"wallet": 399, "earnings": 68, "revenue": 33}

    part = story.harness.work(story.reversal(paid, 40), story.harness.cause(event_id="the-event"))
    for _ in range(2):  # read again under a new offset
        assert await story.harness.handle_items([part]) == [None]

    assert await story.money() == {"wallet": 439, "earnings": 42, "revenue": 19}  # a third of 61, rounded down
    async with story.harness.tx() as tx:
        kept = await tx.get(store.PAYMENTS, paid.payment_id)
    assert kept is not None
    assert (kept.status, kept.reversed_diamonds) == ("succeeded", 40)

    await story.harness.handle(story.reversal(paid, 90), story.reversal(paid, 1))

    assert await story.money() == {"wallet": 500}
    told = [event for event in await story.take() if isinstance(event, PaymentReversedV1)]
    assert [event.amount_diamonds for event in told] == [40, 61]
    async with story.harness.tx() as tx:
        kept = await tx.get(store.PAYMENTS, paid.payment_id)
    assert kept is not None
    assert (kept.status, kept.reversed_diamonds) == ("reversed", 101)


async def test_what_a_reversal_moves_has_the_id_of_its_event(story: Story) -> None:
    """So a database that was restored, and reads the event again, makes the same transfer."""
    await story.credit(500)
    paid = story.payment()
    await story.harness.handle(paid)
    reversed_ = story.harness.work(story.reversal(paid, 50), story.harness.cause(event_id="the-event"))
    await story.harness.handle_items([reversed_])

    async with story.harness.tx() as tx:
        moved = await tx.find(store.TRANSFERS, {"kind": "reversal"})
    assert [(one.cause, one.amount_diamonds) for one in moved] == [(f"{paid.payment_id}:the-event", 50)]


parts = st.lists(st.integers(0, 300), max_size=12)


@given(amount=st.integers(1, 1_000), share=st.decimals(0, 1, places=3), amounts=parts)
def test_whatever_the_parts_are_everything_is_back_in_the_end_and_nothing_twice(
    amount: int, share: Decimal, amounts: list[int]
) -> None:
    ids_: dict[str, Any] = {"session_id": "1" * 24, "streamer_id": "2" * 24, "payer_id": "3" * 24}
    asked = Payment(id="4" * 24, purpose="minutes", amount_diamonds=amount, **ids_)
    paid = payments.pay(asked, amount, blocked=False, share=share, now=START_TIME)
    back = {"wallet": 0, "earnings": 0, "system": 0}
    payment = paid.payment
    for number, part in enumerate([*amounts, amount]):
        event = SessionPaymentReversedV1(payment_id=payment.id, amount_diamonds=part, reason="session_ended", **ids_)
        done = payments.reverse(payment, event, payments.reversal_cause(payment.id, str(number)), START_TIME)
        if done is None:
            continue
        payment = done.payment
        for moved in done.transfers:
            assert moved.amount_diamonds > 0
            back[moved.debit.partition(":")[0]] += moved.amount_diamonds
            back["wallet"] += moved.amount_diamonds
        assert back["wallet"] == payment.reversed_diamonds <= amount
        assert (payment.status == "reversed") == (back["wallet"] == amount)

    assert back == {
        "wallet": amount,
        "earnings": amount - paid.payment.fee_diamonds,
        "system": paid.payment.fee_diamonds,
    }
