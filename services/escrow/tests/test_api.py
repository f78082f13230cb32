"""Wallets, escrows and the ledger over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.storage.tx import Tx
from chassis_testing.service import ServiceHarness
from contracts import WalletCreditedV1
from escrow import store
from escrow.service import SERVICE
from escrow.store import accounts

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

HarnessOf = Callable[..., Awaitable[ServiceHarness]]


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE)


async def test_credited_diamonds_are_in_the_wallet_and_in_its_entries(harness: ServiceHarness) -> None:
    user = ids.new_id()
    ops = harness.client(ids.new_id(), "OPS")

    first = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 70})
    second = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 30})

    assert (first.status_code, second.json()["balance_diamonds"]) == (201, 100)
    wallet = await harness.client(user).get("/wallets/me")
    assert wallet.json() == {"user_id": user, "balance_diamonds": 100, "earnings_diamonds": 0, "owed_diamonds": 0}
    entries = (await harness.client(user).get("/wallets/me/entries")).json()
    assert [(item["kind"], item["amount_diamonds"]) for item in entries["items"]].count(("credit", 70)) == 1
    assert entries["next"] is None


async def test_who_has_no_wallet_reads_zeros_and_an_empty_list(harness: ServiceHarness) -> None:
    user = ids.new_id()

    wallet = await harness.client(user).get("/wallets/me")
    entries = await harness.client(user).get("/wallets/me/entries")

    assert wallet.json() == {"user_id": user, "balance_diamonds": 0, "earnings_diamonds": 0, "owed_diamonds": 0}
    assert entries.json() == {"items": [], "next": None, "last": None}


@pytest.mark.parametrize("amount", [0, -1, 1.5, "10", None, 10**24, True])
async def test_an_amount_that_can_never_be_valid_is_422(harness: ServiceHarness, amount: object) -> None:
    answer = await harness.client(ids.new_id(), "OPS").post(
        f"/wallets/{ids.new_id()}/credit", json={"amount_diamonds": amount}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "amount_diamonds"
    assert await harness.published() == []


async def test_only_ops_credits_and_proves(harness: ServiceHarness) -> None:
    creator = harness.client(ids.new_id(), "CREATOR")

    credit = await creator.post(f"/wallets/{ids.new_id()}/credit", json={"amount_diamonds": 1})
    proof = await creator.get("/ledger/proof")

    assert (credit.status_code, proof.status_code) == (403, 403)


async def test_the_proof_lists_every_account_and_sums_to_zero(harness: ServiceHarness) -> None:
    ops = harness.client(ids.new_id(), "OPS")
    users = [ids.new_id() for _ in range(3)]
    for user in users:
        await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 5})

    accounts: dict[str, int] = {}
    after = ""
    while after is not None:
        page = (await ops.get("/ledger/proof", params={"limit": 2} | ({"after": after} if after else {}))).json()
        assert (page["sum_diamonds"], page["holds"]) == (0, True)
        accounts |= {row["account"]: row["balance_diamonds"] for row in page["accounts"]}
        after = page["next"]

    assert accounts == {"system:mint": -15} | {f"wallet:{user}": 5 for user in users}


@pytest.mark.parametrize("kind", ["trigger_exclusive", "show_funding"])
async def test_an_escrow_is_shown_to_its_streamer_and_to_ops_and_to_a_buyer_their_own_part(
    story: Story, kind: str
) -> None:
    harness, other = story.harness, ids.new_id()
    for buyer in (story.viewer, other):
        path = f"/wallets/{buyer}/credit"
        assert (await harness.client(ids.new_id(), "OPS").post(path, json={"amount_diamonds": 900})).status_code == 201
    if kind == "trigger_exclusive":
        await harness.handle(story.proposed(300))
    else:
        await harness.handle(*(story.gift(150, funding=story.goal) for _ in range(2)))
        await harness.handle(
            story.gift(400, funding=story.goal, sender_id=other), story.gift(10_000, funding=story.goal)
        )
    path = f"/escrows/{kind}:{story.goal}"
    clients = {
        "streamer": harness.client(story.streamer, "CREATOR"),
        "ops": harness.client(ids.new_id(), "OPS"),
        "buyer": harness.client(story.viewer),
        "stranger": harness.client(ids.new_id(), "CREATOR"),
    }

    seen = {who: await client.get(path) for who, client in clients.items()}
    proofs = {who: (await client.get(path + "/proof")).status_code for who, client in clients.items()}

    stranger = 404 if kind == "trigger_exclusive" else 403  # who asks whom for a 1-on-1 is their business
    assert {who: one.status_code for who, one in seen.items()} == {
        "streamer": 200,
        "ops": 200,
        "buyer": 200,
        "stranger": stranger,
    }
    assert proofs == {"streamer": 200, "ops": 200, "buyer": stranger, "stranger": stranger}
    assert seen["streamer"].json() == seen["ops"].json()
    assert seen["streamer"].json()["paid_diamonds"] == (300 if kind == "trigger_exclusive" else 700)
    assert seen["buyer"].json() == {
        "escrow_id": f"{kind}:{story.goal}", "streamer_id": story.streamer, "verdict": None,
        "paid_diamonds": 300, "held_diamonds": 300, "released_diamonds": 0, "refunded_diamonds": 0,
    }  # fmt: skip


async def test_an_escrow_that_is_none_is_404_or_422(harness: ServiceHarness) -> None:
    missing = await harness.client(ids.new_id()).get(f"/escrows/trigger_private:{ids.new_id()}")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/escrow-not-found")
    assert (await harness.client(ids.new_id()).get("/escrows/anything")).status_code == 422


async def test_who_credited_stands_in_the_ledger_and_in_the_event(harness: ServiceHarness) -> None:
    user, operator = ids.new_id(), ids.new_id()

    await harness.client(operator, "OPS").post(f"/wallets/{user}/credit", json={"amount_diamonds": 5})

    [credited] = [event for event in await harness.published() if isinstance(event, WalletCreditedV1)]
    async with harness.tx() as tx:
        [transfer] = await tx.find(store.TRANSFERS, {})
    assert (credited.credited_by, transfer.by) == (operator, operator)
    entries = (await harness.client(user).get("/wallets/me/entries")).json()
    assert set(entries["items"][0]) == {"id", "kind", "amount_diamonds", "escrow_id", "order_id", "at"}


async def test_the_two_figures_of_a_wallet_are_of_one_moment(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Movements that are folded between the two reads are in neither, unless both are of one snapshot."""
    await story.credit(500)
    await story.harness.handle(story.payment(200))
    count = Tx.aggregate

    async def fold_first(tx: Tx, *of: Any) -> Any:
        async with story.harness.tx() as another:
            await accounts.fold(another)
        return await count(tx, *of)

    monkeypatch.setattr(Tx, "aggregate", fold_first)
    wallet = await story.harness.client(story.streamer).get("/wallets/me")

    assert wallet.json()["earnings_diamonds"] == 200


async def test_the_api_description_cites_no_internal_page(harness: ServiceHarness) -> None:
    described = (await harness.client().get("/openapi.json")).text

    assert not [word for word in ("SPEC", "seed", "§") if word in described]


async def test_the_same_idempotency_key_credits_once(harness: ServiceHarness) -> None:
    user = ids.new_id()
    ops = harness.client(ids.new_id(), "OPS")
    headers = {"idempotency-key": "k1"}

    first = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 5}, headers=headers)
    again = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 5}, headers=headers)
    other = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 6}, headers=headers)

    assert (first.status_code, again.content, other.status_code) == (201, first.content, 422)
    assert (await harness.client(user).get("/wallets/me")).json()["balance_diamonds"] == 5
