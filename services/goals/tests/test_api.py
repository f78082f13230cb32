"""Commands and queries over HTTP: what they answer, and that a refusal changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.clock import unix
from contracts import GoalEndedV1, GoalExtendedV1
from goals.domain.invitation import KEPT_FOR_PATRONS, OPEN_INVITATIONS_MAX

if TYPE_CHECKING:
    import httpx

    from services.goals.tests.conftest import LiveSession, LiveSessionOf

NOBODY = "f" * 24


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["type"].removeprefix("/problems/")


# Invitations


async def test_an_invitation_is_accepted_with_the_id_to_follow(live: LiveSession) -> None:
    viewer = ids.new_id()

    asked = await live.ask(viewer, duration=120)

    assert asked.status_code == 202
    assert asked.json()["amount_diamonds"] == 40
    goal = (await live.viewer(viewer).get(f"/goals/{asked.json()['goal_id']}")).json()
    assert goal == {
        "id": asked.json()["goal_id"],
        "kind": "TriggerExclusiveGoal",
        "active": False,
        "state": "proposed",
        "conditions": {"session_id": live.session_id, "exclusive_to": viewer},
        "context": {
            "type": "trigger-exclusive",
            "session_id": live.session_id,
            "exclusive_to": viewer,
            "duration": 120,
        },
        "levels": [],
        "progress": 0,
        "nbf": None,
        "exp": unix(live.harness.now) + 30,
        "metadata": {"user_id": live.streamer, "prepaid_duration": 120, "agreed": None},
        "outcome": None,
        "ended_at": None,
        "lapsed": False,
        "amount_diamonds": 40,
        "reason": None,
    }


async def test_a_viewer_has_one_open_invitation_in_a_session(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await live.proposal(viewer)

    assert refusal(await live.ask(viewer)) == (409, "invitation-open")
    await live.harness.handle(live.held(goal_id, viewer))
    assert refusal(await live.ask(viewer)) == (409, "invitation-open")
    await live.later(30 + 60)
    assert (await live.ask(viewer)).status_code == 202


async def test_after_a_refusal_the_viewer_waits_300_seconds(live: LiveSession) -> None:
    viewer = ids.new_id()
    await live.answer(await live.invitation(viewer), agree=False)

    asked = await live.ask(viewer)
    assert refusal(asked) == (429, "refused-recently")
    assert asked.headers["retry-after"] == "300"
    live.harness.clock.advance(299.5)
    assert (await live.ask(viewer)).headers["retry-after"] == "1"
    live.harness.clock.advance(0.5)
    assert (await live.ask(viewer)).status_code == 202


async def test_a_refusal_in_one_session_is_none_in_another(live: LiveSession) -> None:
    viewer, other = ids.new_id(), live.another()
    await live.harness.handle(other.started())
    await live.answer(await live.invitation(viewer), agree=False)

    assert (await other.ask(viewer)).status_code == 202


async def test_who_may_not_ask(live: LiveSession) -> None:
    blocked, unblocked = ids.new_id(), ids.new_id()
    await live.harness.handle(live.blocked(blocked), live.blocked(unblocked), live.unblocked(unblocked))

    assert refusal(await live.ask(live.streamer)) == (403, "own-invitation")
    assert refusal(await live.ask(blocked)) == (403, "blocked-by-streamer")
    assert (await live.ask(unblocked)).status_code == 202


async def test_a_session_without_a_price_sells_no_exclusive(live: LiveSession) -> None:
    await live.harness.handle(live.updated(None))

    assert refusal(await live.ask(ids.new_id())) == (409, "no-exclusive-price")


async def test_an_ended_session_takes_no_command(live: LiveSession) -> None:
    open_id = await live.invitation(ids.new_id())
    agreed = live.another()
    await live.harness.handle(agreed.started())
    agreed_id = await agreed.agreement(ids.new_id())
    await live.harness.handle(live.ended(), agreed.ended())

    assert refusal(await live.ask(ids.new_id())) == (409, "session-over")
    assert refusal(await live.answer(open_id, agree=True)) == (409, "goal-not-active")
    assert refusal(await agreed.start(agreed_id)) == (409, "session-over")


async def test_at_most_150_strangers_have_an_open_invitation_in_a_session(live: LiveSession) -> None:
    first = ids.new_id()
    goal_id = await live.proposal(first)
    for _ in range(OPEN_INVITATIONS_MAX - KEPT_FOR_PATRONS - 1):
        await live.proposal(ids.new_id())

    assert refusal(await live.ask(ids.new_id())) == (409, "too-many-invitations")
    await live.harness.handle(live.not_held(goal_id, first))
    assert (await live.ask(ids.new_id())).status_code == 202


async def test_who_has_paid_this_streamer_before_has_places_kept(live: LiveSession) -> None:
    buyer, payer, stranger = ids.new_id(), ids.new_id(), ids.new_id()
    await live.harness.handle(live.kept(buyer), live.kept(buyer), live.spent(payer))
    for _ in range(OPEN_INVITATIONS_MAX - KEPT_FOR_PATRONS):
        await live.proposal(ids.new_id())

    assert refusal(await live.ask(stranger)) == (409, "too-many-invitations")
    assert [(await live.ask(patron)).status_code for patron in (buyer, payer)] == [202, 202]
    elsewhere = live.another()
    await live.harness.handle(elsewhere.started(), elsewhere.kept(stranger))
    assert refusal(await live.ask(stranger)) == (409, "too-many-invitations")


async def test_more_than_was_agreed_is_never_paid(live: LiveSession) -> None:
    viewer = ids.new_id()
    body = {"context": {"session_id": live.session_id, "duration": 120}, "max_amount_diamonds": 40}
    await live.harness.handle(live.updated(21))
    ask = live.viewer(viewer).post

    dearer = await ask("/goals?type=trigger-exclusive", json=body)

    assert refusal(dearer) == (409, "price-changed")
    assert dearer.json()["amount_diamonds"] == 42
    assert (await ask("/goals?type=trigger-exclusive", json=body | {"max_amount_diamonds": 42})).status_code == 202
    for amount in (-1, 1.5, "42", 10**24):
        asked = await ask("/goals?type=trigger-exclusive", json=body | {"max_amount_diamonds": amount})
        assert refusal(asked) == (422, "invalid-request")


async def test_without_an_answer_the_wait_doubles_in_a_row(live: LiveSession) -> None:
    viewer = ids.new_id()
    waits = []
    for _ in range(4):
        await live.invitation(viewer)
        await live.later(30)
        asked = await live.ask(viewer)
        assert refusal(asked) == (429, "unanswered-recently")
        waits.append(asked.headers["retry-after"])
        live.harness.clock.advance(int(waits[-1]))

    assert waits == ["60", "120", "240", "300"]


async def test_without_diamonds_the_next_proposal_waits(live: LiveSession) -> None:
    viewer, other = ids.new_id(), live.another()
    await live.harness.handle(other.started())
    await live.harness.handle(live.not_held(await live.proposal(viewer), viewer))

    asked, elsewhere = await live.ask(viewer), await other.ask(viewer)

    assert refusal(asked) == refusal(elsewhere) == (429, "unpaid-recently")
    assert asked.headers["retry-after"] == elsewhere.headers["retry-after"] == "30"
    live.harness.clock.advance(30)
    assert (await live.ask(viewer)).status_code == 202


async def test_a_viewer_withdraws_an_invitation_and_waits_like_who_got_no_answer(live: LiveSession) -> None:
    viewer, other = ids.new_id(), ids.new_id()
    goal_id = await live.invitation(viewer)
    live.harness.clock.advance(7)
    await live.published()

    assert refusal(await live.viewer(other).delete(f"/goals/{goal_id}")) == (403, "scope-missing")
    assert (await live.viewer(viewer).delete(f"/goals/{goal_id}")).status_code == 204

    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.outcome, ended.ended_at) == ("cancelled", live.harness.now)
    assert (await live.stage()).open_invitations == 0
    assert refusal(await live.viewer(viewer).delete(f"/goals/{goal_id}")) == (409, "goal-not-active")
    assert refusal(await live.ask(viewer)) == (429, "unanswered-recently")


async def test_only_what_is_open_is_withdrawn(live: LiveSession) -> None:
    proposer, partner = ids.new_id(), ids.new_id()
    proposal_id = await live.proposal(proposer)
    _, exclusive_id = await live.exclusive(partner)

    assert refusal(await live.viewer(proposer).delete(f"/goals/{proposal_id}")) == (409, "goal-not-active")
    assert refusal(await live.viewer(partner).delete(f"/goals/{exclusive_id}")) == (403, "scope-missing")


@pytest.mark.parametrize("over_at", [43_200, 50_000])
async def test_a_session_is_over_at_its_maximum_although_nobody_has_told(live: LiveSession, over_at: int) -> None:
    open_id = await live.invitation(ids.new_id())
    live.harness.clock.advance(over_at)

    assert refusal(await live.ask(ids.new_id())) == (409, "session-over")
    assert refusal(await live.offer()) == (409, "session-over")
    assert refusal(await live.answer(open_id, agree=False)) == (409, "session-over")


async def test_what_cannot_end_before_the_sessions_maximum_is_refused(live: LiveSession) -> None:
    live.harness.clock.advance(43_200 - 390)

    assert refusal(await live.offer({"exp": unix(live.harness.now) + 331})) == (409, "session-too-short")
    assert refusal(await live.ask(ids.new_id(), duration=360)) == (409, "session-too-short")
    assert (await live.offer({"exp": unix(live.harness.now) + 330})).status_code == 201
    other = live.another()
    await live.harness.handle(other.started())
    live.harness.clock.advance(43_200 - 360)
    assert (await other.ask(ids.new_id(), duration=300)).status_code == 202
    assert refusal(await other.ask(ids.new_id(), duration=360)) == (409, "session-too-short")


async def test_what_could_not_be_performed_any_more_is_not_agreed_to(live: LiveSession) -> None:
    live.harness.clock.advance(43_200 - 370)
    invitation_id = await live.invitation(ids.new_id())
    live.harness.clock.advance(10.001)

    assert refusal(await live.answer(invitation_id, agree=True)) == (409, "session-too-short")
    assert (await live.answer(invitation_id, agree=False)).status_code == 204


async def test_after_a_private_goal_was_reached_it_is_performed_first(live: LiveSession) -> None:
    goal_id = await live.private_goal(target=100)
    invitation_id, viewer = await live.invitation(ids.new_id()), ids.new_id()
    await live.harness.handle(live.gift(goal_id, viewer, 100))
    live.harness.clock.advance(29)

    assert refusal(await live.answer(invitation_id, agree=True)) == (409, "private-goal-owed")
    live.harness.clock.advance(26)
    later_id = await live.invitation(ids.new_id())
    live.harness.clock.advance(4.999)
    assert refusal(await live.answer(later_id, agree=True)) == (409, "private-goal-owed")
    live.harness.clock.advance(0.001)
    assert (await live.answer(later_id, agree=True)).status_code == 204


async def test_an_exclusive_is_extended_to_60_steps_ahead_at_most(live: LiveSession) -> None:
    _, exclusive_id = await live.exclusive(ids.new_id())  # 6 steps
    for _ in range(54):
        assert (await live.extend(exclusive_id)).status_code == 204

    assert refusal(await live.extend(exclusive_id)) == (409, "extended-enough")
    live.harness.clock.advance(60)
    assert (await live.extend(exclusive_id)).status_code == 204


async def test_a_session_nobody_has_heard_of_is_not_found(live: LiveSession) -> None:
    unknown = live.another()

    assert refusal(await unknown.ask(ids.new_id())) == (404, "session-not-found")
    assert refusal(await unknown.start(NOBODY)) == (404, "session-not-found")


@pytest.mark.parametrize("duration", [-60, 0, 30, 61, 3_660, 10**24, 60.5, "60", True])
async def test_a_duration_is_1_to_60_whole_steps(live: LiveSession, duration: Any) -> None:
    context = {"session_id": live.session_id, "duration": duration}

    asked = await live.viewer(NOBODY).post("/goals?type=trigger-exclusive", json={"context": context})

    assert asked.status_code == 422
    assert asked.json()["errors"][0]["field"] == "context.duration"
    assert await live.harness.published() == []


# Answers


async def test_an_agreement_is_told_with_its_moment_and_its_client(live: LiveSession) -> None:
    goal_id = await live.invitation(ids.new_id())
    live.harness.clock.advance(7)
    await live.published()

    answered = await live.host().request(
        "DELETE", f"/goals/{goal_id}", json={"agree": True}, headers={"x-client-id": "phone-1"}
    )

    assert (answered.status_code, answered.content) == (204, b"")
    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.outcome, ended.triggerer, ended.metadata.agreed) == ("agreed", "phone-1", live.harness.now)
    assert ended.exp == ended.ended_at == live.harness.now
    assert ended.metadata.prepaid_duration == 300


async def test_an_agreement_rules_out_every_invitation_then_open_for_good(live: LiveSession) -> None:
    other = ids.new_id()
    ruled_out = await live.invitation(other)
    await live.agreement(ids.new_id())

    assert refusal(await live.answer(ruled_out, agree=True)) == (409, "stage-taken")
    assert refusal(await live.ask(ids.new_id())) == (409, "stage-taken")


async def test_a_ruled_out_invitation_stays_so_when_the_stage_is_free_again(live_session: LiveSessionOf) -> None:
    live = await live_session(EXCLUSIVE_WINDOW_SECONDS=10)
    ruled_out = await live.invitation(ids.new_id())
    await live.agreement(ids.new_id())
    await live.later(10)
    assert (await live.stage()).holder_id is None

    assert refusal(await live.answer(ruled_out, agree=True)) == (409, "invitation-ruled-out")
    later = await live.invitation(ids.new_id())
    assert (await live.answer(later, agree=True)).status_code == 204
    assert (await live.answer(ruled_out, agree=False)).status_code == 204


async def test_agreeing_at_exp_is_too_late_and_refusing_then_is_a_time_out(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await live.invitation(viewer)
    live.harness.clock.advance(30)

    assert refusal(await live.answer(goal_id, agree=True)) == (409, "invitation-expired")
    assert (await live.answer(goal_id, agree=False)).status_code == 204

    goal = await live.goal(goal_id)
    assert goal.outcome == "timed_out"
    assert goal.ended_at == live.harness.now
    assert refusal(await live.ask(viewer)) == (429, "unanswered-recently")


async def test_who_may_not_end_a_goal(live: LiveSession) -> None:
    goal_id = await live.invitation(viewer := ids.new_id())
    before = await live.harness.snapshot()
    stranger = live.harness.client(ids.new_id(), "CREATOR")

    assert refusal(await live.harness.client().request("DELETE", f"/goals/{goal_id}")) == (401, "token-missing")
    answer = {"agree": True}
    assert refusal(await live.viewer(viewer).request("DELETE", f"/goals/{goal_id}", json=answer)) == (
        403,
        "scope-missing",
    )
    assert refusal(await stranger.request("DELETE", f"/goals/{goal_id}", json=answer)) == (404, "goal-not-found")
    assert refusal(await live.host().request("DELETE", f"/goals/{NOBODY}", json=answer)) == (404, "goal-not-found")
    assert refusal(await live.host().request("DELETE", "/goals/not-an-id", json=answer)) == (422, "invalid-request")
    assert await live.harness.snapshot() == before


async def test_an_invitation_is_answered_with_true_or_false(live: LiveSession) -> None:
    goal_id = await live.invitation(ids.new_id())
    host = live.host()

    assert refusal(await host.delete(f"/goals/{goal_id}")) == (422, "answer-missing")
    assert refusal(await live.answer(goal_id, agree=None)) == (422, "answer-missing")
    for agree in ("true", 1, {"$ne": None}):
        assert refusal(await host.request("DELETE", f"/goals/{goal_id}", json={"agree": agree})) == (
            422,
            "invalid-request",
        )
    assert (await live.goal(goal_id)).active


async def test_a_goal_ends_once(live: LiveSession) -> None:
    goal_id = await live.agreement(ids.new_id())

    for agree in (True, False):
        assert refusal(await live.answer(goal_id, agree=agree)) == (409, "goal-not-active")
    assert (await live.published()).count("goal.ended") == 1


async def test_a_proposal_is_not_answered_yet(live: LiveSession) -> None:
    goal_id = await live.proposal(ids.new_id())

    assert refusal(await live.answer(goal_id, agree=False)) == (409, "goal-not-active")


# Exclusives


async def test_an_exclusive_is_created_once(live: LiveSession) -> None:
    invitation_id = await live.agreement(ids.new_id())
    nbf = unix(live.harness.now) + 20.25

    created = await live.start(invitation_id, nbf=nbf, levels=[{"target": 5}, {"title": "more", "target": 9}])

    assert created.status_code == 201
    goal = (await live.host().get(f"/goals/{created.json()['goal_id']}")).json()
    assert (goal["nbf"], goal["exp"]) == (nbf, unix(live.harness.now) + 360)
    assert [level["target"] for level in goal["levels"]] == [5, 9]
    assert goal["context"]["trigger_exclusive_goal_id"] == invitation_id
    assert refusal(await live.start(invitation_id)) == (409, "exclusive-exists")


async def test_goal_is_another_name_of_goals(live: LiveSession) -> None:
    invitation_id = await live.agreement(ids.new_id())
    context = {"session_id": live.session_id, "trigger_exclusive_goal_id": invitation_id}

    created = await live.host().post("/goal?type=exclusive", json={"context": context})

    assert created.status_code == 201


async def test_who_may_not_create_an_exclusive(live: LiveSession) -> None:
    invitation_id, elsewhere = await live.agreement(viewer := ids.new_id()), live.another()
    await live.harness.handle(elsewhere.started())
    context = {"session_id": live.session_id, "trigger_exclusive_goal_id": invitation_id}
    body = {"context": context}
    await live.published()

    assert refusal(await live.viewer(viewer).post("/goals?type=exclusive", json=body)) == (403, "scope-missing")
    stranger = live.harness.client(elsewhere.streamer, "CREATOR")
    assert refusal(await stranger.post("/goals?type=exclusive", json=body)) == (403, "not-your-session")
    assert refusal(await elsewhere.start(invitation_id)) == (404, "invitation-not-found")
    assert refusal(await live.start(NOBODY)) == (404, "invitation-not-found")
    assert await live.published() == []


async def test_only_an_agreed_invitation_is_followed_by_an_exclusive(live: LiveSession) -> None:
    open_id, refused_id = await live.invitation(ids.new_id()), await live.invitation(ids.new_id())
    await live.answer(refused_id, agree=False)

    assert refusal(await live.start(open_id)) == (409, "invitation-not-agreed")
    assert refusal(await live.start(refused_id)) == (409, "invitation-not-agreed")


@pytest.mark.parametrize("timers_ran", [True, False])
async def test_after_60_seconds_it_is_too_late(live: LiveSession, *, timers_ran: bool) -> None:
    invitation_id = await live.agreement(ids.new_id())
    live.harness.clock.advance(60.001)
    if timers_ran:
        await live.harness.run_timers()

    assert refusal(await live.start(invitation_id)) == (409, "agreement-lapsed")


@pytest.mark.parametrize(("ran", "outcome"), [(293, "cancelled"), (294, "completed"), (300, "completed")])
async def test_a_streamer_may_end_an_exclusive_when_the_prepaid_time_has_run(
    live: LiveSession, ran: int, outcome: str
) -> None:
    _, exclusive_id = await live.exclusive(ids.new_id())
    await live.published()
    live.harness.clock.advance(ran)

    assert (await live.host().delete(f"/goals/{exclusive_id}")).status_code == 204

    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert ended.outcome == outcome
    assert (await live.stage()).holder_id is None


async def test_extending_gives_one_step_more(live: LiveSession) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)
    exp = (await live.goal(exclusive_id)).exp
    await live.published()

    assert (await live.extend(exclusive_id)).status_code == 204

    (extended,) = await live.harness.take()
    assert isinstance(extended, GoalExtendedV1)
    assert (extended.viewers, extended.nbf, extended.duration) == ((viewer,), live.harness.now, 60)
    assert extended.exp == exp + timedelta(seconds=60)
    assert extended.payment_id is None


async def test_what_cannot_be_extended(live: LiveSession) -> None:
    invitation_id, exclusive_id = await live.exclusive(viewer := ids.new_id())
    stranger = live.harness.client(ids.new_id(), "CREATOR")

    assert refusal(await live.extend(invitation_id)) == (409, "not-exclusive")
    assert refusal(await live.extend(NOBODY)) == (404, "goal-not-found")
    assert refusal(await stranger.put(f"/goals/{exclusive_id}/extend")) == (404, "goal-not-found")
    assert refusal(await live.viewer(viewer).put(f"/goals/{exclusive_id}/extend")) == (403, "scope-missing")
    await live.host().delete(f"/goals/{exclusive_id}")
    assert refusal(await live.extend(exclusive_id)) == (409, "goal-not-active")


# Queries


async def test_goals_are_listed_by_session_in_the_order_of_writing(live: LiveSession) -> None:
    goal_ids = []
    for _ in range(5):
        goal_ids.append(await live.invitation(ids.new_id()))
        live.harness.clock.advance(1)
    await live.answer(goal_ids[1], agree=False)
    client = live.viewer(NOBODY)

    async def listed(query: str) -> list[str]:
        found, after = [], ""
        while after is not None:
            page = (await client.get(f"/goals?session_id={live.session_id}&limit=2{query}{after}")).json()
            found += [item["id"] for item in page["items"]]
            after = page["next"] and f"&after={page['next']}"
        return found

    assert await listed("") == goal_ids
    assert await listed("&active=true") == [goal_ids[0], *goal_ids[2:]]
    assert await listed("&active=false") == [goal_ids[1]]
    assert (await client.get(f"/goals?session_id={NOBODY}")).json() == {"items": [], "next": None, "last": None}
    assert refusal(await client.get("/goals")) == (422, "invalid-request")
    assert refusal(await client.get(f"/goals?session_id={live.session_id}&limit=101")) == (422, "invalid-request")
    assert refusal(await client.get(f"/goals/{NOBODY}")) == (404, "goal-not-found")


async def test_one_s_own_goals_are_those_made_and_those_invited_to(live: LiveSession) -> None:
    viewer = ids.new_id()
    invited, other = [await live.invitation(one) for one in (viewer, ids.new_id())]

    async def mine(user: httpx.AsyncClient, query: str = "") -> list[str]:
        return [goal["id"] for goal in (await user.get(f"/goals?mine=true{query}")).json()["items"]]

    assert await mine(live.viewer(viewer)) == [invited]
    assert await mine(live.host()) == [invited, other]
    assert await mine(live.host(), "&order=desc") == [other, invited]
    assert await mine(live.host(), "&active=false") == []
    assert await mine(live.viewer(NOBODY)) == []
    for both in ("mine=true&session_id=" + live.session_id, "mine=false", ""):
        assert refusal(await live.host().get(f"/goals?{both}")) == (422, "invalid-request")


async def test_the_leaderboard_of_an_invitation_is_who_made_it(live: LiveSession) -> None:
    goal_id = await live.invitation(viewer := ids.new_id())
    client = live.viewer(viewer)

    page = (await client.get(f"/goals/{goal_id}/leaderboard")).json()
    later = (await client.get(f"/goals/{goal_id}/leaderboard?after={page['last']}")).json()

    assert later == {"items": [], "next": None, "last": page["last"]}
    assert page == {
        "items": [{"user_id": viewer, "rank": 1, "count": 1, "amount_diamonds": 100}],
        "next": None,
        "last": page["last"],
    }
    assert refusal(await client.get(f"/goals/{NOBODY}/leaderboard")) == (404, "goal-not-found")


# Bad input

SESSION_ID = {"session_id": NOBODY}
AGREED = {"trigger_exclusive_goal_id": NOBODY}


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", {"context": SESSION_ID}),
        ("type=nonsense", {"context": SESSION_ID}),
        ("type=trigger-exclusive", None),
        ("type=trigger-exclusive", {}),
        ("type=trigger-exclusive", []),
        ("type=trigger-exclusive", {"context": {"session_id": {"$ne": None}}}),
        ("type=trigger-exclusive", {"context": {"session_id": "xyz"}}),
        ("type=trigger-exclusive", {"context": SESSION_ID | {"more": 1}}),
        ("type=trigger-exclusive", {"context": SESSION_ID, "metadata": {}}),
        ("type=exclusive", {"context": SESSION_ID}),
        ("type=exclusive", {"context": SESSION_ID | AGREED, "nbf": "soon"}),
        ("type=exclusive", {"context": SESSION_ID | AGREED, "nbf": 10**24}),
        ("type=exclusive", {"context": SESSION_ID | AGREED, "nbf": -1}),
        ("type=exclusive", {"context": SESSION_ID | AGREED, "levels": [{"target": 1}] * 11}),
        ("type=exclusive", {"context": SESSION_ID | AGREED, "levels": [{"target": 10**24}]}),
        ("type=exclusive", {"context": SESSION_ID | AGREED, "levels": [{"target": 1, "title": ""}]}),
        ("type=exclusive", {"context": SESSION_ID | AGREED, "levels": [{"target": 1, "title": "x" * 101}]}),
    ],
)
async def test_bad_input_names_the_field_and_changes_nothing(live: LiveSession, query: str, body: Any) -> None:
    before = await live.harness.snapshot()

    answer = await live.host().post(f"/goals?{query}", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
    assert await live.harness.snapshot() == before


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
async def test_numbers_that_are_none_are_refused(live: LiveSession, number: bytes) -> None:
    body = b'{"context": {"session_id": "%b", "trigger_exclusive_goal_id": "%b"}, "nbf": %b}'

    answer = await live.host().post(
        "/goals?type=exclusive",
        content=body % (NOBODY.encode(), NOBODY.encode(), number),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422


async def test_the_same_command_with_the_same_key_is_done_once(live: LiveSession) -> None:
    viewer = ids.new_id()
    body = {"context": {"session_id": live.session_id}}
    headers = {"idempotency-key": "once"}

    first, second = [
        await live.viewer(viewer).post("/goals?type=trigger-exclusive", json=body, headers=headers) for _ in range(2)
    ]

    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert await live.published() == ["goal.proposed"]
