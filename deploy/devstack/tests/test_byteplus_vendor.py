"""The vendor's rules in its sandbox: in whatever order it is asked, no source is photographed twice at once."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.byteplus_vendor import IDLE_SECONDS, TOLD_SECONDS, Vendor, VendorError

STORAGE = {"StorageConfig": {"Type": 2}}
ACTIONS = ("StartSnapshot", "StopSnapshot", "GetSnapshotTask")


def call(vendor: Vendor, action: str, now: float, room_id: str = "room", **asked: Any) -> Any:
    body = {"AppId": "app", "RoomId": room_id, "TaskId": "task", **STORAGE, **asked}
    return vendor.call(action, "2022-06-01", body, now)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*ACTIONS, "gone", "back"]),
            st.sampled_from("ab"),
            st.integers(1, 400),
            st.sampled_from("xy"),
        ),
        max_size=60,
    )
)
def test_each_source_is_photographed_in_stretches_that_do_not_meet(steps: list[tuple[str, str, int, str]]) -> None:
    vendor, now = Vendor(), 1_000_000.0
    running: dict[tuple[str, str], bool] = {}

    for action, room_id, pause, task_id in steps:
        now += pause
        if action in ("gone", "back"):
            vendor.streams(room_id, now, published=action == "back")
            continue
        vendor.settle(now)
        key = (room_id, task_id)
        before = vendor.latest[key].ended_at is None if key in vendor.latest else False
        try:
            call(vendor, action, now, room_id, TaskId=task_id)
            done = True
        except VendorError:
            done = False
        if action == "StartSnapshot":
            assert done is not before
            running[key] = True
        elif action == "StopSnapshot":
            assert done is before
            running[key] = False

    vendor.settle(now)
    for key, wanted in running.items():
        runs = [run for run in vendor.runs if (run.room_id, run.task_id) == key]
        ends = [run.ended_at for run in runs]
        assert all(end is not None for end in ends[:-1])
        for run, following in pairwise(runs):
            assert run.ended_at is not None
            assert run.started_at <= run.ended_at <= following.started_at
        assert wanted or not runs or ends[-1] is not None  # what was stopped runs no longer
        if wanted and runs[-1].ended_at is not None:
            assert runs[-1].stop_reason == "IdleTimeOut"


def test_a_task_ends_when_its_streams_have_been_gone_for_long() -> None:
    vendor = Vendor()
    call(vendor, "StartSnapshot", 0.0)
    vendor.streams("room", 100.0, published=False)

    vendor.settle(100.0 + IDLE_SECONDS - 1)
    assert vendor.runs[0].ended_at is None
    vendor.settle(100.0 + IDLE_SECONDS + 50)

    (run,) = vendor.told(1_000.0)["runs"]
    assert (run["ended_at"], run["stop_reason"]) == (100.0 + IDLE_SECONDS, "IdleTimeOut")


def test_streams_that_come_back_in_time_keep_the_task() -> None:
    vendor = Vendor()
    call(vendor, "StartSnapshot", 0.0)

    vendor.streams("room", 100.0, published=False)
    vendor.streams("room", 100.0 + IDLE_SECONDS - 1, published=True)
    vendor.settle(10_000.0)

    assert vendor.runs[0].ended_at is None


def test_a_task_is_told_of_for_72_hours() -> None:
    vendor = Vendor()
    call(vendor, "StartSnapshot", 0.0)

    assert call(vendor, "GetSnapshotTask", TOLD_SECONDS - 1.0)["snapshotTask"]["Status"] == 2
    with pytest.raises(VendorError, match="ErrorActiveTaskNotFound"):
        call(vendor, "GetSnapshotTask", TOLD_SECONDS)
    assert call(vendor, "StopSnapshot", TOLD_SECONDS + 1.0) == "ok"


@given(st.lists(st.floats(0.0, 0.05), min_size=1, max_size=400))
def test_no_more_calls_are_taken_in_a_second_than_the_limit(pauses: list[float]) -> None:
    vendor, now, taken = Vendor(), 0.0, []

    for pause in pauses:
        now += pause
        try:
            call(vendor, "GetRoomOnlineUsers", now)
            taken.append(now)
        except VendorError as error:
            assert error.code == "FlowLimitExceeded.QPSOverLimit"  # noqa: PT017 - others are taken

    for first in taken:
        assert sum(first <= at < first + 1.0 for at in taken) <= 40


@pytest.mark.parametrize(("asked", "kept_seconds"), [(0, 0), (1, 60), (60, 60), (3_600, 3_600), (10**6, 259_200)])
def test_a_ban_lasts_as_long_as_the_vendor_has_it(asked: int, kept_seconds: int) -> None:
    vendor = Vendor()

    call(vendor, "BanRoomUser", 1.0, UserId="user", ForbiddenInterval=asked)

    assert vendor.join("room", "user", 1.0 + kept_seconds)
    assert kept_seconds == 0 or not vendor.join("room", "user", 0.5 + kept_seconds)
    assert vendor.join("another room", "user", 1.0)


@pytest.mark.parametrize("missing", ["AppId", "RoomId", "TaskId", "StorageConfig"])
def test_a_start_needs_all_its_fields(missing: str) -> None:
    with pytest.raises(VendorError, match="InvalidParameter"):
        call(Vendor(), "StartSnapshot", 0.0, **{"room_id" if missing == "RoomId" else missing: ""})
