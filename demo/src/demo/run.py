"""All stories at once, and what became of each."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import httpx

from demo.scene import Scene
from demo.story import Story
from demo.waiting import Unmet
from demo.world import World

INTERVAL_SECONDS = 0.5  # between the beginnings, so that the milliseconds in a timeline are its own


@dataclass(slots=True)
class Played:
    """A story that was played."""

    story: Story
    scene: Scene
    failure: str | None = None
    """What was not as expected, for people."""


async def play(world: World, stories: Sequence[Story]) -> Sequence[Played]:
    """Play all of them at once; then, when Kafka is quiet, look again at each: nothing may have come afterwards."""
    played = [_cast(world, story) for story in stories]
    for one in played:
        await _trying(one, one.scene.opens(one.story.diamonds))
    await asyncio.gather(*(_play(one, number * INTERVAL_SECONDS) for number, one in enumerate(played)))
    await world.tap.catch_up()
    for one in played:
        if not one.failure and (late := await one.scene.differences()):
            one.failure = "afterwards:\n" + "\n".join(late)
    return played


def _cast(world: World, story: Story) -> Played:
    friend = world.person(story.friend) if story.friend else None
    return Played(story, Scene(world, world.person(story.streamer, "CREATOR"), world.person(story.viewer), friend))


async def _play(played: Played, begin_seconds: float) -> None:
    if not played.failure:
        await asyncio.sleep(begin_seconds)
        await _trying(played, played.scene.goes_on_air(played.story.max_seconds))
    if not played.failure:
        await _trying(played, played.story.play(played.scene))


async def _trying(played: Played, part: Awaitable[None]) -> None:
    try:
        await part
    except (Unmet, httpx.HTTPError) as error:
        played.failure = str(error) or repr(error)
