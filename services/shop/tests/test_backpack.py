"""Passes: only their activation gives them time, each once, and what is left of their kind is added to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chassis import ids
from chassis.clock import unix
from contracts import PassActivatedV1

if TYPE_CHECKING:
    import httpx

    from services.shop.tests.conftest import Buyer

WEEK = 7 * 86_400
LEGACY, MONTH = "livestream_pass_7d", 30 * 86_400


async def bought(buyer: Buyer, *products: str) -> list[str]:
    for product in products:
        await buyer.pay(await buyer.order(product))
        buyer.harness.clock.advance(1)
    await buyer.harness.take()
    return [piece["item_id"] for piece in await buyer.backpack()]


async def activate(buyer: Buyer, item_id: str) -> httpx.Response:
    return await buyer.client.post(f"/shop/backpack/{item_id}/activate")


async def test_a_pass_has_its_time_from_its_activation_on(buyer: Buyer) -> None:
    [item_id] = await bought(buyer, LEGACY)
    now = buyer.harness.now

    answer = await activate(buyer, item_id)

    assert (answer.status_code, answer.json()["nbf"], answer.json()["exp"]) == (200, unix(now), unix(now) + WEEK)
    [told] = await buyer.harness.take()
    assert isinstance(told, PassActivatedV1)
    assert (told.user_id, told.pass_kind, told.streamer_id) == (buyer.user, "livestream_pass", None)
    assert (told.nbf, unix(told.exp)) == (now, unix(now) + WEEK)
    assert (await buyer.backpack())[0]["exp"] == unix(now) + WEEK


async def test_a_second_pass_of_the_kind_is_added_to_what_is_left_and_begins_anew_after_it(buyer: Buyer) -> None:
    first, second, third = await bought(buyer, LEGACY, "livestream_pass", LEGACY)
    began = unix(buyer.harness.now)
    await activate(buyer, first)
    buyer.harness.clock.advance(1_000)

    added = (await activate(buyer, second)).json()
    assert (added["nbf"], added["exp"]) == (began, began + WEEK + MONTH)

    buyer.harness.clock.advance(WEEK + MONTH)
    anew = (await activate(buyer, third)).json()
    assert (anew["nbf"], anew["exp"]) == (unix(buyer.harness.now), unix(buyer.harness.now) + WEEK)


async def test_passes_of_different_kinds_run_beside_each_other(buyer: Buyer) -> None:
    await buyer.on_air()
    everywhere, one = await bought(buyer, LEGACY, f"livestream_pass_{buyer.streamer}")
    await activate(buyer, everywhere)

    answer = (await activate(buyer, one)).json()

    assert (answer["nbf"], answer["exp"]) == (unix(buyer.harness.now), unix(buyer.harness.now) + 86_400)
    told = [event for event in await buyer.harness.take() if isinstance(event, PassActivatedV1)]
    assert [event.streamer_id for event in told] == [None, buyer.streamer]


async def test_a_pass_is_activated_once_also_when_asked_twice_at_once(buyer: Buyer) -> None:
    [item_id] = await bought(buyer, LEGACY)

    answers = await asyncio.gather(*(activate(buyer, item_id) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert len(await buyer.harness.take()) == 1


async def test_two_passes_activated_at_once_both_count(buyer: Buyer) -> None:
    pair = await bought(buyer, LEGACY, LEGACY)
    began = unix(buyer.harness.now)

    answers = await asyncio.gather(*(activate(buyer, item_id) for item_id in pair))

    assert sorted(answer.json()["exp"] for answer in answers) == [began + WEEK, began + 2 * WEEK]


async def test_a_backpack_is_its_owners_alone(buyer: Buyer) -> None:
    [item_id] = await bought(buyer, LEGACY)
    stranger = buyer.harness.client(ids.new_id())

    for asked in (item_id, ids.new_id()):
        answer = await stranger.post(f"/shop/backpack/{asked}/activate")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/backpack-item-not-found")
    assert (await stranger.get("/shop/backpack")).json()["items"] == []
