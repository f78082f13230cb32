"""A gift that is a goal of its own."""

from typing import Final

from demo.deeds import gives
from demo.expected import Expected
from demo.scene import Scene
from demo.story import PURSE, Story
from demo.waiting import WAIT_SECONDS

DANCE: Final = "karaoke-dance_30"
DANCE_PRICE: Final = 150
DANCE_SECONDS: Final = 30


async def karaoke(scene: Scene) -> None:
    """A gift asks for a dance: paid at once, and a goal as long as the dance."""
    await gives(scene, scene.viewer, DANCE)
    for person in scene.clients:
        await scene.sees(person, "goal.added karaoke")
    await scene.sees(scene.viewer, "goal.ended karaoke completed", seconds=WAIT_SECONDS + DANCE_SECONDS)

    await scene.comes_out(
        Expected(
            goals=("goal.created karaoke", "goal.ended karaoke completed"),
            sessions=("session.started", "session.goal_added karaoke"),
            escrow=("payment.succeeded",),
            shop=("gift.requested 1 karaoke-dance_30", "gift.sent 1 karaoke-dance_30"),
            stream=("goal.added karaoke", "goal.ended karaoke completed"),
            gifts=("gift.sent 1 karaoke-dance_30",),
            viewer=("gift.sent 1 karaoke-dance_30",),
            wallet=PURSE - DANCE_PRICE,
            earned=DANCE_PRICE,
        )
    )


STORIES: Final = (Story("A karaoke gift", karaoke, "Hedy", "Tim", PURSE),)
