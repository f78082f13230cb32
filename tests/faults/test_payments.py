"""kill -9 between what a payment gateway confirms, its record, and what was bought: paid once, granted once."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.waiting import until
from demo.world import World
from devstack.stack import Stack

PACK, DIAMONDS = "diamond_29900", 1_000
BACK_SECONDS = 60.0  # for a process to start again on a busy machine
KILLS: Mapping[str, tuple[str, str]] = {
    # So-net has confirmed this order, and nobody has noted it; other orders are asked about each minute.
    "shop-worker": ("effects.after_vendor", "confirm-payment:{order_id}"),
    "escrow-worker": ("consumer.after_commit", "order.paid.v1"),  # the diamonds are in the wallet
}


@pytest.fixture(autouse=True)
def books(proven: None) -> None:
    """They are proven after it, too."""


async def test_who_has_paid_has_what_was_bought_once_whoever_dies(world: World, stack: Stack, tmp_path: Path) -> None:
    rob = world.person("Rob")
    order = (await world.command(rob, "POST", "/shop/checkout", _wish())).json()
    logs = {part: tmp_path / part for part in KILLS}
    for part, (point, of) in KILLS.items():
        plan = {point: {"action": "kill", "of": of.format(order_id=order["order_id"]), "log": str(logs[part])}}
        await asyncio.to_thread(stack.stop_part, part)
        await asyncio.to_thread(stack.start_part, part, {"FAULT_PLAN": json.dumps(plan)})
    doomed = {part: stack.process(part).pid for part in KILLS}
    body = {"order_id": order["order_id"]}
    out = (await world.command(rob, "POST", "/shop/checkout/sonet/complete", body)).json()["url"]

    async with httpx.AsyncClient(trust_env=False, timeout=30, follow_redirects=True) as browser:

        async def form() -> tuple[str, dict[str, str]]:
            return _form((await browser.get(out)).text)

        url, fields = await until("a form that leads to So-net", form, lambda found: bool(found[0]))
        sonet = httpx.URL(url).join("/")
        left = await browser.post(sonet.join("/choose"), data={"authCode": fields["authCode"], "choice": "pay"})
        back, said = _form(left.text)
        assert (await browser.post(back, data=said)).status_code == httpx.codes.OK

        async def stands() -> Any:
            return await world.get(rob, f"/shop/orders/{order['order_id']}")

        bought = await until("it is granted", stands, lambda seen: seen["fulfilment"] == "fulfilled", BACK_SECONDS)
        at_sonet = (await browser.get(sonet.join(f"/payments/{order['order_id']}"))).json()

    assert bought["payment"] == "paid"
    assert (await world.get(rob, "/wallets/me"))["balance_diamonds"] == DIAMONDS
    assert at_sonet["confirmations"] == len(("before the death", "after it"))
    for part, (point, _) in KILLS.items():
        await asyncio.to_thread(stack.wait_ready, part, after=doomed[part], seconds=BACK_SECONDS)
        assert logs[part].read_text().split() == [point]


def _wish() -> dict[str, Any]:
    return {"product_id": PACK, "quantity": 1, "gateway": "sonet"}


def _form(page: str) -> tuple[str, dict[str, str]]:
    """Where a page's form leads, and what is in it; nowhere, while there is none."""
    action = re.search('action="([^"]+)"', page)
    return action[1] if action else "", dict(re.findall('name="([^"]+)" value="([^"]*)"', page))
