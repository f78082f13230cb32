"""The rate limit: no second sees more calls than the account may make, and the urgent go first."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus.limits import Gate, TokenBucket


@given(
    st.floats(1.5, 500.0),
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=80),
)
def test_no_second_sees_more_than_the_limit(limit: float, pauses: list[float]) -> None:
    now, passed = 1_000.0, []
    bucket = TokenBucket.within(limit, now)

    for pause in pauses:
        now += pause
        for _ in range(7):  # several that want to go at once
            now += bucket.wait_seconds(now) + 1e-9
            bucket.take(now)
            passed.append(now)

    for first in passed:
        assert sum(first <= at < first + 1.0 for at in passed) <= max(limit, 2.0) + 1e-6


def test_what_nobody_uses_is_not_saved_up() -> None:
    bucket = TokenBucket(10.0, 2.0, 0.0)
    bucket.take(3_600.0)
    bucket.take(3_600.0)

    assert bucket.wait_seconds(3_600.0) == pytest.approx(0.1)


def test_a_drained_bucket_is_empty_whatever_it_held() -> None:
    bucket = TokenBucket(10.0, 5.0, 0.0)

    bucket.drain(0.0)

    assert bucket.wait_seconds(0.0) == pytest.approx(0.1)


def test_a_clock_that_stands_or_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(10.0, 1.0, 100.0)
    bucket.take(100.0)

    assert bucket.wait_seconds(50.0) == pytest.approx(0.1)


@pytest.mark.parametrize(("per_second", "capacity"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.5)])
def test_a_bucket_that_lets_nobody_through_is_an_error(per_second: float, capacity: float) -> None:
    with pytest.raises(ValueError, match="nobody"):
        TokenBucket(per_second, capacity, 0.0)


async def entering(gate: Gate, priority: float, order: list[float]) -> None:
    await gate.enter(priority)
    order.append(priority)


async def test_the_smallest_priority_goes_first() -> None:
    gate, order = Gate(40.0, time.monotonic), list[float]()

    await asyncio.gather(*(entering(gate, priority, order) for priority in [9.0, 3.0, 7.0, 1.0, 5.0, 0.0, 8.0]))

    assert order == sorted(order)
    await gate.close()


async def test_who_gives_up_waiting_uses_nothing_and_holds_nobody_up() -> None:
    gate, order = Gate(40.0, time.monotonic), list[float]()
    tasks = [asyncio.create_task(entering(gate, float(n), order)) for n in range(20)]
    await asyncio.sleep(0)

    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert all(task.cancelled() for task in tasks[::2])
    assert order == [float(n) for n in range(1, 20, 2)]
    await gate.close()


async def test_a_gate_that_closes_lets_go_of_who_waits() -> None:
    gate = Gate(1.5, time.monotonic)
    tasks = [asyncio.create_task(gate.enter()) for _ in range(5)]
    await asyncio.sleep(0)

    await gate.close()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) >= 4
