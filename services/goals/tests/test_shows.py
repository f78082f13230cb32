"""Fundings, shows, private goals and karaoke on the real MongoDB, over HTTP and by events."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.clock import unix
from contracts import GoalCreatedV1, GoalEndedV1, GoalLapsedV1, GoalProgressedV1
from goals import handlers, store

if TYPE_CHECKING:
    import httpx

    from services.goals.tests.conftest import Night


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("/problems/")


# Endings


async def test_a_funded_show_is_performed_and_the_stage_is_free_again(night: Night) -> None:
    funding_id, show_id = await night.show()
    await night.solo.hear(night.ticket(funding_id))
    await night.later(60)

    assert await night.told() == [
        "goal.created",
        "goal.progressed",
        "goal.ended",
        "goal.created",
        "goal.progressed",
        "goal.ended",
    ]
    funding, show = await night.goal(funding_id), await night.goal(show_id)
    assert (funding.outcome, funding.progress, funding.context.show_goal_id) == ("funded", 11, show_id)
    assert (show.outcome, show.progress) == ("completed", 60)
    assert (await night.stage()).holder_id is None
    assert (await night.ask(ids.new_id())).status_code == 202


async def test_an_unfunded_show_lapses_after_its_hesitation(night: Night) -> None:
    funding_id = await night.funding()
    await night.later(600)
    await night.told()

    await night.later(29)
    assert refusal(await night.ask(ids.new_id())) == (409, "stage-taken")
    await night.later(1)

    (lapsed,) = await night.solo.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert lapsed.reason == "no_show"
    assert refusal(await night.perform(funding_id)) == (409, "funding-lapsed")
    assert (await night.stage()).holder_id is None


async def test_an_unfunded_show_may_be_performed_within_its_hesitation(night: Night) -> None:
    funding_id = await night.funding()
    await night.later(600)
    night.solo.clock.advance(30)

    assert (await night.perform(funding_id)).status_code == 201
    await night.solo.run_timers()

    assert "goal.lapsed" not in await night.told()


async def test_a_funding_past_its_exp_is_performed_although_its_timer_has_not_run(night: Night) -> None:
    funding_id = await night.funding()
    night.solo.clock.advance(600)
    await night.told()

    assert (await night.perform(funding_id)).status_code == 201

    assert await night.told() == ["goal.ended", "goal.created"]
    assert (await night.goal(funding_id)).outcome == "unfunded"


async def test_a_funded_show_that_is_never_performed_lapses_with_the_session(night: Night) -> None:
    funding_id = await night.ended_funding(tickets=10)
    await night.later(3_600)
    await night.told()

    await night.solo.hear(night.ended())

    (lapsed,) = await night.solo.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert (lapsed.goal_id, lapsed.reason) == (funding_id, "session_ended")


async def test_a_session_that_ends_ends_its_funding_and_lapses_it(night: Night) -> None:
    funding_id = await night.funding()
    await night.told()

    await night.solo.hear(night.ended())
    await night.later(3_600)

    assert await night.told_of(funding_id) == ["goal.ended", "goal.lapsed"]


async def test_a_broken_off_show_is_cancelled(night: Night) -> None:
    _, show_id = await night.show()
    night.solo.clock.advance(59)
    await night.told()

    assert (await night.host().get(f"/goals/{show_id}")).json()["progress"] == 59
    assert (await night.host().delete(f"/goals/{show_id}")).status_code == 204

    (ended,) = await night.solo.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.outcome, ended.progress) == ("cancelled", 59)


async def test_the_sessions_end_breaks_a_show_off(night: Night) -> None:
    funding_id, show_id = await night.show()
    await night.told()

    await night.solo.hear(night.ended())

    assert await night.told_of(show_id) == ["goal.ended"]
    assert await night.told_of(funding_id) == []
    assert (await night.goal(show_id)).outcome == "cancelled"


async def test_a_private_goal_is_completed_by_gifts(night: Night) -> None:
    body = {
        "levels": [{"title": "For you", "target": 100}],
        "exp": unix(night.solo.now) + 600,
        "context": {"session_id": night.session_id},
    }
    created = await night.host().post("/goals?type=trigger-private", json=body)
    goal_id = created.json()["goal_id"]
    assert refusal(await night.host().post("/goals?type=trigger-private", json=body)) == (409, "private-goal-open")
    gifts = [
        night.held(goal_id, ids.new_id(), escrow_id=f"trigger_private:{goal_id}", earning_id=ids.new_id(),
                   amount_diamonds=60)
        for _ in range(3)
    ]  # fmt: skip

    await night.solo.hear(*gifts)

    assert await night.told() == [
        "goal.created", "goal.progressed", "goal.progressed", "goal.ended", "goal.contribution_rejected",
    ]  # fmt: skip
    assert ((await night.goal(goal_id)).outcome, (await night.stage()).private_id) == ("completed", None)
    assert (await night.host().post("/goals?type=trigger-private", json=body)).status_code == 201


async def test_a_karaoke_gift_is_a_goal_once(night: Night) -> None:
    gift = night.song(ids.new_id())

    await night.solo.hear(gift, gift)
    (created,) = await night.solo.take()
    assert refusal(await night.host().delete(f"/goals/{created.subject}")) == (409, "not-deletable")
    await night.later(60)

    (ended,) = await night.solo.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.kind, ended.outcome) == ("KaraokeGoal", "completed")


async def test_a_song_for_who_cannot_watch_is_no_goal(night: Night) -> None:
    partner, other = ids.new_id(), ids.new_id()
    await night.exclusive(partner)
    await night.told()
    await night.solo.hear(night.song(other), night.song(partner))

    (created,) = await night.solo.take()
    assert isinstance(created, GoalCreatedV1)
    assert created.context.sender_id == partner


async def test_a_song_after_the_sessions_maximum_is_no_goal(night: Night) -> None:
    night.solo.clock.advance(43_200)

    await night.solo.hear(night.song(ids.new_id()))

    assert await night.told() == []


@pytest.mark.parametrize("tickets", [0, 10])
async def test_a_streamer_gives_up_a_show_once(night: Night, tickets: int) -> None:
    funding_id = await night.ended_funding(tickets)
    await night.told()

    assert (await night.host().delete(f"/goals/{funding_id}")).status_code == 204

    (lapsed,) = await night.solo.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert lapsed.reason == "given_up"
    assert refusal(await night.host().delete(f"/goals/{funding_id}")) == (409, "goal-not-active")
    assert refusal(await night.perform(funding_id)) == (409, "funding-lapsed")
    await night.later(3_600)
    await night.solo.hear(night.ended())
    assert await night.told() == []


async def test_who_may_not_give_up_a_show(night: Night) -> None:
    funding_id, stranger = await night.ended_funding(10), night.solo.client(ids.new_id(), "CREATOR")
    other = night.another()
    await night.solo.hear(other.started())
    performed_id, _ = await other.show()
    await night.told()

    assert refusal(await stranger.delete(f"/goals/{funding_id}")) == (404, "goal-not-found")
    assert refusal(await night.viewer(ids.new_id()).delete(f"/goals/{funding_id}")) == (403, "scope-missing")
    assert refusal(await other.host().delete(f"/goals/{performed_id}")) == (409, "goal-not-active")
    await night.solo.hear(night.ended())
    assert refusal(await night.host().delete(f"/goals/{funding_id}")) == (409, "goal-not-active")


async def test_a_blocked_buyer_is_given_back_whatever_was_bought(night: Night) -> None:
    buyer = ids.new_id()
    funding_id, private_id = await night.funding(), await night.private_goal(100)
    await night.told()

    await night.solo.hear(night.blocked(buyer), night.ticket(funding_id, buyer=buyer), night.gift(private_id, buyer, 7))

    answers = await night.solo.take()
    assert [event.model_dump()["reason"] for event in answers] == ["viewer_blocked"] * 2


async def test_a_ticket_held_in_time_counts_although_it_is_read_late(night: Night) -> None:
    funding_id = await night.funding()
    night.solo.clock.advance(599.999)
    held_at = night.solo.now
    night.solo.clock.advance(20)
    await night.told()

    async with night.solo.tx() as tx:
        tx.cause = night.solo.cause(held_at)
        await handlers.answer_hold(night.ticket(funding_id, 10), tx)
    await night.solo.run_timers()

    assert await night.told() == ["goal.progressed", "goal.ended"]
    assert (await night.goal(funding_id)).outcome == "funded"


# What was given back


async def test_what_was_given_back_leaves_the_leaderboard_once(night: Night) -> None:
    funding_id, one, two = await night.funding(), ids.new_id(), ids.new_id()
    first, second, third = (night.ticket(funding_id, count, buyer) for count, buyer in ((3, one), (4, two), (2, one)))
    await night.solo.hear(first, second, third)
    await night.answer(funding_id, agree=None)
    path = f"/goals/{funding_id}/leaderboard"

    for _ in range(2):
        await night.solo.hear(night.given_back(first, "no_show"), first)

    lines = (await night.host().get(path)).json()["items"]
    assert [(line["user_id"], line["count"], line["amount_diamonds"]) for line in lines] == [(two, 4, 28), (one, 2, 14)]
    assert (await night.goal(funding_id)).progress == 9  # how it came out stays
    await night.solo.hear(night.given_back(second, "no_show"), night.given_back(third, "no_show"))
    assert (await night.host().get(path)).json()["items"] == []


async def test_a_refund_read_before_its_hold_comes_to_the_same(night: Night) -> None:
    funding_id, buyer = await night.funding(), ids.new_id()
    ticket = night.ticket(funding_id, 3, buyer)
    await night.told()

    await night.solo.hear(night.given_back(ticket, "blocked"), ticket, ticket, apart=True)

    assert await night.told() == ["goal.contribution_rejected"]
    assert (await night.goal(funding_id)).progress == 0
    assert (await night.host().get(f"/goals/{funding_id}/leaderboard")).json()["items"] == []


async def test_what_did_not_count_takes_nothing_away(night: Night) -> None:
    funding_id, buyer = await night.funding(), ids.new_id()
    await night.solo.hear(night.ticket(funding_id, 3, buyer))
    await night.answer(funding_id, agree=None)
    late = night.ticket(funding_id, 2, buyer)

    await night.solo.hear(late, night.given_back(late, "contribution_rejected"))

    (line,) = (await night.host().get(f"/goals/{funding_id}/leaderboard")).json()["items"]
    assert (line["count"], line["amount_diamonds"]) == (3, 21)


async def test_what_a_blocked_viewer_got_back_does_not_fund_a_show(night: Night) -> None:
    funding_id, private_id, buyer = await night.funding(), await night.private_goal(100), ids.new_id()
    ticket, gift = night.ticket(funding_id, 10, buyer), night.gift(private_id, buyer, 60)
    await night.solo.hear(ticket, gift)

    await night.solo.hear(*(night.given_back(held, "blocked") for held in (ticket, gift, ticket)))

    assert [(await night.goal(goal_id)).progress for goal_id in (funding_id, private_id)] == [0, 0]
    await night.later(600)
    assert (await night.goal(funding_id)).outcome == "unfunded"


# Refusals


async def test_two_shows_at_once_and_an_invitation_during_a_show_are_refused(night: Night) -> None:
    open_id = await night.invitation(ids.new_id())
    await night.funding()

    again = await night.offer()
    assert refusal(again) == (409, "stage-taken")
    assert refusal(await night.ask(ids.new_id())) == (409, "stage-taken")
    assert refusal(await night.answer(open_id, agree=True)) == (409, "stage-taken")


async def test_a_funding_during_an_agreement_is_refused(night: Night) -> None:
    await night.agreement(ids.new_id())

    again = await night.offer()

    assert refusal(again) == (409, "stage-taken")


async def test_a_funding_has_one_show_when_it_is_over(night: Night) -> None:
    funding_id = await night.funding()
    assert refusal(await night.perform(funding_id)) == (409, "funding-not-over")
    await night.host().delete(f"/goals/{funding_id}")
    assert refusal(await night.perform(ids.new_id())) == (404, "funding-not-found")
    assert refusal(await night.perform(funding_id, nbf=unix(night.solo.now) + 601)) == (422, "begins-too-late")
    assert (await night.perform(funding_id, nbf=unix(night.solo.now) + 600)).status_code == 201
    assert refusal(await night.perform(funding_id)) == (409, "show-exists")


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
    night: Night, changes: dict[str, Any], context: dict[str, Any], field: str
) -> None:
    answer = await night.offer(changes, **context)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await night.solo.published() == []


async def test_a_funding_that_ends_in_25_hours_is_refused(night: Night) -> None:
    offered = await night.offer({"exp": unix(night.solo.now) + 25 * 3_600})

    assert refusal(offered) == (422, "deadline-out-of-range")


async def test_a_regular_ticket_ignores_the_discount(night: Night) -> None:
    created = await night.offer(ticket_product_type="regular", discount_percentage=100)

    assert created.status_code == 201
    assert (await night.goal(created.json()["goal_id"])).context.discount_percentage is None


async def test_only_streamers_make_goals_of_their_session(night: Night) -> None:
    elsewhere = night.another()
    await night.solo.hear(elsewhere.started())
    viewer_only = night.viewer(night.streamer)
    body = {"context": {"session_id": night.session_id, "funding_goal_id": ids.new_id()}}

    assert refusal(await viewer_only.post("/goals?type=show", json=body)) == (403, "scope-missing")
    assert refusal(await elsewhere.offer(session_id=night.session_id)) == (403, "not-your-session")


# Many


async def test_the_leaderboard_is_paged_with_ranks_and_ties_go_to_the_earlier(night: Night) -> None:
    funding_id = await night.funding()
    big, early, late = ids.new_id(), ids.new_id(), ids.new_id()
    for buyer, count in ((late, 1), (early, 2), (big, 5), (late, 1)):
        night.solo.clock.advance(1)
        await night.solo.hear(night.ticket(funding_id, count, buyer))
    path = f"/goals/{funding_id}/leaderboard?limit=2"

    first = (await night.host().get(path)).json()
    second = (await night.host().get(f"{path}&after={first['next']}")).json()

    lines = [*first["items"], *second["items"]]
    assert [(line["user_id"], line["rank"], line["count"], line["amount_diamonds"]) for line in lines] == [
        (big, 1, 5, 35),
        (early, 2, 2, 14),
        (late, 3, 2, 14),
    ]
    assert second["next"] is None


async def test_many_tickets_in_a_batch_count_one_by_one(night: Night) -> None:
    funding_id = await night.funding()
    await night.told()
    tickets = [night.ticket(funding_id) for _ in range(300)]

    await night.solo.hear(*tickets, *tickets[:50])

    counted = [event for event in await night.solo.take() if isinstance(event, GoalProgressedV1)]
    assert [event.progress for event in counted] == list(range(1, 301))
    assert [event.reached for event in counted].index(True) == 9


async def test_no_document_is_left_open_by_an_ended_session(night: Night) -> None:
    await night.funding()
    await night.solo.hear(night.ended(night.solo.now + timedelta(seconds=1)))

    async with night.solo.tx() as tx:
        assert await store.open_goals(tx, night.session_id) == []
