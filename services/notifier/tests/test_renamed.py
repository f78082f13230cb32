"""Permits and decided pushes as the release before has stored them, under other names (ADR 0008)."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from chassis.clock import SystemClock
from chassis.runtime.migrate import run_migrations
from chassis.storage.mongo import Raw
from chassis_testing.service import ServiceHarness
from notifier import store
from notifier.domain.entitlement import Permit
from notifier.domain.pushes import DecidedPushes
from notifier.service import SERVICE

AT = datetime(2026, 11, 26, 20, 0, tzinfo=UTC)
PAIR, EVENT = "a" * 24 + ":" + "b" * 24, "e" * 24
PERMIT: Raw = {
    "_id": PAIR,
    "told": AT,
    "nbf": AT,
    "exp": AT + timedelta(minutes=1),
    "private": False,
    "ticket_goal": None,
    "_stamp": 7,
}
DECIDED: Raw = {"_id": EVENT, "at": AT, "pushes": ["gift.sent"], "_stamp": 7}


async def test_permits_and_decided_pushes_of_the_release_before_are_read_right_and_migrated_once(
    harness_of: Callable[..., Awaitable[ServiceHarness]],
) -> None:
    harness = await harness_of(SERVICE)
    database = harness.runtime.database
    await database["migrations"].delete_many({})
    await database["permits"].insert_one(dict(PERMIT))
    await database["told"].insert_one(dict(DECIDED))
    async with harness.tx() as tx:
        before = await tx.get(store.PERMITS, PAIR)

    for _ in range(2):
        await run_migrations(database, SERVICE, SystemClock())
    await database["migrations"].delete_many({})
    await run_migrations(database, SERVICE, SystemClock())

    async with harness.tx() as tx:
        assert await tx.get(store.PERMITS, PAIR) == before == Permit(PAIR, AT, AT, AT + timedelta(minutes=1))
        assert await tx.get(store.DECIDED, EVENT) == DecidedPushes(EVENT, AT, ("gift.sent",))
    assert await database["permits"].find().to_list(None) == [{**PERMIT, "updated_at": AT}]
    assert await database["told"].find().to_list(None) == [DECIDED]
    await database.drop_collection("told")
