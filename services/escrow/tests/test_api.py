"""Wallets, escrows and the ledger over HTTP."""

from collections.abc import Awaitable, Callable

import pytest

from chassis import ids
from chassis.testing import Solo
from escrow import store
from escrow.domain.escrows import Escrow
from escrow.service import SERVICE

SoloOf = Callable[..., Awaitable[Solo]]


@pytest.fixture
async def solo(solo_of: SoloOf) -> Solo:
    return await solo_of(SERVICE)


async def test_credited_diamonds_are_in_the_wallet_and_in_its_entries(solo: Solo) -> None:
    user = ids.new_id()
    ops = solo.client(ids.new_id(), "OPS")

    first = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 70})
    second = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 30})

    assert (first.status_code, second.json()["balance_diamonds"]) == (201, 100)
    wallet = await solo.client(user).get("/wallets/me")
    assert wallet.json() == {"user_id": user, "balance_diamonds": 100, "earnings_diamonds": 0}
    entries = (await solo.client(user).get("/wallets/me/entries")).json()
    assert [(item["kind"], item["amount_diamonds"]) for item in entries["items"]].count(("credit", 70)) == 1
    assert entries["next"] is None


async def test_who_has_no_wallet_reads_zeros_and_an_empty_list(solo: Solo) -> None:
    user = ids.new_id()

    wallet = await solo.client(user).get("/wallets/me")
    entries = await solo.client(user).get("/wallets/me/entries")

    assert wallet.json() == {"user_id": user, "balance_diamonds": 0, "earnings_diamonds": 0}
    assert entries.json() == {"items": [], "next": None}


@pytest.mark.parametrize("amount", [0, -1, 1.5, "10", None, 10**24, True])
async def test_an_amount_that_can_never_be_valid_is_422(solo: Solo, amount: object) -> None:
    answer = await solo.client(ids.new_id(), "OPS").post(
        f"/wallets/{ids.new_id()}/credit", json={"amount_diamonds": amount}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "amount_diamonds"
    assert await solo.published() == []


async def test_only_ops_credits_and_proves(solo: Solo) -> None:
    creator = solo.client(ids.new_id(), "CREATOR")

    credit = await creator.post(f"/wallets/{ids.new_id()}/credit", json={"amount_diamonds": 1})
    proof = await creator.get("/ledger/proof")

    assert (credit.status_code, proof.status_code) == (403, 403)


async def test_the_proof_lists_every_account_and_sums_to_zero(solo: Solo) -> None:
    ops = solo.client(ids.new_id(), "OPS")
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


async def test_an_escrow_is_shown_to_its_streamer_and_to_ops_only(solo: Solo) -> None:
    goal, streamer = ids.new_id(), ids.new_id()
    path = f"/escrows/trigger_exclusive:{goal}"
    async with solo.tx() as tx:
        tx.put(store.ESCROWS, Escrow(f"trigger_exclusive:{goal}", goal, ids.new_id(), streamer))

    answers = {
        who: (await client.get(path + what)).status_code
        for who, client in {
            "streamer": solo.client(streamer, "CREATOR"),
            "ops": solo.client(ids.new_id(), "OPS"),
            "other": solo.client(ids.new_id(), "CREATOR"),
        }.items()
        for what in ("", "/proof")
    }

    assert answers == {"streamer": 200, "ops": 200, "other": 403}
    proof = (await solo.client(streamer, "CREATOR").get(path + "/proof")).json()
    assert proof["holds"] is True
    missing = await solo.client(streamer).get(f"/escrows/trigger_private:{goal}")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/escrow-not-found")
    assert (await solo.client(streamer).get("/escrows/anything")).status_code == 422


async def test_the_same_idempotency_key_credits_once(solo: Solo) -> None:
    user = ids.new_id()
    ops = solo.client(ids.new_id(), "OPS")
    headers = {"idempotency-key": "k1"}

    first = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 5}, headers=headers)
    again = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 5}, headers=headers)
    other = await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": 6}, headers=headers)

    assert (first.status_code, again.content, other.status_code) == (201, first.content, 422)
    assert (await solo.client(user).get("/wallets/me")).json()["balance_diamonds"] == 5
