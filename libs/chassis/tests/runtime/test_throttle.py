"""Under a steady stream work begins at most so often; what comes alone is done at once."""

import asyncio

import pytest

from chassis.clock import ManualClock
from chassis.runtime import throttle
from chassis.runtime.throttle import BatchThrottle
from chassis_testing.service import START_TIME


async def test_after_a_pause_nothing_waits_and_within_the_pace_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "INTERVAL_SECONDS", 60.0)
    clock = ManualClock(START_TIME)
    kept = BatchThrottle(clock)
    await asyncio.wait_for(kept.wait(), 5)

    kept.begin()
    clock.advance(59.9)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kept.wait(), 0.01)

    clock.advance(0.1)
    await asyncio.wait_for(kept.wait(), 5)


async def test_work_takes_half_of_the_time_at_most_unless_there_is_more_than_it_can_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(throttle, "INTERVAL_SECONDS_MAX", 60.0)
    clock = ManualClock(START_TIME)
    kept = BatchThrottle(clock)

    def left_after(seconds: float, *, full: bool = False) -> float:
        kept.begin()
        clock.advance(seconds)
        kept.end(full=full)
        return kept.seconds_left

    assert left_after(0.01) == pytest.approx(0.04)
    assert left_after(0.04) == pytest.approx(0.04)
    assert left_after(7) == pytest.approx(7)
    assert left_after(50) == pytest.approx(10)
    assert left_after(70) == 0
    assert left_after(0.01, full=True) == 0


def test_what_seldom_finds_any_rests_many_times_as_long_as_it_takes() -> None:
    clock = ManualClock(START_TIME)
    kept = BatchThrottle(clock)

    def left_after(seconds: float) -> float:
        kept.begin()
        clock.advance(seconds)
        kept.end(full=False, rest=10)
        return kept.seconds_left

    assert left_after(0.001) == pytest.approx(0.049, abs=1e-5)
    assert left_after(0.01) == pytest.approx(0.1, abs=1e-5)
    assert left_after(0.04) == pytest.approx(0.4, abs=1e-5)
    assert left_after(3) == 0
