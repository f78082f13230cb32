"""Under a steady stream work begins at most so often; what comes alone is done at once."""

import asyncio
from datetime import UTC, datetime

import pytest

from chassis import pace
from chassis.clock import ManualClock
from chassis.pace import Pace


async def test_after_a_pause_nothing_waits_and_within_the_pace_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "PACE_SECONDS", 60.0)
    clock = ManualClock(datetime(2026, 1, 31, 20, tzinfo=UTC))
    kept = Pace(clock)
    await asyncio.wait_for(kept.keep(), 5)

    kept.begin()
    clock.advance(59.9)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(kept.keep(), 0.01)

    clock.advance(0.1)
    await asyncio.wait_for(kept.keep(), 5)
