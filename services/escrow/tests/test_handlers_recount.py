"""Everything that follows from the transfers, counted anew: what differs is said, and mended when told to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from contracts import Event
from escrow import store
from escrow.domain import ledger
from escrow.domain.recount import Difference
from escrow.handlers.recount import recount_all, recount_command
from escrow.store import accounts

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story


async def recounted(story: Story, *, write: bool = False) -> list[Difference]:
    return [difference async for difference in recount_all(story.harness.runtime, write=write)]


@pytest.fixture
async def played(story_with: Callable[..., Any]) -> Story:
    """Everything that escrow can do with money, in two wallets and for a platform with a share."""
    story: Story = await story_with(PLATFORM_SHARE="0.25")
    other = "f" * 24
    ops = story.harness.client("0" * 24, "OPS")
    await story.credit(2_000)
    assert (await ops.post(f"/wallets/{other}/credit", json={"amount_diamonds": 1_000})).status_code == 201
    paid, back, part = story.payment(100), story.payment(90), story.payment(80)
    facts: list[Event] = [
        *(story.proposed(400), story.accepted(), story.closed(kept=True)),
        *(story.gift(50, funding="a" * 24) for _ in range(2)),
        *(story.gift(70, funding="b" * 24, sender_id=other), story.gift(9_999), story.gift(9_999, funding="b" * 24)),
        *(paid, back, part, story.gift(30), story.reversal(back), story.reversal(part, 33)),
    ]
    await story.harness.handle(*facts, apart=True)
    await story.harness.handle(story.blocked().model_copy(update={"viewer_id": other}))
    await story.harness.run_timers()
    return story


async def test_whatever_happened_all_of_it_follows_from_the_transfers(played: Story) -> None:
    assert await recounted(played) == []

    async with played.harness.tx() as tx:  # and folded
        assert await tx.find(store.MOVEMENTS, {})
        await accounts.fold(tx)
    assert await recounted(played) == []
    async with played.harness.tx() as tx:
        statuses = {one.status for one in await tx.find(store.EARNINGS, {})}
        paid = {one.status for one in await tx.find(store.PAYMENTS, {})}
    assert statuses == {"held", "released", "refunded", "rejected"}
    assert paid == {"succeeded", "reversed", "failed"}


@dataclass(frozen=True)
class Damage:
    """A stored value that somebody has made wrong."""

    collection: Collection[Any]
    where: dict[str, Any]
    change: dict[str, Any]
    of: str
    fields: set[str]


DAMAGES = {
    "wallet": Damage(store.BALANCES, {"_id": {"$regex": "^wallet:f"}}, {"balance_diamonds": 5}, "account",
                     {"balance_diamonds"}),
    "mint": Damage(store.BALANCES, {"_id": ledger.MINT}, {"balance_diamonds": 5}, "account", {"balance_diamonds"}),
    "escrow": Damage(store.ESCROWS, {"released": 1}, {"released_diamonds": 1, "open_earnings": 7, "released": 0},
                     "escrow", {"released_diamonds", "open_earnings", "released"}),
    "earning": Damage(store.EARNINGS, {"status": "released"}, {"status": "held"}, "earning", {"status"}),
    "held": Damage(store.EARNINGS, {"status": "held"}, {"status": "refunded", "amount_diamonds": 50}, "earning",
                   {"status"}),
    "payment": Damage(store.PAYMENTS, {"reversed_diamonds": 33}, {"status": "reversed", "fee_diamonds": 1}, "payment",
                      {"status", "fee_diamonds"}),
    "reversed": Damage(store.PAYMENTS, {"status": "reversed"}, {"reversed_diamonds": 0}, "payment",
                       {"reversed_diamonds"}),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_what_differs_is_said_and_mended_only_when_told_to(
    played: Story, damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await played.harness.snapshot()
    database = played.harness.runtime.database
    assert (await database[damage.collection.name].update_one(damage.where, {"$set": damage.change})).modified_count
    damaged = await played.harness.snapshot()

    said = await recounted(played)
    assert {(one.of, one.field, one.mended) for one in said} == {(damage.of, name, False) for name in damage.fields}
    assert await recount_command(played.harness.runtime, []) == 2
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {line["field"] for line in printed} == damage.fields
    assert await played.harness.snapshot() == damaged

    assert await recount_command(played.harness.runtime, ["--write"]) == 0
    assert await recounted(played) == []
    assert await played.harness.snapshot() == before


async def test_a_balance_that_is_lost_is_found_by_its_transfers(played: Story) -> None:
    account = ledger.wallet(played.viewer)
    await played.harness.runtime.database[store.BALANCES.name].delete_one({"_id": account})

    said = await recounted(played, write=True)

    assert [(one.id, one.stored, one.mended) for one in said] == [(account, 0, True)]
    assert await recounted(played) == []


async def test_an_escrow_or_an_earning_that_is_lost_is_said_and_cannot_be_made_anew(played: Story) -> None:
    database = played.harness.runtime.database
    await database[store.EARNINGS.name].delete_one({"status": "held"})
    await database[store.ESCROWS.name].delete_one({"released": 1})

    said = await recounted(played, write=True)

    assert {(one.field, one.mended) for one in said} == {("exists", False), ("amount_diamonds of its earnings", False)}
    assert await recount_command(played.harness.runtime, ["--write"]) == 2


@pytest.mark.parametrize("status", ["succeeded", "reversed"])
async def test_a_payment_that_is_lost_is_found_by_its_transfers(played: Story, status: str) -> None:
    lost = await played.harness.runtime.database[store.PAYMENTS.name].find_one_and_delete({"status": status})

    said = await recounted(played, write=True)

    assert lost is not None
    assert said == [Difference("payment", lost["_id"], "exists", stored=False, counted=True)]
    assert await recount_command(played.harness.runtime, ["--write"]) == 2


async def test_a_transfer_that_is_lost_is_found_by_what_it_was_made_for(played: Story) -> None:
    transfers = played.harness.runtime.database[store.TRANSFERS.name]
    lost = await transfers.find_one_and_delete({"kind": "payment"})

    said = await recounted(played)

    assert lost is not None
    assert ("payment", lost["cause"]) in {(one.of, one.id) for one in said}


async def test_it_is_right_while_the_service_runs(played: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each of its reads somebody pays, and movements are folded."""
    played.harness.clock.advance(3_600)
    count, busy = Tx.aggregate, False

    async def pay_first(tx: Tx, *of: Any) -> Any:
        nonlocal busy
        if not busy:
            busy = True
            await played.harness.handle(played.payment(1), played.gift(1, funding="a" * 24))
            async with played.harness.tx() as another:
                await accounts.fold(another)
            busy = False
        return await count(tx, *of)

    monkeypatch.setattr(Tx, "aggregate", pay_first)

    assert await recounted(played) == []
    assert await recounted(played, write=True) == []


@pytest.mark.parametrize(
    "collection",
    [store.BALANCES, store.ESCROWS, store.EARNINGS, store.PAYMENTS, store.TRANSFERS],
    ids=lambda collection: collection.name,
)
async def test_it_ends_however_fast_somebody_writes(
    played: Story, collection: Collection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each read of a list something is added behind all that is there; what was there is still counted."""
    rows, count, added = played.harness.runtime.database[collection.name], Tx.aggregate, 0
    # A second transfer for an earning would be counted, rightly; that of a credit stands for itself.
    a_row = await rows.find_one({"kind": "credit"} if collection is store.TRANSFERS else {}, sort={"_id": 1})
    assert a_row is not None
    for damage in DAMAGES.values():
        await played.harness.runtime.database[damage.collection.name].update_one(damage.where, {"$set": damage.change})
    there = {(one.of, one.id, one.field) for one in await recounted(played)}

    async def add_first(tx: Tx, of: Collection[Any], pipeline: Any) -> Any:
        nonlocal added
        if of is collection:
            added += 1
            assert added < 100, "it runs after what is added"
            await rows.insert_one(a_row | {"_id": f"~{added:02}", "amount_diamonds": 0})
        return await count(tx, of, pipeline)

    monkeypatch.setattr(Tx, "aggregate", add_first)
    found = {(one.of, one.id, one.field) for one in await recounted(played) if not one.id.startswith("~")}

    assert added
    assert len(there) > 5
    assert found == there


async def test_every_balance_that_is_lost_is_found_however_many_they_are(
    played: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("escrow.handlers.recount.PAGE", 1)
    lost = await played.harness.runtime.database[store.BALANCES.name].delete_many({"_id": {"$regex": "^wallet:"}})

    said = await recounted(played, write=True)

    assert lost.deleted_count == len(said) == 2
    assert await recounted(played) == []


async def test_proofs_are_counted_from_the_transfers_for_ops(played: Story) -> None:
    ops, streamer = played.harness.client("0" * 24, "OPS"), played.harness.client(played.streamer, "CREATOR")
    path = f"/escrows/{played.escrow_id}/proof"
    for query in ("", "?from=balances", "?from=transfers"):
        assert (await ops.get(path + query)).json()["holds"] is True
        assert (await ops.get("/ledger/proof" + query)).json()["holds"] is True
    refused = await streamer.get(path + "?from=transfers")
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/transfers-are-for-ops")
    assert (await ops.get(path + "?from=nowhere")).status_code == 422

    database = played.harness.runtime.database
    await database[store.EARNINGS.name].update_one({"status": "released"}, {"$set": {"status": "held"}})
    await database[store.BALANCES.name].update_many({"_id": {"$regex": "^wallet:"}}, {"$inc": {"balance_diamonds": 1}})
    await database[store.BALANCES.name].update_one({"_id": ledger.MINT}, {"$inc": {"balance_diamonds": -2}})

    assert (await ops.get(path)).json()["holds"] is True  # its counters agree with each other
    assert (await ops.get(path + "?from=transfers")).json()["holds"] is False
    assert (await ops.get("/ledger/proof")).json()["holds"] is True
    assert (await ops.get("/ledger/proof?from=transfers")).json()["holds"] is False


async def test_what_it_costs_to_prove_an_escrow_does_not_depend_on_its_earnings(
    played: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    count = Tx.aggregate

    async def noted(tx: Tx, collection: Collection[Any], *of: Any) -> Any:
        asked.append(collection.name)
        return await count(tx, collection, *of)

    monkeypatch.setattr(Tx, "aggregate", noted)
    proof = await played.harness.client(played.streamer, "CREATOR").get(f"/escrows/{played.escrow_id}/proof")

    assert (proof.status_code, asked) == (200, [])
