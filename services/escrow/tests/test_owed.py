"""Who has the money back and has spent the diamonds owes them: what comes back into the wallet is taken for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.storage.mongo import PyMongoError
from chassis_testing.service import START_TIME
from contracts import Event, OrderPaidV1, OrderRefundedV1, RefundedItem, WalletDebitedV1
from contracts.shop import Item
from escrow import store
from escrow.domain import ledger, purchases
from escrow.domain.purchases import Debit, Returned
from escrow.handlers.recount import recount_all
from escrow.handlers.wallets import take_back_order
from escrow.store import migrations

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

DIAMONDS = 500  # of an order, and the price of the invitation
StoryWith = Callable[..., Awaitable["Story"]]


class Bought:
    """An order of diamonds, and that its buyer has the money back."""

    def __init__(self, user_id: str, diamonds: int = DIAMONDS) -> None:
        item = Item(item_id=ids.new_id(), product_id="a", quantity=1, diamonds=diamonds)
        of: dict[str, Any] = {"order_id": ids.new_id(), "user_id": user_id, "amount": 29_900, "currency": "TWD"}
        self.order_id = of["order_id"]
        self.cause = f"{self.order_id}:{item.item_id}"
        self.paid = OrderPaidV1(**of, gateway="sandbox", items=(item,))
        back: dict[str, Any] = {"payment": "charged_back", "reason": "disputed", "refunded_by": ids.new_id()}
        self.refunded = OrderRefundedV1(**of, gateway="sandbox", items=(RefundedItem(**item.model_dump()),), **back)


async def in_wallet(story: Story) -> tuple[int, int]:
    """What its owner is told: what lies there, and what is owed."""
    wallet = (await story.harness.client(story.viewer).get("/wallets/me")).json()
    return wallet["balance_diamonds"], wallet["owed_diamonds"]


async def taken(story: Story) -> list[tuple[str, int, int, str | None]]:
    """What escrow said that it took: for which order item, how much, how much is missing then, and out of what."""
    told = [event for event in await story.take(WalletDebitedV1) if isinstance(event, WalletDebitedV1)]
    return [(one.cause_id, one.amount_diamonds, one.missing_diamonds, one.from_cause_id) for one in told]


async def assert_proven(story: Story) -> None:
    proof = (await story.harness.client(ids.new_id(), "OPS").get("/ledger/proof?from=transfers")).json()
    assert (proof["holds"], proof["sum_diamonds"]) == (True, 0)
    assert [difference async for difference in recount_all(story.harness.runtime)] == []


def spent_and_returned(story: Story, how: str) -> tuple[list[Event], list[Event]]:
    """The diamonds are spent, and what for comes to nothing."""
    minutes = story.payment(DIAMONDS)
    match how:
        case "not counted":
            return [story.proposed()], [story.rejected()]
        case "broken":
            return [story.proposed(), story.accepted()], [story.ended("TriggerExclusiveGoal", "refused")]
        case "not kept":
            return [story.proposed(), story.accepted()], [story.closed(kept=False)]
        case "blocked":
            return [story.proposed(), story.accepted()], [story.blocked()]
        case _:
            return [minutes], [story.reversal(minutes)]


WAYS_BACK = ("not counted", "broken", "not kept", "blocked", "minutes")


@pytest.mark.parametrize("how", WAYS_BACK)
async def test_refunded_while_they_are_held_the_diamonds_are_taken_when_they_come_back(
    story_with: StoryWith, how: str
) -> None:
    story = await story_with(PLATFORM_SHARE="0.3")
    order, (spend, back) = Bought(story.viewer), spent_and_returned(story, how)
    await story.harness.handle(order.paid, *spend, apart=True)

    await story.harness.handle(order.refunded)

    assert await in_wallet(story) == (0, DIAMONDS)
    assert await taken(story) == [(order.cause, 0, DIAMONDS, None)]

    for _ in range(2):  # and again, as Kafka may
        await story.harness.handle(*back, apart=True)
        await story.harness.run_timers()
        await story.harness.handle(order.refunded)

    assert await in_wallet(story) == (0, 0)
    [(cause, amount, missing, source)] = await taken(story)
    assert (cause, amount, missing, source is not None) == (order.cause, DIAMONDS, 0, True)
    await assert_proven(story)


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "in one batch"])
@pytest.mark.parametrize("how", ["not counted", "broken", "minutes"])
async def test_whichever_is_heard_first_nothing_is_kept(story: Story, how: str, *, apart: bool) -> None:
    for first, second in permutations((0, 1)):
        story = type(story)(story.harness)  # another invitation of somebody else
        order, (spend, back) = Bought(story.viewer), spent_and_returned(story, how)
        await story.harness.handle(order.paid, *spend, apart=True)
        last: Sequence[Event] = ((order.refunded,), tuple(back))[first] + ((order.refunded,), tuple(back))[second]

        await story.harness.handle(*last, apart=apart)

        assert await in_wallet(story) == (0, 0)
        assert sum(amount for _, amount, _, _ in await taken(story)) == DIAMONDS
    await assert_proven(story)


async def test_who_says_what_is_missing_relies_on_the_wallet_and_loses_to_whoever_fills_it(story: Story) -> None:
    """Else either sees the other's moment before, and the diamonds are kept."""
    order = Bought(story.viewer)
    await story.harness.handle(order.paid, story.proposed(), apart=True)

    async def refund_while_they_come_back() -> None:
        async with story.harness.tx() as tx:
            await take_back_order(order.refunded, tx)
            await story.harness.handle(story.rejected())

    with pytest.raises(PyMongoError, match=r"[Ww]rite ?[Cc]onflict"):
        await refund_while_they_come_back()
    await story.harness.handle(order.refunded)

    assert await in_wallet(story) == (0, 0)
    await assert_proven(story)


async def test_parts_that_come_back_are_taken_part_by_part_and_the_rest_is_the_buyers(story_with: StoryWith) -> None:
    story = await story_with(PLATFORM_SHARE="0.333")  # so that a part comes back in two transfers
    order = Bought(story.viewer, 100)
    await story.credit(101)
    paid = story.payment(201)
    await story.harness.handle(order.paid, paid, order.refunded, apart=True)

    for part, then in ((40, (0, 60)), (1, (0, 59)), (60, (1, 0)), (100, (101, 0))):
        await story.harness.handle(story.reversal(paid, part))
        assert await in_wallet(story) == then

    assert [(amount, missing) for _, amount, missing, _ in await taken(story)] == [(0, 100), (40, 60), (1, 59), (59, 0)]
    entries = (await story.harness.client(story.viewer).get("/wallets/me/entries")).json()["items"]
    of_order = sorted((one["kind"], one["amount_diamonds"]) for one in entries if one["order_id"] == order.order_id)
    assert of_order == [("credit", 100), ("take_back", -59), ("take_back", -40), ("take_back", -1)]
    await assert_proven(story)


async def test_the_oldest_refund_is_served_first_and_each_user_pays_their_own(story: Story) -> None:
    first, second, other = Bought(story.viewer, 100), Bought(story.viewer, 200), Bought(ids.new_id(), 50)
    minutes = story.payment(300)
    theirs = story.payment(50, payer_id=other.paid.user_id)
    for event in (second.paid, first.paid, other.paid, minutes, theirs, first.refunded, second.refunded):
        await story.harness.handle(event)
        story.harness.clock.advance(1)
    await story.harness.handle(other.refunded)
    await story.take()

    await story.harness.handle(story.reversal(minutes, 150))

    assert [(cause, amount, missing) for cause, amount, missing, _ in await taken(story)] == [
        (first.cause, 100, 0),
        (second.cause, 50, 150),
    ]
    assert await in_wallet(story) == (0, 150)
    await assert_proven(story)


async def test_what_is_bought_or_given_anew_is_the_buyers_and_what_comes_back_of_it_is_not(story: Story) -> None:
    order, later = Bought(story.viewer), Bought(story.viewer)
    kept = story.payment(DIAMONDS)
    await story.harness.handle(order.paid, kept, order.refunded, later.paid, apart=True)
    await story.credit(30)
    assert await in_wallet(story) == (DIAMONDS + 30, DIAMONDS)

    await story.harness.handle(story.proposed(), story.rejected(), apart=True)

    assert await in_wallet(story) == (30, 0)
    await assert_proven(story)


async def test_what_a_wallet_owes_is_counted_anew_and_mended(story: Story) -> None:
    order = Bought(story.viewer)
    paid = story.payment(DIAMONDS)
    await story.harness.handle(order.paid, paid, order.refunded, story.reversal(paid, 200), apart=True)
    async with story.harness.tx() as tx:
        wallet = await tx.get(store.BALANCES, ledger.wallet(story.viewer))
        assert wallet is not None
        tx.put(store.BALANCES, ledger.Balance(wallet.id, wallet.balance_diamonds, 7))

    found = [one async for one in recount_all(story.harness.runtime, write=True)]

    assert [(one.of, one.field, one.stored, one.counted) for one in found] == [("account", "owed_diamonds", 7, 300)]
    await assert_proven(story)


async def test_debits_of_an_older_release_are_owed_too(story: Story) -> None:
    order = Bought(story.viewer)
    await story.harness.handle(order.paid, story.proposed(), order.refunded, apart=True)
    database = story.harness.runtime.database
    await database[store.BALANCES.name].update_many({}, {"$unset": {"owed_diamonds": ""}})
    await database[store.DEBITS.name].update_many({}, {"$unset": {"at": ""}})

    for _ in range(2):
        await migrations.note_what_is_owed(database)

    assert await in_wallet(story) == (0, DIAMONDS)
    await story.harness.handle(story.rejected())
    assert await in_wallet(story) == (0, 0)
    await assert_proven(story)


@pytest.mark.parametrize(
    ("missing", "back", "takings"),
    [
        ([], [100], []),
        ([0], [100], []),
        ([30], [100], [("d0", "r0", 30, 0)]),
        ([100], [30], [("d0", "r0", 30, 70)]),
        ([100], [30, 0, 80], [("d0", "r0", 30, 70), ("d0", "r2", 70, 0)]),
        ([30, 0, 50], [40, 60], [("d0", "r0", 30, 0), ("d2", "r0", 10, 40), ("d2", "r1", 40, 0)]),
    ],
)
def test_what_came_back_serves_what_is_missing_in_order_and_never_more(
    missing: list[int], back: list[int], takings: list[tuple[str, str, int, int]]
) -> None:
    user = "1" * 24
    debits = [Debit(f"o:d{n}", user, 0, diamonds, START_TIME) for n, diamonds in enumerate(missing)]
    came = [Returned(user, f"r{n}", diamonds) for n, diamonds in enumerate(back)]

    done = purchases.take_returned(debits, came, START_TIME)

    assert [(one.event.cause_id, one.event.from_cause_id, one.event.amount_diamonds, one.event.missing_diamonds)
            for one in done] == [(f"o:{debit}", *rest) for debit, *rest in takings]  # fmt: skip
    for one in done:
        assert one.debit.amount_diamonds + one.debit.missing_diamonds == missing[int(one.debit.id[-1])]
        assert one.transfer.amount_diamonds == one.event.amount_diamonds
        assert purchases.debit_id_of(one.transfer.cause) == one.debit.id
    assert len({one.transfer.id for one in done}) == len(done)
