"""Waiting before trying again."""

import asyncio
import random  # noqa: TID251 - jitter, not chance that anything depends on


async def back_off(failures: int, *, first_seconds: float = 0.004, seconds_max: float = 1.0) -> None:
    """Wait a random moment, up to twice as long after each failure: those who collided must not collide again."""
    await asyncio.sleep(min(seconds_max, first_seconds * 2 ** min(failures, 20)) * random.random())  # noqa: S311 - jitter, not a secret
