"""Reconciliation: every way in which our orders and a gateway's list can differ is found, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chassis import ids
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis_testing.service import ServiceHarness
from contracts import WalletCreditedV1
from devstack import sandbox as sandbox_server
from shop.service import SERVICE

if TYPE_CHECKING:
    from services.shop.tests.conftest import Buyer

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
DIAMONDS, PASS = "diamond_29900", "livestream_pass"
SECONDS_MAX = 60.0


class Books:
    """An operator, in front of what was sold today."""

    def __init__(self, buyer: Buyer) -> None:
        self.buyer = buyer
        self.operator = buyer.harness.client(ids.new_id(), "OPS")
        self.today = buyer.harness.now.date().isoformat()

    async def sold(self, product: str = PASS) -> str:
        """Paid by the payment that is named like its order."""
        order_id = await self.buyer.order(product)
        await self.buyer.happened(order_id, "handed_over", "asked")
        await self.buyer.happened(order_id, "confirmed", reference=f"ref-{order_id}")
        return order_id

    async def told(self, *lines: dict[str, Any], day: str | None = None) -> httpx.Response:
        body = {"gateway": "sandbox", "day": day or self.today, "lines": lines}
        return await self.operator.post("/shop/statements", json=body)

    async def differences(self, day: str | None = None, limit: int = 100) -> list[tuple[str, str]]:
        """All of a day's, page by page."""
        found: list[tuple[str, str]] = []
        query: dict[str, Any] = {"day": day or self.today, "limit": limit}
        while True:
            answer = await self.operator.get("/shop/reconciliation", params=query)
            assert answer.status_code == 200, answer.text
            found += [(one["kind"], one["order_id"]) for one in answer.json()["items"]]
            if answer.json()["next"] is None:
                return found
            query["after"] = answer.json()["next"]


def line(order_id: str, amount: int = 149_000, **other: Any) -> dict[str, Any]:
    return {"reference": f"ref-{order_id}", "order_id": order_id, "amount": amount, "currency": "TWD", **other}


@pytest.fixture
def books(buyer: Buyer) -> Books:
    return Books(buyer)


async def test_what_fits_is_no_difference_on_whichever_day_it_was_told(books: Books) -> None:
    today, yesterday = await books.sold(), await books.sold()

    await books.told(line(today))
    await books.told(line(yesterday), day="2026-11-20")

    assert await books.differences() == await books.differences("2026-11-20") == []


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_each_way_to_differ_is_found_once_in_pages_of_any_size(books: Books, limit: int) -> None:
    right, here_only, dear, twice = [await books.sold() for _ in range(4)]
    unpaid, unknown = await books.buyer.order(PASS), ids.new_id()
    late = await books.sold(DIAMONDS)
    await books.told(line(right), line(dear, 1), line(twice), line(twice, reference="another"))
    await books.told(line(unpaid), line(unknown), line(late, 29_900))
    given = await books.buyer.order(DIAMONDS)
    item = (await books.buyer.read(given))["items"][0]["item_id"]
    credited = WalletCreditedV1(user_id=books.buyer.user, amount_diamonds=1_000, cause_id=f"{given}:{item}")
    await books.buyer.harness.handle(credited)

    found = await books.differences(limit=limit)

    assert sorted(found) == sorted(
        [
            ("paid_here_only", here_only),
            ("other_amount", dear),
            ("other_payment", twice),
            ("paid_there_only", unpaid),
            ("paid_there_only", unknown),
            ("paid_not_granted", late),
            ("granted_not_paid", given),
        ]
    )


async def test_a_difference_goes_away_once_it_is_mended(books: Books) -> None:
    order_id = await books.sold()
    assert await books.differences() == [("paid_here_only", order_id)]

    await books.told(line(order_id, 1))
    assert await books.differences() == [("other_amount", order_id)]
    for _ in range(2):
        await books.told(line(order_id))

    assert await books.differences() == []


async def test_what_was_given_back_had_been_paid(books: Books) -> None:
    order_id = await books.sold()
    await books.told(line(order_id))

    await books.operator.post(f"/shop/orders/{order_id}/refund", json={"reason": "asked_for"})

    assert await books.differences() == []


async def test_a_difference_says_what_either_side_knows(books: Books) -> None:
    order_id = await books.sold()
    await books.told(line(order_id, 5, currency="USD"))

    [found] = (await books.operator.get("/shop/reconciliation", params={"day": books.today})).json()["items"]

    assert found == {
        "kind": "other_amount", "order_id": order_id, "payment": "paid", "fulfilment": "fulfilled", "amount": 149_000,
        "currency": "TWD", "gateway": "sandbox", "reference": f"ref-{order_id}", "told_gateway": "sandbox",
        "told_reference": f"ref-{order_id}", "told_amount": 5, "told_currency": "USD",
    }  # fmt: skip


@pytest.mark.parametrize("day", ["", "2026-13-01", "2026-02-30", "today", "2026-11-21T00:00:00Z", "20261121", "0"])
async def test_a_day_is_a_day(books: Books, day: str) -> None:
    assert (await books.operator.get("/shop/reconciliation", params={"day": day})).status_code == 422
    assert (await books.told(line(ids.new_id()), day=day or "-")).status_code == 422


@pytest.mark.parametrize("after", ["x", "t", "tx", "pWzFd", "1"])
async def test_a_cursor_of_another_list_is_refused_or_leads_on(books: Books, after: str) -> None:
    answer = await books.operator.get("/shop/reconciliation", params={"day": books.today, "after": after})

    assert answer.status_code == (200 if after == "t" else 422)


async def test_nobody_else_looks(books: Books) -> None:
    client = books.buyer.harness.client(books.buyer.user, "CREATOR")
    body = {"gateway": "sandbox", "day": books.today}

    for answer in (
        await client.get("/shop/reconciliation", params={"day": books.today}),
        await client.post("/shop/statements", json=body | {"lines": [line(ids.new_id())]}),
        await client.post("/shop/statements/fetch", json=body),
    ):
        assert answer.status_code == 403


# -- a gateway that can be asked ---------------------------------------------------------------------------------------


@pytest.fixture
async def asked(harness_of: HarnessOf, buyer: Buyer) -> AsyncIterator[tuple[Books, sandbox_server.Sandbox]]:
    server = sandbox_server.server(0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    harness = await harness_of(SERVICE, SANDBOX_ORIGIN=f"http://127.0.0.1:{server.server_address[1]}")
    yield Books(type(buyer)(harness)), server.RequestHandlerClass.sandbox  # type: ignore[attr-defined] # the sandbox's
    await harness.runtime.outside.http.close()
    server.shutdown()
    server.server_close()


async def calls(harness: ServiceHarness) -> None:
    """All that is asked of the gateway is asked."""
    dispatcher = EffectDispatcher(harness.runtime, SERVICE)
    running = asyncio.create_task(dispatcher.run())
    effects = harness.runtime.database[EFFECTS.name]
    async with asyncio.timeout(SECONDS_MAX):
        while await effects.count_documents({}):
            harness.clock.advance(0.5)
            await asyncio.sleep(0.02)
    dispatcher.stop()
    await running


async def test_the_sandbox_lists_a_day_part_by_part(asked: tuple[Books, sandbox_server.Sandbox]) -> None:
    books, sandbox = asked
    strangers = sorted(ids.new_id() for _ in range(2 * sandbox_server.LISTED_AT_ONCE + 1))
    for order_id in strangers:
        sandbox.payments[order_id] = {
            "amount": 1, "currency": "TWD", "authorization": order_id, "status": "paid", "day": books.today,
        }  # fmt: skip
    sandbox.payments[ids.new_id()] = sandbox.payments[strangers[0]] | {"day": "2026-11-20"}
    sandbox.payments[ids.new_id()] = sandbox.payments[strangers[0]] | {"status": "cancelled"}

    answer = await books.operator.post("/shop/statements/fetch", json={"gateway": "sandbox", "day": books.today})
    await calls(books.buyer.harness)

    assert answer.status_code == 202
    assert sorted(await books.differences()) == [("paid_there_only", order_id) for order_id in strangers]


async def test_who_cannot_be_asked_is_not(books: Books) -> None:
    answer = await books.operator.post("/shop/statements/fetch", json={"gateway": "sonet", "day": books.today})

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/statement-not-told")
