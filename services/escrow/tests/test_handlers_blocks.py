"""Who is blocked has back what is held, whatever the verdict, in whatever order all of it is read."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.storage.batch import run_in_savepoints
from contracts import EscrowFailedV1, EscrowRejectedV1, EscrowSettledV1, Event, PaymentFailedV1
from escrow import store
from escrow.settings import Settings

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

StoryWith = Callable[..., Awaitable["Story"]]

ORDERS = [
    order for order in itertools.permutations(["hold", "answer", "verdict", "block"])
    if order.index("hold") < order.index("answer")  # goals answers what escrow has told
]  # fmt: skip


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@pytest.mark.parametrize("apart", [True, False])
async def test_a_blocked_buyer_has_the_money_back_in_whatever_order_things_are_read(
    story: Story, order: tuple[str, ...], *, accepted: bool, kept: bool, apart: bool
) -> None:
    await story.credit(500)
    facts: dict[str, Event] = {
        "hold": story.proposed(),
        "answer": story.accepted() if accepted else story.rejected(),
        "verdict": story.closed(kept=kept),
        "block": story.blocked(),
    }
    for part in [[name] for name in order] if apart else [list(order)]:
        await story.harness.handle(*(facts[name] for name in part))
        await story.harness.run_timers()

    released = accepted and kept and order[-1] == "block"  # settled before it was read
    assert await story.money() == {"earnings" if released else "wallet": 500}
    told = await story.take(EscrowFailedV1, EscrowRejectedV1)
    assert len(told) == (not released)


async def test_what_a_blocked_viewer_has_held_goes_back_slice_by_slice(story: Story) -> None:
    count = Settings().settlement_slice + 20
    goals = [ids.new_id() for _ in range(3)]
    await story.credit(count)
    gifts = [story.gift(1, funding=goals[number % 3]) for number in range(count)]
    await story.harness.handle(*gifts)
    await story.harness.take()

    await story.harness.handle(story.blocked())
    assert await story.harness.run_timers() == 2
    await story.harness.run_timers()

    assert await story.money() == {"wallet": count}
    told = await story.take()
    assert len(told) == count
    assert {event.reason for event in told if isinstance(event, EscrowFailedV1)} == {"blocked"}


async def test_other_buyers_and_other_streamers_keep_what_is_held(story: Story) -> None:
    await story.credit(500)
    other = ids.new_id()
    await story.harness.client(ids.new_id(), "OPS").post(f"/wallets/{other}/credit", json={"amount_diamonds": 500})
    kept = [story.gift(100, funding=story.goal, sender_id=other)]
    kept += [story.gift(100, funding=ids.new_id(), streamer_id=ids.new_id())]
    await story.harness.handle(story.gift(100, funding=story.goal), *kept)

    await story.harness.handle(story.blocked())
    await story.harness.run_timers()

    async with story.harness.tx() as tx:
        held = await tx.find(store.EARNINGS, {"status": "held"})
    assert {one.cause_id for one in held} == {gift.gift_id for gift in kept}


async def test_nothing_of_a_blocked_viewers_is_held_or_charged(story: Story) -> None:
    await story.credit(500)
    await story.harness.handle(story.blocked())
    await story.harness.handle(story.proposed(), story.gift(), story.payment(), story.gift(funding=story.goal))

    assert await story.money() == {"wallet": 500}
    told = await story.take(EscrowRejectedV1, PaymentFailedV1)
    assert [getattr(event, "reason", None) for event in told] == ["blocked"] * 4


async def test_unblocking_brings_nothing_back_and_lets_later_holds_be(story: Story) -> None:
    await story.credit(1_000)
    first, later = story.gift(300, funding=story.goal), story.gift(300, funding=story.goal)
    await story.harness.handle(first, story.blocked())
    await story.harness.handle(story.unblocked())  # before the block's timer ran
    story.harness.clock.advance(1)
    await story.harness.handle(later)
    await story.harness.run_timers()

    async with story.harness.tx() as tx:
        status = {one.cause_id: one.status for one in await tx.find(store.EARNINGS, {})}
    assert status == {first.gift_id: "refunded", later.gift_id: "held"}
    assert (await story.money())["wallet"] == 700


async def test_what_is_held_after_an_unblocking_in_the_same_batch_is_held(story: Story) -> None:
    await story.credit(1_000)
    later = story.gift(300, funding=story.goal)

    await story.harness.handle(story.blocked(), story.unblocked(), later)
    await story.harness.run_timers()

    async with story.harness.tx() as tx:
        assert [one.status for one in await tx.find(store.EARNINGS, {})] == ["held"]
    assert (await story.money())["wallet"] == 700


async def test_a_block_that_is_read_again_after_an_unblocking_changes_nothing(story: Story) -> None:
    await story.credit(500)
    blocked_at = story.harness.now
    await story.harness.handle(story.blocked(), at=blocked_at)
    story.harness.clock.advance(10)
    await story.harness.handle(story.unblocked())
    story.harness.clock.advance(10)
    await story.harness.handle(story.gift(200, funding=story.goal))

    await story.harness.handle(story.blocked(), at=blocked_at)
    await story.harness.run_timers()
    await story.harness.handle(story.gift(300, funding=story.goal))

    async with story.harness.tx() as tx:
        assert {one.status for one in await tx.find(store.EARNINGS, {})} == {"held"}


async def test_a_hold_that_overtakes_a_block_goes_back_when_it_is_answered(story: Story) -> None:
    """Two workers: the hold reads that nobody is blocked, and is committed after the block has looked for it."""
    await story.credit(500)
    slow = story.harness.runtime.begin(story.harness.cause())
    work = story.harness.work(story.proposed(), story.harness.cause(event_id=ids.new_id()))
    assert await run_in_savepoints(slow, [work]) == [None]

    await story.harness.handle(story.blocked())
    await story.harness.run_timers()
    await slow.commit()
    assert await story.money() == {"escrow": 500}

    await story.harness.handle(story.accepted(), story.closed(kept=True))

    assert await story.money() == {"wallet": 500}


async def test_an_escrow_is_settled_once_the_last_of_its_buyers_was_blocked(story: Story) -> None:
    await story.held()
    await story.harness.handle(story.closed(kept=True))
    await story.harness.handle(story.blocked())
    await story.harness.run_timers()

    [settled] = [event for event in await story.take() if isinstance(event, EscrowSettledV1)]
    assert (settled.verdict, settled.released, settled.refunded) == ("release", 0, 1)


async def test_a_refused_hold_leaves_no_escrow_behind(story: Story) -> None:
    await story.harness.handle(story.proposed())

    async with story.harness.tx() as tx:
        assert await tx.find(store.ESCROWS, {}) == []
        [refused] = await tx.find(store.EARNINGS, {})
    assert refused.forget_at is not None
    assert (refused.forget_at - story.harness.now).days >= 7
    assert (await story.harness.client(story.streamer).get(f"/escrows/{story.escrow_id}")).status_code == 404


async def test_what_never_held_money_is_forgotten_if_its_request_is_too_late_by_then(story: Story) -> None:
    """One without `exp` would be taken, were it read again: it is remembered for ever."""
    late: dict[str, Any] = {"exp": story.harness.now}
    story.harness.clock.advance(1)
    asked: list[Event] = [story.payment(**late), story.payment(), story.gift(**late), story.gift()]
    asked += [story.gift(funding=story.goal, **late), story.gift(funding=story.goal)]
    await story.harness.handle(*asked)

    async with story.harness.tx() as tx:
        paid = await tx.find(store.PAYMENTS, {})
        held = await tx.find(store.EARNINGS, {})
    assert ({one.status for one in paid}, {one.status for one in held}) == ({"failed"}, {"rejected"})
    assert sorted(one.forget_at is None for one in paid) == [False, False, True, True]
    assert sorted(one.forget_at is None for one in held) == [False, True]
    for indexes in (store.PAYMENTS.indexes, store.EARNINGS.indexes):
        assert [one.expire_after_seconds for one in indexes if "forget_at" in one.keys] == [0]
