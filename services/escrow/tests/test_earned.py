"""What a streamer has earned, transfer by transfer: from which session, goal and payer, and what went back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from chassis import ids
from chassis.runtime.migrate import create_collections
from escrow import store
from escrow.service import SERVICE
from escrow.store import migrations

if TYPE_CHECKING:
    from services.escrow.tests.conftest import Story

StoryWith = Callable[..., Awaitable["Story"]]
FORMER = {"debit": 1, "at": 1, "kind": 1, "amount_diamonds": 1}


async def earned(story: Story, user_id: str, query: str = "") -> list[dict[str, Any]]:
    answer = await story.harness.client(user_id).get(f"/wallets/me/earnings{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_what_a_streamer_earned_says_by_whom_and_for_what_and_adds_up_to_the_balance(
    story_with: StoryWith,
) -> None:
    story = await story_with(PLATFORM_SHARE="0.25")
    await story.held()
    await story.credit(1_000)
    await story.harness.handle(story.accepted(), story.ended("TriggerExclusiveGoal", "agreed"))
    await story.harness.handle(story.closed(kept=True))
    await story.harness.run_timers()
    minutes, gift = story.payment(200, exclusive_goal_id=story.exclusive), story.gift(40)
    for event in (minutes, gift, story.reversal(minutes, 100)):
        story.harness.clock.advance(1)
        await story.harness.handle(event)

    items = await earned(story, story.streamer)

    common = {"session_id": story.session, "payer_id": story.viewer}
    none = {"goal_id": None, "gift_id": None, "payment_id": None}
    shown = [{name: value for name, value in item.items() if name not in ("id", "at")} for item in items]
    paid = common | none | {"goal_id": story.exclusive, "payment_id": minutes.payment_id}
    given = common | none | {"gift_id": gift.gift_id, "payment_id": shown[2]["payment_id"]}
    assert shown == [
        common | none | {"kind": "release", "amount_diamonds": 375, "goal_id": story.goal},
        paid | {"kind": "payment", "amount_diamonds": 150},
        given | {"kind": "payment", "amount_diamonds": 30},
        paid | {"kind": "reversal", "amount_diamonds": -75},
    ]
    wallet = (await story.harness.client(story.streamer).get("/wallets/me")).json()
    assert sum(item["amount_diamonds"] for item in items) == wallet["earnings_diamonds"] == 480
    assert await earned(story, story.streamer, "?order=desc&limit=2") == items[:1:-1]


async def test_it_is_the_streamers_own(story: Story) -> None:
    await story.credit(500)
    await story.harness.handle(story.payment())

    assert len(await earned(story, story.streamer)) == 1
    assert [await earned(story, user_id) for user_id in (story.viewer, ids.new_id())] == [[], []]


async def test_an_index_that_could_not_list_in_order_is_replaced(story: Story) -> None:
    database = story.harness.runtime.database
    await database[store.TRANSFERS.name].create_index(list(FORMER.items()))

    await create_collections(database, SERVICE)
    for _ in range(2):  # a migration may die and be done again
        await migrations.drop_unordered_indexes(database)

    names = set(await database[store.TRANSFERS.name].index_information())
    assert names == {"_id_", *(index.name for index in store.TRANSFERS.indexes)}
