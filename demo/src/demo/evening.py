"""All stories at once, and what became of each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from demo.scene import Scene
from demo.stories import Story
from demo.waiting import Unmet
from demo.world import World


@dataclass(slots=True)
class Told:
    """A story that was played."""

    story: Story
    scene: Scene
    failure: str | None = None
    """What was not as expected, for people."""


async def play(world: World, stories: Sequence[Story]) -> Sequence[Told]:
    """Play all of them at once; then, when Kafka is quiet, look again at each: nothing may have come afterwards."""
    told = await asyncio.gather(*(_tell(world, story) for story in stories))
    await world.tap.catch_up()
    for one in told:
        if not one.failure and (late := await one.scene.differences()):
            one.failure = "afterwards:\n" + "\n".join(late)
    return told


async def _tell(world: World, story: Story) -> Told:
    scene = Scene(world, world.person(story.streamer, "CREATOR"), world.person(story.viewer))
    told = Told(story, scene)
    try:
        await scene.opens(story.diamonds)
        await story.play(scene)
    except (Unmet, httpx.HTTPError) as error:
        told.failure = str(error) or repr(error)
    return told
