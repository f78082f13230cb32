"""MongoDB and Kafka stand still in the middle of a story: it goes on where it was."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from demo.scene import Scene
from demo.stories import refused
from devstack.stack import Stack

Verdict = Callable[[Scene], Awaitable[list[str]]]
OnAir = Callable[..., Awaitable[Scene]]


@asynccontextmanager
async def frozen(stack: Stack, part: str, seconds: float) -> AsyncIterator[None]:
    """The part answers nobody for so long, its sockets open; the block runs meanwhile and may last longer."""

    async def thaw() -> None:
        await asyncio.sleep(seconds)
        stack.resume(part)

    stack.pause(part)
    thawing = asyncio.create_task(thaw())
    try:
        yield
    finally:
        await thawing


@pytest.mark.parametrize(("part", "seconds"), [("mongod", 3.0), ("kafka", 5.0)])
async def test_a_story_outlives_a_server_that_stands_still(
    stack: Stack, on_air: OnAir, verdict: Verdict, part: str, seconds: float
) -> None:
    scene = await on_air("Lena", "Will")

    async with frozen(stack, part, seconds):
        await refused(scene)

    assert await verdict(scene) == []
