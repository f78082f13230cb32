"""What operators see, and what the vendor tells."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chassis import ids
from chassis.effects.model import EFFECTS
from chassis_testing.service import ServiceHarness
from contracts import Event, SessionUpdatedV1
from rtc_control import store
from rtc_control.domain.rooms import CutOff
from rtc_control.domain.snapshot import MakeSnapshot
from rtc_control.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]
Callback = Callable[..., dict[str, str]]

ROOM, SESSION, VIEWER = "studio-1", "681088cb95684fc0c6496546", "6818339ed723c3b9a6c4cfe1"
STRANGER = "7" * 24


@pytest.fixture
async def harness(harness_of: HarnessOf, an: An) -> ServiceHarness:
    harness = await harness_of(SERVICE)
    await harness.handle(an(SessionUpdatedV1))  # exclusive to the viewer
    return harness


async def tell(harness: ServiceHarness, delivery: dict[str, str]) -> int:
    async with harness.client() as client:
        return (await client.post("/notify/byteplus", json=delivery)).status_code


def movement(harness: ServiceHarness, user: str, seconds: float = 0) -> dict[str, Any]:
    return {"RoomId": ROOM, "UserId": user, "Timestamp": int((harness.now.timestamp() + seconds) * 1_000)}


async def test_operators_see_what_is_wanted_and_what_is(harness: ServiceHarness) -> None:
    async with harness.client(ids.new_id(), "OPS") as client:
        seen = (await client.get(f"/rtc/sessions/{SESSION}")).json()
        missing = await client.get(f"/rtc/sessions/{'0' * 24}")

    assert seen == {
        "id": SESSION,
        "active": True,
        "exclusive_since": None,
        "snapshots": [
            {
                "room_id": ROOM,
                "task_id": f"snapshot_{SESSION}_{ROOM}",
                "desired": True,
                "actual": False,
                "may_run": False,
                "since": None,
                "attempts": 0,
                "last_error": None,
            }
        ],
    }
    assert missing.status_code == 404


async def test_nobody_else_sees_it(harness: ServiceHarness) -> None:
    async with harness.client(ids.new_id(), "CREATOR") as client:
        assert (await client.get(f"/rtc/sessions/{SESSION}")).status_code == 403


@pytest.mark.parametrize("spelling", ["Nonce", "Noce"])
async def test_who_enters_an_exclusive_of_others_is_put_out_once(
    harness: ServiceHarness, callback: Callback, spelling: str
) -> None:
    entered = callback("InvisibleUserJoinRoom", movement(harness, STRANGER), spelling=spelling)

    assert [await tell(harness, entered) for _ in range(3)] == [200] * 3

    cut = [one for one in await harness.effects() if isinstance(one, CutOff)]
    assert cut == [CutOff(room_id=ROOM, user_id=STRANGER)]


async def test_whose_exclusive_it_is_may_enter(harness: ServiceHarness, callback: Callback) -> None:
    assert await tell(harness, callback("UserJoinRoom", movement(harness, VIEWER))) == 200

    assert not [one for one in await harness.effects() if isinstance(one, CutOff)]


async def test_who_left_stays_out_whichever_is_told_first(harness: ServiceHarness, callback: Callback) -> None:
    await tell(harness, callback("UserLeaveRoom", movement(harness, VIEWER, 1), id_="2"))
    await tell(harness, callback("UserJoinRoom", movement(harness, VIEWER), id_="1"))

    async with harness.tx() as tx:
        known = await tx.get(store.OCCUPANTS, f"{ROOM}:{VIEWER}")
    assert known is not None
    assert not known.present


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"Signature": "0" * 64}, 403), ({"AppId": "x" * 24}, 403), ({"EventData": "{}"}, 403), ({"Signature": "é"}, 403)],
)
async def test_what_is_not_signed_is_refused(
    harness: ServiceHarness, callback: Callback, changes: dict[str, str], status: int
) -> None:
    assert await tell(harness, callback("UserJoinRoom", movement(harness, STRANGER), **changes)) == status


async def test_what_is_signed_and_makes_no_sense_is_invalid(harness: ServiceHarness, callback: Callback) -> None:
    assert await tell(harness, callback("UserJoinRoom", {"RoomId": ROOM})) == 422


async def test_a_picture_of_what_should_stand_still_stops_it(harness: ServiceHarness, callback: Callback) -> None:
    task = f"snapshot_{SESSION}_{ROOM}"
    async with harness.tx() as tx:
        known = await tx.get(store.BROADCASTS, SESSION)
        assert known is not None
        tx.delete(EFFECTS, task)
        tx.put(store.BROADCASTS, known.with_snapshot(known.snapshots[0].__class__(ROOM, task)))
    seconds = int(harness.now.timestamp())

    await tell(
        harness, callback("SnapshotRealTimeData", {"RoomId": ROOM, "TaskId": task, "Data": [{"TimeStamp": seconds}]})
    )

    [call] = [one for one in await harness.effects() if isinstance(one, MakeSnapshot)]
    assert not call.running


async def test_a_kind_of_callback_that_means_nothing_to_us_is_taken(
    harness: ServiceHarness, callback: Callback
) -> None:
    assert await tell(harness, callback("RoomDestroy", {"RoomId": ROOM})) == 200
