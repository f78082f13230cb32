"""Sessions, blocks and payments over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis_testing.service import ServiceHarness
from contracts import (
    PresenceCountedV1,
    SessionEndedV1,
    SessionPaymentRequestedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from sessions import store
from sessions.domain.session import ExclusivePair, Session
from sessions.service import SERVICE
from sessions.store import load

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

PRICES = {"sd": 10, "exclusive": 20}


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE)


@pytest.fixture
def streamer_id() -> str:
    return ids.new_id()


@pytest.fixture
def streamer(harness: ServiceHarness, streamer_id: str) -> httpx.AsyncClient:
    return harness.client(streamer_id, "CREATOR")


@pytest.fixture
def viewer_id() -> str:
    return ids.new_id()


@pytest.fixture
def viewer(harness: ServiceHarness, viewer_id: str) -> httpx.AsyncClient:
    return harness.client(viewer_id)


@pytest.fixture
async def session_id(harness: ServiceHarness, streamer: httpx.AsyncClient) -> str:
    answer = await streamer.post("/sessions", json={"prices": PRICES, "preset": "sd", "title": "Tonight"})
    assert answer.status_code == 201, answer.text
    await harness.take()
    return str(answer.json()["session_id"])


def slug(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


async def exclusive(harness: ServiceHarness, session_id: str, viewer_id: str, goal_id: str | None) -> None:
    """Have the session to a viewer alone, as an agreement does."""
    async with harness.tx() as tx:
        session = await load.session(tx, session_id)
        invitation_id = ids.new_id()
        pair = ExclusivePair(invitation_id, harness.now, harness.now, goal_id)
        tx.put(store.SESSIONS, _replaced(session, viewer_id, pair))


def _replaced(session: Session, viewer_id: str, pair: ExclusivePair) -> Session:
    return Session(
        id=session.id,
        streamer_id=session.streamer_id,
        created=session.created,
        preset=session.preset,
        prices=session.prices,
        exclusive_to=(viewer_id,),
        exclusive_for=pair.trigger_exclusive_goal,
        exclusive_goal_pairs={viewer_id: pair},
    )


# -- sessions ------------------------------------------------------------------------------------------------------


async def test_a_session_reads_as_it_was_started(
    harness: ServiceHarness, streamer: httpx.AsyncClient, streamer_id: str, viewer: httpx.AsyncClient
) -> None:
    started = await streamer.post("/sessions", json={"prices": PRICES})

    session_id = started.json()["session_id"]
    answer = await viewer.get(f"/sessions/{session_id}")
    assert answer.status_code == 200
    assert answer.json() == {
        "id": session_id,
        "streamer_id": streamer_id,
        "title": None,
        "active": True,
        "preset": "preview",
        "prices": PRICES,
        "statuses": {"created": harness.now.timestamp(), "ended": None},
        "exp": harness.now.timestamp() + 43_200,
        "exclusive": False,
        "status": {"exclusive_to": []},
        "show_goal_pairs": [],
        "exclusive_goal_pairs": {},
        "sources": [],
    }
    (event,) = await harness.take()
    assert isinstance(event, SessionStartedV1)
    assert (event.session_id, event.active) == (session_id, True)


async def test_a_streamer_has_one_active_session(streamer: httpx.AsyncClient, session_id: str) -> None:
    again = await streamer.post("/sessions", json={"prices": PRICES})

    assert slug(again) == (409, "session-already-active")
    assert again.json()["session_id"] == session_id


async def test_after_the_end_a_streamer_may_start_again(streamer: httpx.AsyncClient, session_id: str) -> None:
    await streamer.delete(f"/sessions/{session_id}")

    assert (await streamer.post("/sessions", json={"prices": {}})).status_code == 201


@pytest.mark.parametrize("_round", range(20))
async def test_of_two_starts_at_once_one_wins(
    harness: ServiceHarness, streamer: httpx.AsyncClient, _round: int
) -> None:
    answers = await asyncio.gather(*(streamer.post("/sessions", json={"prices": PRICES}) for _ in range(3)))

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert len(await harness.take()) == 1


async def test_only_creators_start_sessions(viewer: httpx.AsyncClient, harness: ServiceHarness) -> None:
    assert slug(await viewer.post("/sessions", json={"prices": PRICES})) == (403, "scope-missing")
    assert (await harness.client().post("/sessions", json={"prices": PRICES})).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prices": {"sd": 0}},
        {"prices": {"sd": 1_000_001}},
        {"prices": {"sd": "10"}},
        {"prices": {"sd": 1.5}},
        {"prices": {"hd": 1}},
        {"prices": {"sd": {"$gt": 0}}},
        {"prices": {}, "preset": "hd"},
        {"prices": {}, "title": ""},
        {"prices": {}, "title": "x" * 101},
    ],
)
async def test_what_no_session_can_be_is_refused(
    streamer: httpx.AsyncClient, harness: ServiceHarness, body: dict[str, Any]
) -> None:
    assert slug(await streamer.post("/sessions", json=body)) == (422, "invalid-request")
    assert await harness.take() == []


async def test_unknown_sessions_are_not_found(viewer: httpx.AsyncClient, streamer: httpx.AsyncClient) -> None:
    unknown = f"/sessions/{ids.new_id()}"

    assert slug(await viewer.get(unknown)) == (404, "session-not-found")
    assert slug(await streamer.patch(unknown, json={})) == (404, "session-not-found")
    assert slug(await streamer.delete(unknown)) == (404, "session-not-found")
    assert slug(await viewer.post(f"{unknown}/pay", json={"duration": 60})) == (404, "session-not-found")


async def test_prices_and_preset_change_one_by_one(
    harness: ServiceHarness, streamer: httpx.AsyncClient, session_id: str
) -> None:
    path = f"/sessions/{session_id}"

    assert (await streamer.patch(path, json={"prices": {"sd": 11}})).status_code == 204
    assert (await streamer.patch(path, json={"preset": "preview"})).status_code == 204
    assert (await streamer.patch(path, json={"prices": {"exclusive": None}})).status_code == 204

    session = (await streamer.get(path)).json()
    assert (session["prices"], session["preset"]) == ({"sd": 11, "exclusive": None}, "preview")
    events = await harness.take()
    assert [type(event) for event in events] == [SessionUpdatedV1] * 3


async def test_what_changes_nothing_is_not_told(
    harness: ServiceHarness, streamer: httpx.AsyncClient, session_id: str
) -> None:
    assert (await streamer.patch(f"/sessions/{session_id}", json={"prices": PRICES, "preset": "sd"})).status_code == 204
    assert (await streamer.patch(f"/sessions/{session_id}", json={})).status_code == 204

    assert await harness.take() == []


async def test_a_source_is_put_once_and_replaced_in_its_room(
    harness: ServiceHarness, streamer: httpx.AsyncClient, session_id: str
) -> None:
    path = f"/sessions/{session_id}/sources/room-1"

    for kind in ("phone", "phone", "obs"):
        assert (await streamer.put(path, json={"kind": kind})).status_code == 204

    assert len(await harness.take()) == 2
    assert (await streamer.get(f"/sessions/{session_id}")).json()["sources"] == [
        {
            "room_id": "room-1",
            "session_id": session_id,
            "task_id": f"snapshot_{session_id}_room-1",
            "kind": "obs",
            "preset": "sd",
        }
    ]


async def test_a_source_that_says_nothing_of_itself_is_something_else(
    streamer: httpx.AsyncClient, session_id: str
) -> None:
    assert (await streamer.put(f"/sessions/{session_id}/sources/room-1")).status_code == 204

    (source,) = (await streamer.get(f"/sessions/{session_id}")).json()["sources"]
    assert source["kind"] == "other"


@pytest.mark.parametrize("given", [None, "preview", "sd"])
async def test_a_room_keeps_its_preset_which_at_first_is_the_sessions(
    harness: ServiceHarness, streamer: httpx.AsyncClient, session_id: str, given: str | None
) -> None:
    body = {} if given is None else {"preset": given}
    assert (await streamer.put(f"/sessions/{session_id}/sources/room-1", json=body)).status_code == 204
    assert (await streamer.patch(f"/sessions/{session_id}", json={"preset": "preview"})).status_code == 204
    assert (await streamer.put(f"/sessions/{session_id}/sources/room-1", json={})).status_code == 204

    (source,) = (await streamer.get(f"/sessions/{session_id}")).json()["sources"]
    published = [event for event in await harness.take() if isinstance(event, SessionUpdatedV1)]
    assert source["preset"] == (given or "sd")
    assert {event.sources[0].preset for event in published} == {given or "sd"}


async def test_sources_are_bounded(streamer: httpx.AsyncClient, session_id: str) -> None:
    for number in range(10):
        assert (await streamer.put(f"/sessions/{session_id}/sources/room-{number}", json={})).status_code == 204

    one_more = await streamer.put(f"/sessions/{session_id}/sources/room-10", json={})

    assert slug(one_more) == (409, "too-many-sources")


async def test_a_source_that_is_removed_is_gone(
    harness: ServiceHarness, streamer: httpx.AsyncClient, session_id: str
) -> None:
    path = f"/sessions/{session_id}/sources/room-1"
    await streamer.put(path)
    await harness.take()

    assert (await streamer.delete(path)).status_code == 204

    assert (await streamer.get(f"/sessions/{session_id}")).json()["sources"] == []
    (updated,) = await harness.take()
    assert isinstance(updated, SessionUpdatedV1)
    assert updated.sources == ()
    assert slug(await streamer.delete(path)) == (404, "source-not-found")


@pytest.mark.parametrize("room", [".", "..", ".room", "room.", "r" * 95, "a%20b", "a%2Fb", "ä", "a:b", "<img>"])
async def test_what_the_vendor_would_not_take_is_no_room(
    streamer: httpx.AsyncClient, session_id: str, room: str
) -> None:
    answer = await streamer.put(f"/sessions/{session_id}/sources/{room}")

    assert answer.status_code in (404, 405, 422)  # `.` and `..` and slashes are another path before they are a room
    assert (await streamer.get(f"/sessions/{session_id}")).json()["sources"] == []


@pytest.mark.parametrize("room", ["r", "r" * 94, "room@1.a-b_c", "a..b"])
async def test_a_room_is_what_the_vendor_takes(streamer: httpx.AsyncClient, session_id: str, room: str) -> None:
    assert (await streamer.put(f"/sessions/{session_id}/sources/{room}")).status_code == 204


async def test_a_room_belongs_to_one_session_on_air(
    harness: ServiceHarness, streamer: httpx.AsyncClient, session_id: str
) -> None:
    other = harness.client(ids.new_id(), "CREATOR")
    others = (await other.post("/sessions", json={"prices": {}})).json()["session_id"]
    await streamer.put(f"/sessions/{session_id}/sources/room-1")

    assert slug(await other.put(f"/sessions/{others}/sources/room-1")) == (409, "room-taken")

    await streamer.put(f"/sessions/{session_id}/sources/room-2")
    await streamer.delete(f"/sessions/{session_id}/sources/room-1")
    assert (await other.put(f"/sessions/{others}/sources/room-1")).status_code == 204
    await streamer.delete(f"/sessions/{session_id}")
    assert (await other.put(f"/sessions/{others}/sources/room-2")).status_code == 204


@pytest.mark.parametrize("_round", range(20))
async def test_of_two_who_take_a_room_at_once_one_has_it(harness: ServiceHarness, _round: int) -> None:
    streamers = [harness.client(ids.new_id(), "CREATOR") for _ in range(3)]
    started = [(await one.post("/sessions", json={"prices": {}})).json()["session_id"] for one in streamers]

    answers = await asyncio.gather(
        *(one.put(f"/sessions/{session}/sources/room-1") for one, session in zip(streamers, started, strict=True))
    )

    assert sorted(answer.status_code for answer in answers) == [204, 409, 409]
    for one, session in zip(streamers, started, strict=True):
        assert (await one.delete(f"/sessions/{session}")).status_code == 204


async def test_another_streamer_commands_nothing(harness: ServiceHarness, session_id: str) -> None:
    other = harness.client(ids.new_id(), "CREATOR")

    assert slug(await other.patch(f"/sessions/{session_id}", json={})) == (403, "not-your-session")
    assert slug(await other.put(f"/sessions/{session_id}/sources/room", json={})) == (403, "not-your-session")
    assert slug(await other.delete(f"/sessions/{session_id}")) == (403, "not-your-session")


async def test_a_session_ends_once_and_for_good(
    harness: ServiceHarness, streamer: httpx.AsyncClient, session_id: str
) -> None:
    harness.clock.advance(5)

    assert (await streamer.delete(f"/sessions/{session_id}")).status_code == 204

    session = (await streamer.get(f"/sessions/{session_id}")).json()
    assert (session["active"], session["statuses"]["ended"]) == (False, harness.now.timestamp())
    (ended,) = await harness.take()
    assert isinstance(ended, SessionEndedV1)
    assert slug(await streamer.delete(f"/sessions/{session_id}")) == (409, "session-over")
    assert slug(await streamer.patch(f"/sessions/{session_id}", json={})) == (409, "session-over")
    assert await harness.take() == []


async def test_active_sessions_are_listed_by_head_count_then_by_start(
    harness: ServiceHarness, viewer: httpx.AsyncClient
) -> None:
    started = []
    for _ in range(4):
        harness.clock.advance(1)
        answer = await harness.client(ids.new_id(), "CREATOR").post("/sessions", json={"prices": {}})
        started.append(answer.json()["session_id"])
    first, second, third, fourth = started
    await harness.handle(
        PresenceCountedV1(session_id=third, streamer_id=ids.new_id(), preset="preview", viewers=9),
        PresenceCountedV1(session_id=fourth, streamer_id=ids.new_id(), preset="preview", viewers=30),
    )

    page = (await viewer.get("/sessions?active=true&limit=3")).json()
    rest = (await viewer.get(f"/sessions?active=true&limit=3&after={page['next']}")).json()

    assert [session["id"] for session in page["items"]] == [fourth, third, first]
    assert ([session["id"] for session in rest["items"]], rest["next"]) == ([second], None)


async def test_ended_sessions_are_not_among_the_active(
    streamer: httpx.AsyncClient, viewer: httpx.AsyncClient, session_id: str
) -> None:
    await streamer.delete(f"/sessions/{session_id}")

    assert (await viewer.get("/sessions?active=true")).json()["items"] == []
    assert [session["id"] for session in (await viewer.get("/sessions?active=false")).json()["items"]] == [session_id]


# -- blocks --------------------------------------------------------------------------------------------------------


async def test_a_block_is_told_when_it_changes(
    harness: ServiceHarness, streamer: httpx.AsyncClient, streamer_id: str, viewer_id: str
) -> None:
    for _ in range(2):
        assert (await streamer.put(f"/blocks/{viewer_id}")).status_code == 204
    for _ in range(2):
        assert (await streamer.delete(f"/blocks/{viewer_id}")).status_code == 204

    assert await harness.take() == [
        ViewerBlockedV1(streamer_id=streamer_id, viewer_id=viewer_id),
        ViewerUnblockedV1(streamer_id=streamer_id, viewer_id=viewer_id),
    ]


async def test_nobody_blocks_themself(streamer: httpx.AsyncClient, streamer_id: str) -> None:
    answer = await streamer.put(f"/blocks/{streamer_id}")

    assert slug(answer) == (422, "block-of-oneself")
    assert [error["field"] for error in answer.json()["errors"]] == ["viewer_id"]


async def test_only_creators_block(viewer: httpx.AsyncClient) -> None:
    assert slug(await viewer.put(f"/blocks/{ids.new_id()}")) == (403, "scope-missing")
    assert slug(await viewer.delete(f"/blocks/{ids.new_id()}")) == (403, "scope-missing")


# -- payments ------------------------------------------------------------------------------------------------------


async def test_what_a_streamer_has_made_is_listed_by_its_start(
    streamer: httpx.AsyncClient, viewer: httpx.AsyncClient, session_id: str, streamer_id: str
) -> None:
    await streamer.delete(f"/sessions/{session_id}")
    second = (await streamer.post("/sessions", json={"prices": {}})).json()["session_id"]

    async def listed(query: str) -> list[str]:
        page = (await viewer.get(f"/sessions?streamer_id={streamer_id}{query}")).json()
        return [session["id"] for session in page["items"]]

    assert await listed("") == [session_id, second]
    assert await listed("&order=desc") == [second, session_id]
    assert (await listed("&active=true"), await listed("&active=false")) == ([second], [session_id])
    assert (await viewer.get("/sessions?order=desc")).status_code == 422


async def test_one_s_own_payments_and_blocks_are_listed(
    streamer: httpx.AsyncClient, viewer: httpx.AsyncClient, viewer_id: str, session_id: str
) -> None:
    paid = [
        (await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})).json()["payment_id"] for _ in range(2)
    ]
    await streamer.put(f"/blocks/{viewer_id}")

    payments = (await viewer.get("/payments?order=desc")).json()["items"]
    blocks = (await streamer.get("/blocks")).json()["items"]

    assert [payment["payment_id"] for payment in payments] == paid[::-1]
    assert payments[0] == (await viewer.get(f"/payments/{paid[1]}")).json()
    assert [block["viewer_id"] for block in blocks] == [viewer_id]
    assert (await streamer.get("/payments")).json()["items"] == []
    assert (await viewer.get("/blocks")).status_code == 403


async def test_a_payment_asks_escrow_for_the_price_of_watching(
    harness: ServiceHarness, viewer: httpx.AsyncClient, viewer_id: str, session_id: str
) -> None:
    answer = await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 180})

    assert answer.status_code == 202
    payment_id = answer.json()["payment_id"]
    assert answer.json() == {"payment_id": payment_id, "amount_diamonds": 30}
    (requested,) = await harness.take()
    assert isinstance(requested, SessionPaymentRequestedV1)
    assert (requested.payment_id, requested.payer_id, requested.duration) == (payment_id, viewer_id, 180)
    assert (requested.amount_diamonds, requested.preset, requested.exclusive_goal_id) == (30, "sd", None)
    assert (await viewer.get(f"/payments/{payment_id}")).json() == {
        "payment_id": payment_id,
        "session_id": session_id,
        "streamer_id": requested.streamer_id,
        "duration": 180,
        "status": "requested",
        "amount_diamonds": 30,
        "reversed_diamonds": 0,
        "reason": None,
    }


async def test_a_payment_within_the_callers_exclusive_is_at_its_price_and_names_it(
    harness: ServiceHarness, viewer: httpx.AsyncClient, viewer_id: str, session_id: str
) -> None:
    goal_id = ids.new_id()
    await exclusive(harness, session_id, viewer_id, goal_id)

    answer = await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})

    assert (answer.status_code, answer.json()["amount_diamonds"]) == (202, 20)
    (requested,) = await harness.take()
    assert isinstance(requested, SessionPaymentRequestedV1)
    assert (requested.preset, requested.exclusive_goal_id) == ("exclusive", goal_id)


async def test_a_streamers_stream_is_paid_like_its_session(
    viewer: httpx.AsyncClient, streamer_id: str, session_id: str, harness: ServiceHarness
) -> None:
    answer = await viewer.post(f"/streams/{streamer_id}/pay", json={"duration": 60})

    assert answer.status_code == 202
    (requested,) = await harness.take()
    assert isinstance(requested, SessionPaymentRequestedV1)
    assert requested.session_id == session_id
    off_air = await viewer.post(f"/streams/{ids.new_id()}/pay", json={"duration": 60})
    assert slug(off_air) == (404, "no-active-session")


@pytest.mark.parametrize("duration", [1, 59, 61, 90, 61 * 60])
async def test_only_whole_steps_are_sold(viewer: httpx.AsyncClient, session_id: str, duration: int) -> None:
    answer = await viewer.post(f"/sessions/{session_id}/pay", json={"duration": duration})

    assert slug(answer) == (422, "not-whole-steps")
    assert answer.json()["errors"][0]["field"] == "duration"


@pytest.mark.parametrize("body", [{}, {"duration": 0}, {"duration": -60}, {"duration": "60"}, {"duration": 60.5}])
async def test_what_no_payment_can_be_is_refused(
    viewer: httpx.AsyncClient, session_id: str, body: dict[str, Any]
) -> None:
    assert slug(await viewer.post(f"/sessions/{session_id}/pay", json=body)) == (422, "invalid-request")


async def test_a_value_that_can_never_be_is_told_before_the_state(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.post(f"/sessions/{ids.new_id()}/pay", json={"duration": 61})

    assert slug(answer) == (422, "not-whole-steps")


async def test_nobody_pays_while_the_session_is_somebody_elses(
    harness: ServiceHarness, viewer: httpx.AsyncClient, session_id: str
) -> None:
    await exclusive(harness, session_id, ids.new_id(), ids.new_id())

    answer = await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})

    assert slug(answer) == (409, "exclusive-to-another")


async def test_an_exclusive_is_not_sold_before_it_began(
    harness: ServiceHarness, viewer: httpx.AsyncClient, viewer_id: str, session_id: str
) -> None:
    await exclusive(harness, session_id, viewer_id, None)

    answer = await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})

    assert slug(answer) == (409, "exclusive-not-yet-started")


async def test_what_has_no_price_is_not_sold(
    viewer: httpx.AsyncClient, streamer: httpx.AsyncClient, session_id: str
) -> None:
    await streamer.patch(f"/sessions/{session_id}", json={"prices": {"sd": None}})

    assert slug(await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})) == (409, "price-not-set")


async def test_an_ended_session_sells_nothing(
    viewer: httpx.AsyncClient, streamer: httpx.AsyncClient, session_id: str
) -> None:
    await streamer.delete(f"/sessions/{session_id}")

    assert slug(await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})) == (409, "session-over")


async def test_whom_the_streamer_blocks_buys_nothing(
    viewer: httpx.AsyncClient, viewer_id: str, streamer: httpx.AsyncClient, session_id: str
) -> None:
    await streamer.put(f"/blocks/{viewer_id}")

    answer = await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})

    assert slug(answer) == (403, "blocked-by-streamer")


async def test_a_payment_is_its_payers_alone(
    viewer: httpx.AsyncClient, streamer: httpx.AsyncClient, session_id: str
) -> None:
    payment_id = (await viewer.post(f"/sessions/{session_id}/pay", json={"duration": 60})).json()["payment_id"]

    assert slug(await streamer.get(f"/payments/{payment_id}")) == (404, "payment-not-found")
    assert slug(await viewer.get(f"/payments/{ids.new_id()}")) == (404, "payment-not-found")


async def test_the_step_is_a_setting(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE, STEP_SECONDS=2)
    started = await harness.client(ids.new_id(), "CREATOR").post("/sessions", json={"prices": {"sd": 7}})

    answer = await harness.client(ids.new_id()).post(
        f"/sessions/{started.json()['session_id']}/pay", json={"duration": 6}
    )

    assert answer.json()["amount_diamonds"] == 21


# -- two people's business -----------------------------------------------------------------------------------------


async def test_whose_alone_a_session_is_is_told_to_these_two_only(
    harness: ServiceHarness, streamer: httpx.AsyncClient, viewer: httpx.AsyncClient, viewer_id: str, session_id: str
) -> None:
    await exclusive(harness, session_id, viewer_id, ids.new_id())
    path = f"/sessions/{session_id}"
    stranger, operator = harness.client(ids.new_id()), harness.client(ids.new_id(), "OPS")

    for their in (streamer, viewer):
        session = (await their.get(path)).json()
        assert session["status"] == {"exclusive_to": [viewer_id]}
        assert set(session["exclusive_goal_pairs"]) == {viewer_id}
    for other in (stranger, operator):
        answer = await other.get(path)
        assert viewer_id not in answer.text
        session = answer.json()
        assert (session["exclusive"], session["status"]) == (True, {"exclusive_to": []})
        assert session["exclusive_goal_pairs"] == {}


async def test_sources_are_shown_to_the_streamer_and_operators_alone(
    harness: ServiceHarness, streamer: httpx.AsyncClient, viewer: httpx.AsyncClient, session_id: str
) -> None:
    await streamer.put(f"/sessions/{session_id}/sources/room-1")
    operator = harness.client(ids.new_id(), "OPS")

    for client, count in ((streamer, 1), (operator, 1), (viewer, 0), (harness.client(ids.new_id(), "CREATOR"), 0)):
        assert len((await client.get(f"/sessions/{session_id}")).json()["sources"]) == count


async def test_a_list_shows_lines_without_goals_and_sources(
    harness: ServiceHarness, streamer: httpx.AsyncClient, viewer: httpx.AsyncClient, viewer_id: str, session_id: str
) -> None:
    await exclusive(harness, session_id, viewer_id, ids.new_id())

    (line,) = (await viewer.get("/sessions")).json()["items"]

    assert set(line) == {"id", "streamer_id", "title", "active", "preset", "prices", "statuses", "exp", "exclusive"}
    assert (line["id"], line["exclusive"]) == (session_id, True)
    whole = (await streamer.get(f"/sessions/{session_id}")).json()
    assert {name: whole[name] for name in line} == line
