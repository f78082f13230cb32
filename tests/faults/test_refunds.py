"""kill -9 between an operator's refund, what shop tells of it, and what escrow takes back: taken once, and said."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import AsyncMongoClient

from demo.waiting import until
from demo.world import Person, World
from devstack.stack import Stack

Mongo = AsyncMongoClient[dict[str, Any]]
PACK, DIAMONDS = "diamond_29900", 1_000
BACK_SECONDS = 60.0  # for a process to start again on a busy machine
KILLS: tuple[Mapping[str, tuple[str, str | None]], ...] = (
    {
        "shop-api": ("edge.after_commit", None),  # it is decided, and the operator has no answer
        "shop-worker": ("relay.after_publish", "order.refunded.v1"),  # it is told, and nobody has noted that
        "escrow-worker": ("consumer.in_transaction", "order.refunded.v1"),  # the diamonds are as good as taken
    },
    {
        "escrow-worker": ("consumer.after_commit", "order.refunded.v1"),  # they are taken
        "shop-worker": ("consumer.after_commit", "wallet.debited.v1"),  # it stands in the order
    },
    {"escrow-worker": ("relay.after_publish", "wallet.debited.v1")},  # what was taken is told
)


@pytest.fixture(autouse=True)
def books(proven: None) -> None:
    """They are proven after it, too."""


@pytest.mark.parametrize("kills", KILLS, ids=" ".join)
async def test_what_was_bought_is_taken_back_once_whoever_dies(
    world: World, stack: Stack, mongo: Mongo, tmp_path: Path, kills: Mapping[str, tuple[str, str | None]]
) -> None:
    eve, ops = world.person("Eve"), world.person("Ops", "OPS")
    order_id = await _bought(world, eve)
    spent = await _gives_a_cake(world, eve)
    doomed = await _plan(stack, kills, tmp_path)

    answer = await world.command(ops, "POST", f"/shop/orders/{order_id}/refund", {"reason": "asked_for"})

    assert (answer.status_code, answer.json()["payment"]) == (httpx.codes.ACCEPTED, "refunded")

    async def stands() -> Any:
        return await world.get(eve, f"/shop/orders/{order_id}")

    back = await until("all is taken back", stands, lambda seen: seen["fulfilment"] == "taken_back", BACK_SECONDS)
    assert [item["missing_diamonds"] for item in back["items"]] == [spent]
    for part, (point, _) in kills.items():
        await asyncio.to_thread(stack.wait_ready, part, after=doomed[part], seconds=BACK_SECONDS)
        assert (tmp_path / part).read_text().split() == [point]
    assert (await world.get(eve, "/wallets/me"))["balance_diamonds"] == 0
    taken = mongo["escrow"]["transfers"].find({"kind": "take_back", "debit": f"wallet:{eve.id}"})
    assert [row["amount_diamonds"] async for row in taken] == [DIAMONDS - spent]


async def _plan(stack: Stack, kills: Mapping[str, tuple[str, str | None]], logs: Path) -> dict[str, int]:
    """Each dies at its point, once; the processes that will."""
    for part, (point, of) in kills.items():
        plan = {point: {"action": "kill", "log": str(logs / part)} | ({"of": of} if of else {})}
        await asyncio.to_thread(stack.stop_part, part)
        await asyncio.to_thread(stack.start_part, part, {"FAULT_PLAN": json.dumps(plan)})
    return {part: stack.process(part).pid for part in kills}


async def _bought(world: World, buyer: Person) -> str:
    """An order of diamonds, paid at the sandbox; they are in the wallet."""
    wish = {"product_id": PACK, "quantity": 1, "gateway": "sandbox"}
    order_id = str((await world.command(buyer, "POST", "/shop/checkout", wish)).json()["order_id"])
    body = {"order_id": order_id}
    out = (await world.command(buyer, "POST", "/shop/checkout/sandbox/complete", body)).json()["url"]
    async with httpx.AsyncClient(trust_env=False, timeout=30, follow_redirects=True) as browser:

        async def form() -> tuple[str, dict[str, str]]:
            return _form((await browser.get(out)).text)

        url, fields = await until("a form that leads to the sandbox", form, lambda found: bool(found[0]))
        back, said = _form((await browser.post(url, data=fields | {"choice": "pay"})).text)
        assert (await browser.post(back, data=said)).status_code == httpx.codes.OK

    async def stands() -> Any:
        return await world.get(buyer, f"/shop/orders/{order_id}")

    await until("it is granted", stands, lambda seen: seen["fulfilment"] == "fulfilled", BACK_SECONDS)
    return order_id


async def _gives_a_cake(world: World, giver: Person) -> int:
    """To a streamer who is on air for a moment; returns the diamonds that it costs."""
    streamer = world.person("Fay", "CREATOR")
    session_id = (await world.command(streamer, "POST", "/sessions", {"prices": {"sd": 5}})).json()["session_id"]
    cake = {"product_id": "livestream-gift_cake", "session_id": session_id, "count": 1}
    gift = (await world.command(giver, "POST", "/gifts", cake)).json()

    async def status() -> str:
        return str((await world.get(giver, f"/gifts/{gift['gift_id']}"))["status"])

    await until("the cake is given", status, lambda said: said == "sent", BACK_SECONDS)
    await world.command(streamer, "DELETE", f"/sessions/{session_id}")
    return int(gift["amount_diamonds"])


def _form(page: str) -> tuple[str, dict[str, str]]:
    """Where a page's form leads, and what is in it; nowhere, while there is none."""
    action = re.search('action="([^"]+)"', page)
    return action[1] if action else "", dict(re.findall('name="([^"]+)" value="([^"]*)"', page))
