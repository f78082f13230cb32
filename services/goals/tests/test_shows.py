"""Fundings, shows, private goals and karaoke on the real MongoDB, over HTTP and by events."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.clock import unix
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from contracts import GoalCreatedV1, GoalEndedV1, GoalLapsedV1, GoalProgressedV1
from goals import handlers, store

if TYPE_CHECKING:
    import httpx

    from services.goals.tests.conftest import LiveSession


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("/problems/")


# Endings


async def test_a_funded_show_is_performed_and_the_stage_is_free_again(live: LiveSession) -> None:
    funding_id, show_id = await live.show()
    await live.harness.handle(live.ticket(funding_id))
    await live.later(60)

    assert await live.published() == [
        "goal.created",
        "goal.progressed",
        "goal.ended",
        "goal.created",
        "goal.progressed",
        "goal.ended",
    ]
    funding, show = await live.goal(funding_id), await live.goal(show_id)
    assert (funding.outcome, funding.progress, funding.context.show_goal_id) == ("funded", 11, show_id)
    assert (show.outcome, show.progress) == ("completed", 60)
    assert (await live.stage()).holder_id is None
    assert (await live.ask(ids.new_id())).status_code == 202


async def test_an_unfunded_show_lapses_after_its_hesitation(live: LiveSession) -> None:
    funding_id = await live.funding()
    await live.later(600)
    await live.published()

    await live.later(29)
    assert refusal(await live.ask(ids.new_id())) == (409, "stage-taken")
    await live.later(1)

    (lapsed,) = await live.harness.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert lapsed.reason == "no_show"
    assert refusal(await live.perform(funding_id)) == (409, "funding-lapsed")
    assert (await live.stage()).holder_id is None


async def test_an_unfunded_show_may_be_performed_within_its_hesitation(live: LiveSession) -> None:
    funding_id = await live.funding()
    await live.later(600)
    live.harness.clock.advance(30)

    assert (await live.perform(funding_id)).status_code == 201
    await live.harness.run_timers()

    assert "goal.lapsed" not in await live.published()


async def test_a_funding_past_its_exp_is_performed_although_its_timer_has_not_run(live: LiveSession) -> None:
    funding_id = await live.funding()
    live.harness.clock.advance(600)
    await live.published()

    assert (await live.perform(funding_id)).status_code == 201

    assert await live.published() == ["goal.ended", "goal.created"]
    assert (await live.goal(funding_id)).outcome == "unfunded"


async def test_a_funded_show_that_is_never_performed_lapses_with_the_session(live: LiveSession) -> None:
    funding_id = await live.ended_funding(tickets=10)
    await live.later(3_600)
    await live.published()

    await live.harness.handle(live.ended())

    (lapsed,) = await live.harness.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert (lapsed.goal_id, lapsed.reason) == (funding_id, "session_ended")


async def test_a_session_that_ends_ends_its_funding_and_lapses_it(live: LiveSession) -> None:
    funding_id = await live.funding()
    await live.published()

    await live.harness.handle(live.ended())
    await live.later(3_600)

    assert await live.published_about(funding_id) == ["goal.ended", "goal.lapsed"]


async def test_a_broken_off_show_is_cancelled(live: LiveSession) -> None:
    _, show_id = await live.show()
    live.harness.clock.advance(59)
    await live.published()

    assert (await live.host().get(f"/goals/{show_id}")).json()["progress"] == 59
    assert (await live.host().delete(f"/goals/{show_id}")).status_code == 204

    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.outcome, ended.progress) == ("cancelled", 59)


async def test_the_sessions_end_breaks_a_show_off(live: LiveSession) -> None:
    funding_id, show_id = await live.show()
    await live.published()

    await live.harness.handle(live.ended())

    assert await live.published_about(show_id) == ["goal.ended"]
    assert await live.published_about(funding_id) == []
    assert (await live.goal(show_id)).outcome == "cancelled"


async def test_a_private_goal_is_completed_by_gifts(live: LiveSession) -> None:
    body = {
        "levels": [{"title": "For you", "target": 100}],
        "exp": unix(live.harness.now) + 600,
        "context": {"session_id": live.session_id},
    }
    created = await live.host().post("/goals?type=trigger-private", json=body)
    goal_id = created.json()["goal_id"]
    assert refusal(await live.host().post("/goals?type=trigger-private", json=body)) == (409, "private-goal-open")
    gifts = [
        live.held(goal_id, ids.new_id(), escrow_id=f"trigger_private:{goal_id}", earning_id=ids.new_id(),
                   amount_diamonds=60)
        for _ in range(3)
    ]  # fmt: skip

    await live.harness.handle(*gifts)

    assert await live.published() == [
        "goal.created", "goal.progressed", "goal.progressed", "goal.ended", "goal.contribution_rejected",
    ]  # fmt: skip
    assert ((await live.goal(goal_id)).outcome, (await live.stage()).private_id) == ("completed", None)
    assert (await live.host().post("/goals?type=trigger-private", json=body)).status_code == 201


async def test_a_karaoke_gift_is_a_goal_once(live: LiveSession) -> None:
    gift = live.song(ids.new_id())

    await live.harness.handle(gift, gift)
    (created,) = await live.harness.take()
    assert refusal(await live.host().delete(f"/goals/{created.subject}")) == (409, "not-deletable")
    await live.later(60)

    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.kind, ended.outcome) == ("KaraokeGoal", "completed")


async def test_a_song_for_who_cannot_watch_is_no_goal(live: LiveSession) -> None:
    partner, other = ids.new_id(), ids.new_id()
    await live.exclusive(partner)
    await live.published()
    await live.harness.handle(live.song(other), live.song(partner))

    (created,) = await live.harness.take()
    assert isinstance(created, GoalCreatedV1)
    assert created.context.sender_id == partner


async def test_a_song_after_the_sessions_maximum_is_no_goal(live: LiveSession) -> None:
    live.harness.clock.advance(43_200)

    await live.harness.handle(live.song(ids.new_id()))

    assert await live.published() == []


@pytest.mark.parametrize("tickets", [0, 10])
async def test_a_streamer_gives_up_a_show_once(live: LiveSession, tickets: int) -> None:
    funding_id = await live.ended_funding(tickets)
    await live.published()

    assert (await live.host().delete(f"/goals/{funding_id}")).status_code == 204

    (lapsed,) = await live.harness.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert lapsed.reason == "given_up"
    assert refusal(await live.host().delete(f"/goals/{funding_id}")) == (409, "goal-not-active")
    assert refusal(await live.perform(funding_id)) == (409, "funding-lapsed")
    await live.later(3_600)
    await live.harness.handle(live.ended())
    assert await live.published() == []


async def test_a_click_that_comes_twice_ends_a_funding_and_gives_nothing_up(live: LiveSession) -> None:
    funding_id, click = await live.funding(), {"Idempotency-Key": "start-early-1"}
    await live.published()

    answers = [await live.host().delete(f"/goals/{funding_id}", headers=click) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert [type(event) for event in await live.harness.take()] == [GoalEndedV1]
    assert (await live.perform(funding_id)).status_code == 201


async def test_who_may_not_give_up_a_show(live: LiveSession) -> None:
    funding_id, stranger = await live.ended_funding(10), live.harness.client(ids.new_id(), "CREATOR")
    other = live.another()
    await live.harness.handle(other.started())
    performed_id, _ = await other.show()
    await live.published()

    assert refusal(await stranger.delete(f"/goals/{funding_id}")) == (404, "goal-not-found")
    assert refusal(await live.viewer(ids.new_id()).delete(f"/goals/{funding_id}")) == (403, "scope-missing")
    assert refusal(await other.host().delete(f"/goals/{performed_id}")) == (409, "goal-not-active")
    await live.harness.handle(live.ended())
    assert refusal(await live.host().delete(f"/goals/{funding_id}")) == (409, "goal-not-active")


async def test_a_blocked_buyer_is_given_back_whatever_was_bought(live: LiveSession) -> None:
    buyer = ids.new_id()
    funding_id, private_id = await live.funding(), await live.private_goal(100)
    await live.published()

    await live.harness.handle(
        live.blocked(buyer), live.ticket(funding_id, buyer=buyer), live.gift(private_id, buyer, 7)
    )

    answers = await live.harness.take()
    assert [event.model_dump()["reason"] for event in answers] == ["viewer_blocked"] * 2


async def test_a_ticket_held_in_time_counts_although_it_is_read_late(live: LiveSession) -> None:
    funding_id = await live.funding()
    live.harness.clock.advance(599.999)
    held_at = live.harness.now
    live.harness.clock.advance(20)
    await live.published()

    async with live.harness.tx() as tx:
        tx.cause = live.harness.cause(held_at)
        await handlers.answer_hold(live.ticket(funding_id, 10), tx)
    await live.harness.run_timers()

    assert await live.published() == ["goal.progressed", "goal.ended"]
    assert (await live.goal(funding_id)).outcome == "funded"


# What was given back


async def test_what_was_given_back_leaves_the_leaderboard_once(live: LiveSession) -> None:
    funding_id, one, two = await live.funding(), ids.new_id(), ids.new_id()
    first, second, third = (live.ticket(funding_id, count, buyer) for count, buyer in ((3, one), (4, two), (2, one)))
    await live.harness.handle(first, second, third)
    await live.answer(funding_id, agree=None)
    path = f"/goals/{funding_id}/leaderboard"

    for _ in range(2):
        await live.harness.handle(live.given_back(first, "no_show"), first)

    lines = (await live.host().get(path)).json()["items"]
    assert [(line["user_id"], line["count"], line["amount_diamonds"]) for line in lines] == [(two, 4, 28), (one, 2, 14)]
    assert (await live.goal(funding_id)).progress == 9  # how it came out stays
    await live.harness.handle(live.given_back(second, "no_show"), live.given_back(third, "no_show"))
    assert (await live.host().get(path)).json()["items"] == []


async def test_a_refund_read_before_its_hold_comes_to_the_same(live: LiveSession) -> None:
    funding_id, buyer = await live.funding(), ids.new_id()
    ticket = live.ticket(funding_id, 3, buyer)
    await live.published()

    await live.harness.handle(live.given_back(ticket, "blocked"), ticket, ticket, apart=True)

    assert await live.published() == ["goal.contribution_rejected"]
    assert (await live.goal(funding_id)).progress == 0
    assert (await live.host().get(f"/goals/{funding_id}/leaderboard")).json()["items"] == []


async def test_what_did_not_count_takes_nothing_away(live: LiveSession) -> None:
    funding_id, buyer = await live.funding(), ids.new_id()
    await live.harness.handle(live.ticket(funding_id, 3, buyer))
    await live.answer(funding_id, agree=None)
    late = live.ticket(funding_id, 2, buyer)

    await live.harness.handle(late, live.given_back(late, "contribution_rejected"))

    (line,) = (await live.host().get(f"/goals/{funding_id}/leaderboard")).json()["items"]
    assert (line["count"], line["amount_diamonds"]) == (3, 21)


async def test_what_a_blocked_viewer_got_back_does_not_fund_a_show(live: LiveSession) -> None:
    funding_id, private_id, buyer = await live.funding(), await live.private_goal(100), ids.new_id()
    ticket, gift = live.ticket(funding_id, 10, buyer), live.gift(private_id, buyer, 60)
    await live.harness.handle(ticket, gift)

    await live.harness.handle(*(live.given_back(held, "blocked") for held in (ticket, gift, ticket)))

    assert [(await live.goal(goal_id)).progress for goal_id in (funding_id, private_id)] == [0, 0]
    await live.later(600)
    assert (await live.goal(funding_id)).outcome == "unfunded"


# Refusals


async def test_two_shows_at_once_and_an_invitation_during_a_show_are_refused(live: LiveSession) -> None:
    open_id = await live.invitation(ids.new_id())
    await live.funding()

    again = await live.offer()
    assert refusal(again) == (409, "stage-taken")
    assert refusal(await live.ask(ids.new_id())) == (409, "stage-taken")
    assert refusal(await live.answer(open_id, agree=True)) == (409, "stage-taken")


async def test_a_funding_during_an_agreement_is_refused(live: LiveSession) -> None:
    await live.agreement(ids.new_id())

    again = await live.offer()

    assert refusal(again) == (409, "stage-taken")


async def test_a_funding_has_one_show_when_it_is_over(live: LiveSession) -> None:
    funding_id = await live.funding()
    assert refusal(await live.perform(funding_id)) == (409, "funding-not-over")
    await live.host().delete(f"/goals/{funding_id}")
    assert refusal(await live.perform(ids.new_id())) == (404, "funding-not-found")
    assert refusal(await live.perform(funding_id, nbf=unix(live.harness.now) + 601)) == (422, "begins-too-late")
    assert (await live.perform(funding_id, nbf=unix(live.harness.now) + 600)).status_code == 201
    assert refusal(await live.perform(funding_id)) == (409, "show-exists")


@pytest.mark.parametrize(
    ("changes", "context", "field"),
    [
        ({"levels": []}, {}, "levels.0"),
        ({"levels": [{"title": "A", "target": 1}] * 2}, {}, "levels"),
        ({"levels": [{"title": "A", "target": 0}]}, {}, "levels.0.target"),
        ({"levels": [{"title": "A", "target": 1_000_001}]}, {}, "levels.0.target"),
        ({"levels": [{"title": "", "target": 1}]}, {}, "levels.0.title"),
        ({"levels": [{"title": " \u200b", "target": 1}]}, {}, "levels.0.title"),
        ({"levels": [{"title": "A\u202esong", "target": 1}]}, {}, "levels.0.title"),
        ({"levels": [{"target": 1}]}, {}, "levels.0.title"),
        ({"exp": 1}, {}, "exp"),
        ({"exp": 10**24}, {}, "exp"),
        ({}, {"perform_duration": 59}, "context.perform_duration"),
        ({}, {"perform_duration": 14_401}, "context.perform_duration"),
        ({}, {"hesitation_countdown": -1}, "context.hesitation_countdown"),
        ({}, {"hesitation_countdown": 3_601}, "context.hesitation_countdown"),
        ({}, {"ticket_product_type": "latebird"}, "context.ticket_product_type"),
        ({}, {"ticket_product_id": {"$ne": 1}}, "context.ticket_product_id"),
        ({}, {"ticket_product_id": "livestream-gift_castle"}, "context.ticket_product_id"),
        ({}, {"ticket_product_id": "livestream-show-ticket_135"}, "context.ticket_product_id"),
        ({}, {"discount_percentage": 100}, "context.discount_percentage"),
        ({}, {"discount_percentage": None}, "context.discount_percentage"),
    ],
)
async def test_an_offer_that_can_never_be_valid(
    live: LiveSession, changes: dict[str, Any], context: dict[str, Any], field: str
) -> None:
    answer = await live.offer(changes, **context)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await live.harness.published() == []


async def test_a_funding_that_ends_in_25_hours_is_refused(live: LiveSession) -> None:
    offered = await live.offer({"exp": unix(live.harness.now) + 25 * 3_600})

    assert refusal(offered) == (422, "deadline-out-of-range")


async def test_a_regular_ticket_ignores_the_discount(live: LiveSession) -> None:
    created = await live.offer(ticket_product_type="regular", discount_percentage=100)

    assert created.status_code == 201
    assert (await live.goal(created.json()["goal_id"])).context.discount_percentage is None


async def test_only_streamers_make_goals_of_their_session(live: LiveSession) -> None:
    elsewhere = live.another()
    await live.harness.handle(elsewhere.started())
    viewer_only = live.viewer(live.streamer)
    body = {"context": {"session_id": live.session_id, "funding_goal_id": ids.new_id()}}

    assert refusal(await viewer_only.post("/goals?type=show", json=body)) == (403, "scope-missing")
    assert refusal(await elsewhere.offer(session_id=live.session_id)) == (403, "not-your-session")


# Many


async def test_the_leaderboard_is_paged_with_ranks_and_ties_go_to_the_earlier(live: LiveSession) -> None:
    funding_id = await live.funding()
    big, early, late = ids.new_id(), ids.new_id(), ids.new_id()
    for buyer, count in ((late, 1), (early, 2), (big, 5), (late, 1)):
        live.harness.clock.advance(1)
        await live.harness.handle(live.ticket(funding_id, count, buyer))
    path = f"/goals/{funding_id}/leaderboard?limit=2"

    first = (await live.host().get(path)).json()
    second = (await live.host().get(f"{path}&after={first['next']}")).json()

    lines = [*first["items"], *second["items"]]
    assert [(line["user_id"], line["rank"], line["count"], line["amount_diamonds"]) for line in lines] == [
        (big, 1, 5, 35),
        (early, 2, 2, 14),
        (late, 3, 2, 14),
    ]
    assert second["next"] is None


async def test_no_page_of_the_leaderboard_counts_those_before_it(
    live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    funding_id = await live.funding()
    await live.harness.handle(*(live.ticket(funding_id, 1, ids.new_id()) for _ in range(6)))
    path, after, asked = f"/goals/{funding_id}/leaderboard?limit=2", "", Counter[str]()
    aggregate, find = Tx.aggregate, Tx.find

    async def counted(tx: Tx, collection: Collection[Any], *of: Any) -> Any:
        asked[f"aggregate {collection.name}"] += 1
        return await aggregate(tx, collection, *of)

    async def found(tx: Tx, collection: Collection[Any], *of: Any, **how: Any) -> Any:
        rows = await find(tx, collection, *of, **how)
        asked[f"rows of {collection.name}"] += len(rows)
        return rows

    monkeypatch.setattr(Tx, "aggregate", counted)
    monkeypatch.setattr(Tx, "find", found)
    costs = []
    for _ in range(3):
        page = (await live.host().get(path + after)).json()
        after = f"&after={page['next']}"
        costs.append(dict(asked))
        asked.clear()

    assert costs[0] == costs[1]
    assert not any("aggregate" in what for cost in costs for what in cost)


async def test_many_tickets_in_a_batch_count_one_by_one(live: LiveSession) -> None:
    funding_id = await live.funding()
    await live.published()
    tickets = [live.ticket(funding_id) for _ in range(300)]

    await live.harness.handle(*tickets, *tickets[:50])

    counted = [event for event in await live.harness.take() if isinstance(event, GoalProgressedV1)]
    assert [event.progress for event in counted] == list(range(1, 301))
    assert [event.reached for event in counted].index(True) == 9


async def test_no_document_is_left_open_by_an_ended_session(live: LiveSession) -> None:
    await live.funding()
    await live.harness.handle(live.ended(live.harness.now + timedelta(seconds=1)))

    async with live.harness.tx() as tx:
        assert await store.open_goals(tx, live.session_id) == []
