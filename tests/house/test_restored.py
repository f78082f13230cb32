"""Escrow's database is that of an hour ago, and Kafka has moved on: the money is where it was, nothing moves twice.

The hour is chosen so that every request for money is too late by then: whoever decided anew would refuse what was paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chassis.kafka.own_topic import Memory, work_of
from contracts import EscrowSettledV1, PaymentFailedV1, WalletCreatedV1, WalletCreditedV1, WalletDebitedV1
from escrow.handlers.recount import recount_all
from escrow.service import SERVICE as ESCROW

if TYPE_CHECKING:
    from chassis_testing.service import ServiceHarness
    from tests.house.conftest import House

HOUR = 3_600
EXCLUSIVE_DIAMONDS = 20
ROSE = "livestream-gift_rose"
SAID_AGAIN = (EscrowSettledV1, WalletCreatedV1)  # nobody acts on these
MOMENTS = ("_stamp", "at", "exp", "forget_at", "read_at", "cause")
"""What may differ: when escrow did it, when a request would have expired, and of a credit what its id was made of."""


@dataclass
class Backup:
    """All documents of one database at one moment."""

    documents: Mapping[str, list[dict[str, Any]]]

    @classmethod
    async def of(cls, harness: ServiceHarness) -> Backup:
        return cls(await harness.contents(*await harness.runtime.database.list_collection_names()))

    async def restore(self, harness: ServiceHarness) -> None:
        database = harness.runtime.database
        for name in await database.list_collection_names():
            await database[name].delete_many({})
            if rows := self.documents.get(name):
                await database[name].insert_many(rows)


async def backed_up_in_the_evening(house: House) -> tuple[Backup, str, str]:
    """A backup, and then everything money can do: what is there before goes on, what is new begins."""
    old, new = await house.viewer(500), await house.viewer(100)
    funding_id = (await house.fund(target=1)).json()["goal_id"]
    await house.system.run_until_idle()
    assert (await house.give(old, funding_id)).status_code == 202
    assert (await house.pay(old, steps=3)).status_code == 202
    await house.system.run_until_idle()

    backup = await Backup.of(house.escrow)

    await house.system.pass_time(5)
    path, more = f"/wallets/{new}/credit", {"amount_diamonds": 400}
    assert (await house.pay(new, steps=30)).status_code == 202  # for which there is no money yet
    await house.system.run_until_idle()
    assert (await house.ask(house.escrow, house.streamer, "POST", path, more)).status_code == 201
    assert (await house.give(new, product=ROSE)).status_code == 202
    assert (await house.pay(new, steps=30)).status_code == 202
    await house.system.run_until_idle()
    await house.system.pass_time(1_000)
    assert (await house.perform(funding_id)).status_code in (201, 202)
    await house.system.pass_time(90)  # kept: the ticket is the streamer's
    second = (await house.fund(target=5)).json()["goal_id"]
    await house.system.run_until_idle()
    assert (await house.give(new, second)).status_code == 202
    assert (await house.give(await house.viewer(1), second)).status_code == 202  # who cannot pay
    await house.system.run_until_idle()
    order_id = await house.buy(new, 3)
    await house.system.run_until_idle()
    assert (await house.give(new, product=ROSE, count=30)).status_code == 202
    await house.system.run_until_idle()
    await house.give_back(order_id)  # the wallet has not so many
    await house.system.run_until_idle()
    await house.end()  # the ticket goes back, and the minutes that have not begun: some of that is owed
    await house.system.run_until_idle()
    await house.system.pass_time(HOUR)
    return backup, old, new


async def remember(house: House) -> Memory:
    """As `python -m escrow remember` does, but for Kafka; a few at a time, so that something has to wait."""
    memory = Memory(house.escrow.runtime)
    types = {row.subject for row in ESCROW.remembers}
    own = [message for message in house.system.published if type(message.event) in types]
    assert {type(message.event) for message in own} == types
    of_wallets = WalletCreditedV1 | WalletDebitedV1
    own.sort(key=lambda message: isinstance(message.event, of_wallets))  # they come on other partitions: last
    for first in range(0, len(own), 3):
        part = own[first : first + 3]
        await memory.take(work_of(ESCROW.remembers, one.event, one.attributes) for one in part)
    return memory


def taken(house: House) -> list[tuple[int, bool]]:
    """What was taken of the order whose money went back: how much, and whether it was later."""
    told = [one.event for one in house.system.published if isinstance(one.event, WalletDebitedV1)]
    return [(one.amount_diamonds, one.from_cause_id is not None) for one in told]


async def money(house: House) -> dict[str, Any]:
    """Everything that escrow knows of money, but for moments."""
    found = await house.escrow.snapshot()
    del found["balances"], found["movements"]  # folded or not: the accounts are compared
    kept = {
        name: [{key: value for key, value in row.items() if key not in MOMENTS} for row in rows]
        for name, rows in found.items()
    }
    return {"accounts": await house.accounts(), **kept}


async def test_a_restored_escrow_remembers_what_it_has_told_and_nothing_moves_again(house: House) -> None:
    backup, *_ = await backed_up_in_the_evening(house)
    before, said = await money(house), len(house.system.published)
    assert {later for amount, later in taken(house) if amount} == {False, True}
    await backup.restore(house.escrow)

    memory = await remember(house)
    house.system.replay("escrow")
    await house.system.run_until_idle()
    await house.system.pass_time(HOUR)

    assert memory.waiting == []
    assert await money(house) == before
    again = {type(message.event) for message in house.system.published[said:]}
    assert again <= set(SAID_AGAIN)
    assert [difference async for difference in recount_all(house.escrow.runtime)] == []


async def test_what_goes_on_meanwhile_ends_as_it_would_have_though_its_timers_come_first(house: House) -> None:
    viewer = await house.viewer(100)
    invitation_id = (await house.invite(viewer)).json()["goal_id"]
    await house.system.run_until_idle()
    assert (await house.delete(invitation_id, agree=True)).status_code == 204
    await house.system.run_until_idle()
    backup = await Backup.of(house.escrow)  # with the timer that looks whether the exclusive has begun
    await house.begin_exclusive(invitation_id)
    await house.system.run_until_idle()

    house.system.stop("escrow")
    await house.system.pass_time(HOUR)
    await backup.restore(house.escrow)
    house.system.resume("escrow")
    await house.system.run_timers("escrow")
    house.system.replay("escrow")
    await house.system.run_until_idle()
    await house.system.pass_time(HOUR)

    assert (await house.spent(viewer, 100), await house.earned()) == (EXCLUSIVE_DIAMONDS, EXCLUSIVE_DIAMONDS)


async def test_to_remember_twice_or_without_a_restore_changes_nothing(house: House) -> None:
    await backed_up_in_the_evening(house)
    before, said = await money(house), len(house.system.published)

    for _ in range(2):
        assert (await remember(house)).waiting == []

    assert await money(house) == before
    await house.system.collect()
    assert len(house.system.published) == said


async def test_an_escrow_that_does_not_remember_refuses_what_was_paid(house: House) -> None:
    """Why `remember` comes first: the requests are read again an hour late."""
    backup, _, new = await backed_up_in_the_evening(house)
    before, said = await money(house), len(house.system.published)
    await backup.restore(house.escrow)

    house.system.replay("escrow")
    await house.system.run_until_idle()

    assert await money(house) != before
    refused = [one.event for one in house.system.published[said:] if isinstance(one.event, PaymentFailedV1)]
    assert {event.reason for event in refused if event.payer_id == new} == {"expired"}
