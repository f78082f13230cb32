"""Waiting before trying again."""

import asyncio
import random


async def back_off(failures: int, *, first_seconds: float = 0.004, seconds_max: float = 1.0) -> None:
    """Wait a random moment, up to twice as long after each failure: those who collided must not collide again."""
    await asyncio.sleep(min(seconds_max, first_seconds * 2 ** min(failures, 20)) * random.random())  # noqa: S311, TID251 - jitter, not a secret
