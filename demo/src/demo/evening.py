"""All stories at once, and what became of each."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import httpx

from demo.scene import Scene
from demo.story import Story
from demo.waiting import Unmet
from demo.world import World

PACE_SECONDS = 0.5  # between the beginnings, so that the milliseconds in a timeline are its own


@dataclass(slots=True)
class Told:
    """A story that was played."""

    story: Story
    scene: Scene
    failure: str | None = None
    """What was not as expected, for people."""


async def play(world: World, stories: Sequence[Story]) -> Sequence[Told]:
    """Play all of them at once; then, when Kafka is quiet, look again at each: nothing may have come afterwards."""
    told = [_cast(world, story) for story in stories]
    for one in told:
        await _trying(one, one.scene.opens(one.story.diamonds))
    await asyncio.gather(*(_play(one, number * PACE_SECONDS) for number, one in enumerate(told)))
    await world.tap.catch_up()
    for one in told:
        if not one.failure and (late := await one.scene.differences()):
            one.failure = "afterwards:\n" + "\n".join(late)
    return told


def _cast(world: World, story: Story) -> Told:
    friend = world.person(story.friend) if story.friend else None
    return Told(story, Scene(world, world.person(story.streamer, "CREATOR"), world.person(story.viewer), friend))


async def _play(told: Told, begin_seconds: float) -> None:
    if not told.failure:
        await asyncio.sleep(begin_seconds)
        await _trying(told, told.scene.goes_on_air())
    if not told.failure:
        await _trying(told, told.story.play(told.scene))


async def _trying(told: Told, part: Awaitable[None]) -> None:
    try:
        await part
    except (Unmet, httpx.HTTPError) as error:
        told.failure = str(error) or repr(error)
