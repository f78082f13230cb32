"""What a session sells, to whom, for how much and until when (SPEC §2, §4)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.parking import PARKED_KEYS, ParkedKey
from contracts import (
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
)
from sessions import store

if TYPE_CHECKING:
    import httpx

    from services.sessions.tests.conftest import Night, NightOf

STEP = 60
MAX = 20 * STEP


def slug(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


async def pay(night: Night, steps: int = 1, user_id: str | None = None, **body: Any) -> httpx.Response:
    payer = night.solo.client(user_id or night.viewer_id)
    return await payer.post(f"/sessions/{night.session_id}/pay", json={"duration": steps * STEP, **body})


def streamer(night: Night) -> httpx.AsyncClient:
    return night.solo.client(night.streamer_id, "CREATOR")


# -- whose, how much ----------------------------------------------------------------------------------------------


async def test_nobody_pays_themself(night: Night) -> None:
    assert slug(await pay(night, user_id=night.streamer_id)) == (403, "own-session")
    alias = f"/streams/{night.streamer_id}/pay"
    assert slug(await streamer(night).post(alias, json={"duration": STEP})) == (403, "own-session")
    assert await night.solo.take() == []


async def test_minutes_cost_no_more_than_was_agreed_to(night: Night) -> None:
    dearer = await pay(night, 3, max_amount_diamonds=29)

    assert slug(dearer) == (409, "price-changed")
    assert dearer.json()["amount_diamonds"] == 30
    assert await night.solo.take() == []
    agreed = await pay(night, 3, max_amount_diamonds=30)
    assert (agreed.status_code, agreed.json()["amount_diamonds"]) == (202, 30)


async def test_a_request_for_money_expires_and_says_so(night_of: NightOf) -> None:
    night = await night_of(PROPOSAL_SECONDS=7.5)
    asked = await pay(night)
    (requested,) = await night.told(SessionPaymentRequestedV1)
    assert requested.exp == night.at(7.5)
    payment_id = asked.json()["payment_id"]
    async with night.solo.tx() as tx:
        payment = await store.payment(tx, payment_id)

    await night.solo.hear(night.not_paid(payment).model_copy(update={"reason": "expired"}))

    seen = (await night.solo.client(night.viewer_id).get(f"/payments/{payment_id}")).json()
    assert (seen["status"], seen["reason"], seen["amount_diamonds"]) == ("failed", "expired", 10)


# -- until when ---------------------------------------------------------------------------------------------------


async def test_time_that_would_end_after_the_session_is_not_sold(night_of: NightOf) -> None:
    night = await night_of(SESSION_MAX_SECONDS=MAX)
    night.solo.clock.advance(10 * STEP)

    assert slug(await pay(night, 11)) == (409, "session-too-short")
    assert (await pay(night, 10)).status_code == 202


async def test_what_the_viewer_has_already_counts_for_when_it_would_end(night_of: NightOf) -> None:
    night = await night_of(SESSION_MAX_SECONDS=MAX)
    await night.solo.hear(night.paid(await night.asked(night.viewer_id, steps=15)))

    assert slug(await pay(night, 6)) == (409, "session-too-short")
    assert (await pay(night, 5)).status_code == 202
    assert (await pay(night, 6, user_id=ids.new_id())).status_code == 202


@pytest.fixture
async def late(night_of: NightOf) -> Night:
    """A session that has been on for its maximum, and whose timer has not run."""
    night = await night_of(SESSION_MAX_SECONDS=MAX)
    night.solo.clock.advance(MAX)
    return night


async def test_a_session_is_over_at_its_maximum_before_its_timer_runs(late: Night) -> None:
    path = f"/sessions/{late.session_id}"
    ended = late.solo.now

    assert slug(await pay(late)) == (409, "session-over")
    assert slug(await streamer(late).patch(path, json={"prices": {"sd": 1}})) == (409, "session-over")
    assert slug(await streamer(late).put(f"{path}/sources/room", json={})) == (409, "session-over")
    seen = (await streamer(late).get(path)).json()
    assert (seen["active"], seen["statuses"]["ended"]) == (False, ended.timestamp())
    assert await late.solo.take() == []


async def test_what_was_paid_for_and_is_read_after_the_maximum_goes_back(late: Night) -> None:
    payment = await late.asked(late.viewer_id)

    await late.solo.hear(late.paid(payment))

    (reversed_,) = await late.solo.take()
    assert isinstance(reversed_, SessionPaymentReversedV1)
    assert reversed_.reason == "session_ended"


async def test_after_its_maximum_a_session_turns_exclusive_to_nobody_and_authorizes_nobody(night_of: NightOf) -> None:
    night = await night_of(SESSION_MAX_SECONDS=MAX)
    _, exclusive_id = await night.begin()
    other, goal_id = ids.new_id(), ids.new_id()
    await night.solo.hear(night.invited(goal_id, other))
    night.solo.clock.advance(MAX)
    await night.solo.take()

    await night.solo.hear(night.answered(goal_id, "agreed", other), night.extended(exclusive_id, MAX + STEP))

    assert (await night.session()).exclusive_to == (night.viewer_id,)  # until its timer runs
    assert [event for event in await night.solo.take() if isinstance(event, SessionViewerAuthorizedV1)] == []


async def test_a_new_session_ends_the_one_whose_timer_is_late(late: Night) -> None:
    over = late.solo.now
    late.solo.clock.advance(5)

    started = await streamer(late).post("/sessions", json={"prices": {}})

    assert started.status_code == 201, started.text
    ended, begun = await late.solo.take()
    assert isinstance(ended, SessionEndedV1)
    assert isinstance(begun, SessionStartedV1)
    assert (ended.session_id, ended.statuses.ended) == (late.session_id, over)


async def test_going_off_air_late_ends_the_session_as_of_its_maximum(late: Night) -> None:
    over = late.solo.now
    late.solo.clock.advance(5)

    await late.end()

    assert (await late.session()).ended == over


async def test_a_streamer_goes_off_air_while_an_event_of_the_session_is_parked(night: Night) -> None:
    now, key = night.solo.now, night.session_id
    parked = ParkedKey("p", "goals/0", "goals", key, "m", "goal.ended.v1", "broken", now, now, state="parked")
    async with night.solo.tx() as tx:
        tx.put(PARKED_KEYS, parked)
    night.solo.clock.advance(1.1)  # what is parked is looked at once a second
    path = f"/sessions/{night.session_id}"

    assert slug(await streamer(night).patch(path, json={"prices": {"sd": 99}})) == (503, "key-parked")
    assert (await streamer(night).delete(path)).status_code == 204


# -- titles and goals ---------------------------------------------------------------------------------------------


async def test_a_title_is_shown_and_can_be_changed(night: Night) -> None:
    path = f"/sessions/{night.session_id}"

    assert (await streamer(night).patch(path, json={"title": "Tonight"})).status_code == 204

    assert (await streamer(night).get(path)).json()["title"] == "Tonight"
    assert (await streamer(night).patch(path, json={"prices": {"sd": 11}})).status_code == 204
    assert (await streamer(night).get(path)).json()["title"] == "Tonight"
    assert len(await night.told(SessionUpdatedV1)) == 1  # a title is no part of the event


@pytest.mark.parametrize("title", ["", "   ", "\u200b", "a\u202eb", "a\x07b", "x" * 101])
async def test_a_title_that_cannot_be_read_is_refused(night: Night, title: str) -> None:
    path = f"/sessions/{night.session_id}"

    assert slug(await streamer(night).patch(path, json={"title": title})) == (422, "invalid-request")
    assert slug(await streamer(night).post("/sessions", json={"prices": {}, "title": title})) == (
        422,
        "invalid-request",
    )


async def test_what_is_told_of_a_new_goal_says_how_long_it_lasts_and_its_levels(night: Night) -> None:
    invitation_id, goal_id = await night.agree(), ids.new_id()
    await night.solo.take()
    began = night.began(goal_id, invitation_id)

    await night.solo.hear(began)

    (added,) = await night.told(SessionGoalAddedV1)
    assert (added.levels, added.nbf, added.exp) == (began.levels, began.nbf, began.exp)
    assert added.exp is not None
    assert added.exp - timedelta(seconds=300 + STEP) == night.solo.now
