"""What is held, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from chassis.storage.mongo import Raw
from escrow import store
from escrow.domain import books, ledger
from escrow.store import migrations

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

HOUR = 3_600


def gauges() -> Mapping[str, float | None]:
    held = {name: REGISTRY.get_sample_value(f"escrow_{name}") for name in (
        "held_earnings", "held_diamonds", "open_escrows", "oldest_held_seconds",
    )}  # fmt: skip
    longer = {than: REGISTRY.get_sample_value("escrow_held_longer_earnings", {"than": than}) for than in ("1h", "13h")}
    return {**held, **longer}


@pytest.mark.parametrize(
    ("hours", "longer"), [(0, {"1h": 0, "13h": 0}), (2, {"1h": 3, "13h": 0}), (14, {"1h": 3, "13h": 3})]
)
async def test_what_is_held_and_for_how_long_is_counted_every_few_seconds(
    story: Story, hours: int, longer: Mapping[str, int]
) -> None:
    await story.credit(900)
    await story.harness.handle(*(story.gift(100, funding=story.goal) for _ in range(2)), story.proposed(300))
    await story.harness.handle(story.gift(1_000, funding=story.goal))  # refused: not held
    await migrations.begin_counting(story.harness.runtime.database)
    story.harness.clock.advance(hours * HOUR)
    due = await story.harness.next_due()
    assert due is not None

    async with story.harness.tx() as tx:
        tx.set_timer(books.count_due(tx.now))
    await story.harness.run_timers()

    held = {"held_earnings": 3, "held_diamonds": 500, "open_escrows": 2, "oldest_held_seconds": hours * HOUR}
    assert gauges() == {**held, **longer}
    assert [timer.NAME for timer in await story.harness.timers()] == ["count-due"]  # and again, soon

    await story.harness.handle(story.rejected(), story.blocked())
    story.harness.clock.advance(books.COUNT_EVERY.total_seconds())
    await story.harness.run_timers()
    assert set(gauges().values()) == {0}


async def test_counting_walks_over_what_is_held_alone(story: Story) -> None:
    """However much was settled before: each query is led by an index of what is open."""
    database = story.harness.runtime.database
    queries: dict[str, Raw] = {
        store.ESCROWS.name: {"open_earnings": {"$gt": 0}},
        store.EARNINGS.name: {"status": "held", "at": {"$lt": story.harness.now}},
    }
    for name, where in queries.items():
        plan = await database.command({"explain": {"find": name, "filter": where}, "verbosity": "queryPlanner"})
        assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"]), name


async def test_all_accounts_are_added_up_every_minute_and_a_diamond_that_is_missing_is_told(story: Story) -> None:
    def told() -> tuple[float | None, float | None]:
        names = ("escrow_ledger_sum_diamonds", "escrow_ledger_proved_timestamp_seconds")
        diamonds, at = (REGISTRY.get_sample_value(name) for name in names)
        return diamonds, at

    await story.credit(500)
    await story.harness.handle(story.payment(), story.gift(100, funding=story.goal))
    async with story.harness.tx() as tx:
        tx.set_timer(books.proof_due(tx.now))
    await story.harness.run_timers()
    assert told() == (0, story.harness.now.timestamp())

    lost = {"$inc": {"balance_diamonds": -1}}
    await story.harness.runtime.database[store.BALANCES.name].update_one({"_id": ledger.wallet(story.viewer)}, lost)
    story.harness.clock.advance(books.PROVE_EVERY.total_seconds())
    await story.harness.run_timers()
    assert told() == (-1, story.harness.now.timestamp())


@pytest.mark.parametrize(("accounts", "minutes"), [(0, 1), (100_000, 1), (1_000_000, 10), (50_000_000, 20)])
def test_the_more_accounts_there_are_the_less_often_they_are_added_up(accounts: int, minutes: int) -> None:
    assert books.prove_every(accounts).total_seconds() == 60 * minutes


async def test_movements_are_folded_and_change_no_balance(story: Story) -> None:
    await story.credit(500)
    await story.harness.handle(story.payment(), story.payment())
    before = await story.money()

    async with story.harness.tx() as tx:
        tx.set_timer(ledger.fold_due(story.harness.now))
    await story.harness.run_timers()

    assert await story.money() == before == {"wallet": 100, "earnings": 400}
    async with story.harness.tx() as tx:
        assert await tx.find(store.MOVEMENTS, {}) == []
