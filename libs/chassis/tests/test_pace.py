"""Under a steady stream work begins at most so often; what comes alone is done at once."""

import asyncio

import pytest

from chassis import pace
from chassis.clock import ManualClock
from chassis.pace import Pace
from chassis.testing import NIGHT


async def test_after_a_pause_nothing_waits_and_within_the_pace_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PACE_SECONDS", 60.0)
    clock = ManualClock(NIGHT)
    kept = Pace(clock)
    await asyncio.wait_for(kept.keep(), 5)

    kept.begin()
    clock.advance(59.9)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kept.keep(), 0.01)

    clock.advance(0.1)
    await asyncio.wait_for(kept.keep(), 5)


async def test_work_takes_half_of_the_time_at_most_unless_there_is_more_than_it_can_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "PACE_SECONDS_MAX", 60.0)
    clock = ManualClock(NIGHT)
    kept = Pace(clock)

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
