"""A pass from the shop to the stream: it opens nothing before its activation, nothing after its time, and no other
streamer's than its own; two that are activated add up (SPEC §8).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chassis.clock import unix
from shop.store import ORDERS
from shop.store.orders import settle

if TYPE_CHECKING:
    from tests.house.conftest import House

DAY = 86_400
WEEK, MONTH = 7 * DAY, 30 * DAY
EVERYWHERE, LEGACY = "livestream_pass", "livestream_pass_7d"


async def bought(house: House, viewer: str, product: str) -> str:
    """A pass in the backpack, paid and not activated."""
    wish = {"product_id": product, "quantity": 1, "gateway": "sandbox"}
    made = await house.ask(house.shop, viewer, "POST", "/shop/checkout", wish)
    assert made.status_code == 201, made.text
    async with house.shop.tx() as tx:
        order = await tx.get(ORDERS, made.json()["order_id"])
        assert order is not None
        settle(tx, replace(order, payment="confirming"), "confirmed")
    await house.system.run_until_idle()
    pieces = (await house.read(house.shop, "/shop/backpack", viewer))["items"]
    return str(next(piece["item_id"] for piece in pieces if piece["order_id"] == made.json()["order_id"]))


async def activated(house: House, viewer: str, item_id: str) -> Any:
    answer = await house.ask(house.shop, viewer, "POST", f"/shop/backpack/{item_id}/activate")
    assert answer.status_code == 200, answer.text
    await house.system.run_until_idle()
    return answer.json()


async def watches(house: House, viewer: str) -> str:
    """What the token is for."""
    return str((await house.read(house.sessions, f"/sessions/{house.session_id}/token", viewer))["preset"])


async def later(house: House, seconds: float) -> None:
    """So much later the streamer is on air, in a new session if the old one's time is over."""
    house.system.clock.advance(seconds)
    await house.system.run_until_idle()
    if (await house.start()).status_code == 201:
        await house.system.run_until_idle()


@pytest.mark.parametrize("product", [EVERYWHERE, LEGACY])
async def test_a_pass_opens_nothing_before_it_is_activated(house: House, product: str) -> None:
    viewer = await house.viewer(0)
    item_id = await bought(house, viewer, product)
    await later(house, 2 * DAY)
    assert await watches(house, viewer) == "preview"

    await activated(house, viewer, item_id)

    assert await watches(house, viewer) == "sd"


@pytest.mark.parametrize(("product", "seconds"), [(EVERYWHERE, MONTH), (LEGACY, WEEK)])
async def test_a_pass_opens_until_its_time_is_over(house: House, product: str, seconds: int) -> None:
    viewer = await house.viewer(0)
    times = await activated(house, viewer, await bought(house, viewer, product))
    assert (times["nbf"], times["exp"]) == (unix(house.now), unix(house.now) + seconds)

    await later(house, times["exp"] - unix(house.now) - 1)
    assert await watches(house, viewer) == "sd"
    house.system.clock.advance(1)

    assert await watches(house, viewer) == "preview"


async def test_a_streamers_pass_opens_no_other_streamer(house: House) -> None:
    viewer, streamer, session_id = await house.viewer(0), house.streamer, house.session_id
    await activated(house, viewer, await bought(house, viewer, f"livestream_pass_{streamer}"))
    assert await watches(house, viewer) == "sd"

    house.streamer = await house.viewer(0)
    await house.open()
    assert house.session_id != session_id

    assert await watches(house, viewer) == "preview"


async def test_a_pass_is_its_owners_alone(house: House) -> None:
    owner, other = await house.viewer(0), await house.viewer(0)
    item_id = await bought(house, owner, EVERYWHERE)
    stolen = await house.ask(house.shop, other, "POST", f"/shop/backpack/{item_id}/activate")

    await activated(house, owner, item_id)

    assert stolen.status_code == 404
    assert [await watches(house, who) for who in (owner, other)] == ["sd", "preview"]


async def test_two_activations_add_up_and_a_third_after_their_end_begins_anew(house: House) -> None:
    viewer = await house.viewer(0)
    first, second, third = [await bought(house, viewer, product) for product in (LEGACY, EVERYWHERE, LEGACY)]
    began = unix(house.now)
    await activated(house, viewer, first)
    house.system.clock.advance(DAY)
    added = await activated(house, viewer, second)
    assert (added["nbf"], added["exp"]) == (began, began + WEEK + MONTH)

    await later(house, began + WEEK + MONTH - unix(house.now) - 1)
    assert await watches(house, viewer) == "sd"
    house.system.clock.advance(1)
    assert await watches(house, viewer) == "preview"
    anew = await activated(house, viewer, third)

    assert (anew["nbf"], anew["exp"]) == (unix(house.now), unix(house.now) + WEEK)
    assert await watches(house, viewer) == "sd"
