"""Waiting before trying again."""

import asyncio
import random  # noqa: TID251 - jitter, not chance that anything depends on


def wait_seconds(failures: int, *, first_seconds: float, seconds_max: float) -> float:
    """A random wait, at least half of what doubles after each failure: those who failed together come back apart."""
    wait: float = min(seconds_max, first_seconds * 2 ** min(failures, 20))
    return wait * random.uniform(0.5, 1.0)  # noqa: S311 - as below


async def back_off(failures: int, *, first_seconds: float = 0.004, seconds_max: float = 1.0) -> None:
    """Wait a random moment, up to twice as long after each failure: those who collided must not collide again."""
    await asyncio.sleep(min(seconds_max, first_seconds * 2 ** min(failures, 20)) * random.random())  # noqa: S311 - jitter, not a secret


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stopping`."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
