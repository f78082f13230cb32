"""What a session sells, to whom, for how much and until when (SPEC §2, §4)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.kafka.parking import PARKED_KEYS, ParkedKey
from contracts import (
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
)
from sessions.store import load

if TYPE_CHECKING:
    import httpx

    from services.sessions.tests.conftest import LiveSession, LiveSessionOf

STEP = 60
MAX = 20 * STEP


def slug(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


async def pay(live: LiveSession, steps: int = 1, user_id: str | None = None, **body: Any) -> httpx.Response:
    payer = live.harness.client(user_id or live.viewer_id)
    return await payer.post(f"/sessions/{live.session_id}/pay", json={"duration": steps * STEP, **body})


def streamer(live: LiveSession) -> httpx.AsyncClient:
    return live.harness.client(live.streamer_id, "CREATOR")


# -- whose, how much ----------------------------------------------------------------------------------------------


async def test_nobody_pays_themself(live: LiveSession) -> None:
    assert slug(await pay(live, user_id=live.streamer_id)) == (403, "own-session")
    alias = f"/streams/{live.streamer_id}/pay"
    assert slug(await streamer(live).post(alias, json={"duration": STEP})) == (403, "own-session")
    assert await live.harness.take() == []


async def test_minutes_cost_no_more_than_was_agreed_to(live: LiveSession) -> None:
    dearer = await pay(live, 3, max_amount_diamonds=29)

    assert slug(dearer) == (409, "price-changed")
    assert dearer.json()["amount_diamonds"] == 30
    assert await live.harness.take() == []
    agreed = await pay(live, 3, max_amount_diamonds=30)
    assert (agreed.status_code, agreed.json()["amount_diamonds"]) == (202, 30)


async def test_a_request_for_money_expires_and_says_so(live_session: LiveSessionOf) -> None:
    live = await live_session(PROPOSAL_SECONDS=7.5)
    asked = await pay(live)
    (requested,) = await live.published(SessionPaymentRequestedV1)
    assert requested.exp == live.at(7.5)
    payment_id = asked.json()["payment_id"]
    async with live.harness.tx() as tx:
        payment = await load.payment(tx, payment_id)

    await live.harness.handle(live.not_paid(payment).model_copy(update={"reason": "expired"}))

    seen = (await live.harness.client(live.viewer_id).get(f"/payments/{payment_id}")).json()
    assert (seen["status"], seen["reason"], seen["amount_diamonds"]) == ("failed", "expired", 10)


# -- until when ---------------------------------------------------------------------------------------------------


async def test_a_session_is_over_as_soon_as_its_streamer_wanted_and_says_so_before(live_session: LiveSessionOf) -> None:
    live = await live_session(SESSION_MAX_SECONDS=MAX)
    sooner = live.harness.client(ids.new_id(), "CREATOR")
    body = {"prices": {"sd": 10}, "max_seconds": 3 * STEP}
    path = f"/sessions/{(await sooner.post('/sessions', json=body)).json()['session_id']}"
    (started,) = await live.published(SessionStartedV1)
    assert started.exp == live.at(3 * STEP)
    (line,) = [one for one in (await sooner.get("/sessions")).json()["items"] if path.endswith(one["id"])]
    assert (await sooner.get(path)).json()["exp"] == line["exp"] == live.at(3 * STEP).timestamp()
    viewer = live.harness.client(live.viewer_id)
    assert slug(await viewer.post(f"{path}/pay", json={"duration": 4 * STEP})) == (409, "session-too-short")
    assert (await viewer.post(f"{path}/pay", json={"duration": 3 * STEP})).status_code == 202

    live.harness.clock.advance(3 * STEP)

    assert slug(await viewer.post(f"{path}/pay", json={"duration": STEP})) == (409, "session-over")
    await live.harness.run_timers()
    (ended,) = await live.published(SessionEndedV1)
    assert (ended.session_id, ended.statuses.ended, ended.exp) == (started.session_id, started.exp, started.exp)
    assert (await streamer(live).get(f"/sessions/{live.session_id}")).json()["active"]


@pytest.mark.parametrize(("seconds", "refused"), [(MAX, None), (MAX + 1, "session-too-long"), (0, "invalid-request")])
async def test_no_session_lasts_longer_than_any_may(
    live_session: LiveSessionOf, seconds: int, refused: str | None
) -> None:
    live = await live_session(SESSION_MAX_SECONDS=MAX)

    answer = await live.harness.client(ids.new_id(), "CREATOR").post(
        "/sessions", json={"prices": {}, "max_seconds": seconds}
    )

    if refused is None:
        assert answer.status_code == 201
    else:
        assert slug(answer) == (422, refused)
        assert answer.json()["errors"][0]["field"] == "max_seconds"


async def test_time_that_would_end_after_the_session_is_not_sold(live_session: LiveSessionOf) -> None:
    live = await live_session(SESSION_MAX_SECONDS=MAX)
    live.harness.clock.advance(10 * STEP)

    assert slug(await pay(live, 11)) == (409, "session-too-short")
    assert (await pay(live, 10)).status_code == 202


async def test_what_the_viewer_has_already_counts_for_when_it_would_end(live_session: LiveSessionOf) -> None:
    live = await live_session(SESSION_MAX_SECONDS=MAX)
    await live.harness.handle(live.paid(await live.asked(live.viewer_id, steps=15)))

    assert slug(await pay(live, 6)) == (409, "session-too-short")
    assert (await pay(live, 5)).status_code == 202
    assert (await pay(live, 6, user_id=ids.new_id())).status_code == 202


@pytest.fixture
async def late(live_session: LiveSessionOf) -> LiveSession:
    """A session that has been on for its maximum, and whose timer has not run."""
    live = await live_session(SESSION_MAX_SECONDS=MAX)
    live.harness.clock.advance(MAX)
    return live


async def test_a_session_is_over_at_its_maximum_before_its_timer_runs(late: LiveSession) -> None:
    path = f"/sessions/{late.session_id}"
    ended = late.harness.now

    assert slug(await pay(late)) == (409, "session-over")
    assert slug(await streamer(late).patch(path, json={"prices": {"sd": 1}})) == (409, "session-over")
    assert slug(await streamer(late).put(f"{path}/sources/room", json={})) == (409, "session-over")
    seen = (await streamer(late).get(path)).json()
    assert (seen["active"], seen["statuses"]["ended"]) == (False, ended.timestamp())
    assert await late.harness.take() == []


async def test_what_was_paid_for_and_is_read_after_the_maximum_goes_back(late: LiveSession) -> None:
    payment = await late.asked(late.viewer_id)

    await late.harness.handle(late.paid(payment))

    (reversed_,) = await late.harness.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert reversed_.reason == "session_ended"


async def test_after_its_maximum_a_session_turns_exclusive_to_nobody_and_authorizes_nobody(
    live_session: LiveSessionOf,
) -> None:
    live = await live_session(SESSION_MAX_SECONDS=MAX)
    _, exclusive_id = await live.begin()
    other, goal_id = ids.new_id(), ids.new_id()
    await live.harness.handle(live.invited(goal_id, other))
    live.harness.clock.advance(MAX)
    await live.harness.take()

    await live.harness.handle(live.answered(goal_id, "agreed", other), live.extended(exclusive_id, MAX + STEP))

    assert (await live.session()).exclusive_to == (live.viewer_id,)  # until its timer runs
    assert [event for event in await live.harness.take() if isinstance(event, SessionViewerAuthorizedV1)] == []


async def test_a_new_session_ends_the_one_whose_timer_is_late(late: LiveSession) -> None:
    over = late.harness.now
    late.harness.clock.advance(5)

    started = await streamer(late).post("/sessions", json={"prices": {}})

    assert started.status_code == 201, started.text
    ended, begun = await late.harness.take()
    assert isinstance(ended, SessionEndedV1)
    assert isinstance(begun, SessionStartedV1)
    assert (ended.session_id, ended.statuses.ended) == (late.session_id, over)


async def test_going_off_air_late_ends_the_session_as_of_its_maximum(late: LiveSession) -> None:
    over = late.harness.now
    late.harness.clock.advance(5)

    await late.end()

    assert (await late.session()).ended == over


async def test_a_streamer_goes_off_air_while_an_event_of_the_session_is_parked(live: LiveSession) -> None:
    now, key = live.harness.now, live.session_id
    parked = ParkedKey("p", "goals/0", "goals", key, "m", "goal.ended.v1", "broken", now, now, state="parked")
    async with live.harness.tx() as tx:
        tx.put(PARKED_KEYS, parked)
    live.harness.clock.advance(1.1)  # what is parked is looked at once a second
    path = f"/sessions/{live.session_id}"

    assert slug(await streamer(live).patch(path, json={"prices": {"sd": 99}})) == (503, "key-parked")
    assert (await streamer(live).delete(path)).status_code == 204


# -- titles and goals ---------------------------------------------------------------------------------------------


async def test_a_title_is_shown_and_can_be_changed(live: LiveSession) -> None:
    path = f"/sessions/{live.session_id}"

    assert (await streamer(live).patch(path, json={"title": "Tonight"})).status_code == 204

    assert (await streamer(live).get(path)).json()["title"] == "Tonight"
    assert (await streamer(live).patch(path, json={"prices": {"sd": 11}})).status_code == 204
    assert (await streamer(live).get(path)).json()["title"] == "Tonight"
    assert len(await live.published(SessionUpdatedV1)) == 1  # a title is no part of the event


@pytest.mark.parametrize("title", ["", "   ", "\u200b", "a\u202eb", "a\x07b", "x" * 101])
async def test_a_title_that_cannot_be_read_is_refused(live: LiveSession, title: str) -> None:
    path = f"/sessions/{live.session_id}"

    assert slug(await streamer(live).patch(path, json={"title": title})) == (422, "invalid-request")
    assert slug(await streamer(live).post("/sessions", json={"prices": {}, "title": title})) == (
        422,
        "invalid-request",
    )


async def test_what_is_told_of_a_new_goal_says_how_long_it_lasts_and_its_levels(live: LiveSession) -> None:
    invitation_id, goal_id = await live.agree(), ids.new_id()
    await live.harness.take()
    began = live.began(goal_id, invitation_id)

    await live.harness.handle(began)

    (added,) = await live.published(SessionGoalAddedV1)
    assert (added.levels, added.nbf, added.exp) == (began.levels, began.nbf, began.exp)
    assert added.exp is not None
    assert added.exp - timedelta(seconds=300 + STEP) == live.harness.now
