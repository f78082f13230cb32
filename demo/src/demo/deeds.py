"""What people do for a show: promise a show or a dance, give, buy tickets, begin, stop."""

import time
from typing import Any, Final

from demo.scene import Scene
from demo.settings import HESITATION_SECONDS, STEP_SECONDS
from demo.world import Person

SHOW_SECONDS: Final = 2 * STEP_SECONDS  # long enough to buy a ticket while it is on
LONG_SECONDS: Final = 3_600  # until a deadline that no story waits for
TICKET: Final = "livestream-show-ticket_134"
CAKE: Final = "livestream-gift_cake"
CAKE_PRICE: Final = 99
TICKET_SENT: Final = "gift.sent 1 show-ticket_134"
CAKE_REQUESTED: Final = "gift.requested 1 gift_cake"
CAKE_SENT: Final = "gift.sent 1 gift_cake"


async def sells_tickets(scene: Scene, target: int, seconds: float = LONG_SECONDS, **early_bird: Any) -> str:
    """The streamer promises a show, if so many tickets are sold in time; all clients show it. The goal's id."""
    return await _opens_goal(
        scene, "show-funding", "funding", offer(scene, target, seconds, **early_bird), "show_funding"
    )


def offer(scene: Scene, target: int, seconds: float, **early_bird: Any) -> dict[str, Any]:
    """A show, if so many tickets are sold in time."""
    return {
        "levels": [{"title": "a song for everyone", "target": target}],
        "exp": round(time.time() + seconds, 3),
        "context": {
            "session_id": scene.session_id,
            "perform_duration": SHOW_SECONDS,
            "hesitation_countdown": HESITATION_SECONDS,
            "ticket_product_id": TICKET,
            "ticket_product_type": "earlybird" if early_bird else "regular",
            **early_bird,
        },
    }


async def asks_for_gifts(scene: Scene, target_diamonds: int, seconds: float = LONG_SECONDS) -> str:
    """The streamer promises to perform for those who give, if they give so much in time; all clients show it."""
    body = {
        "levels": [{"title": "a dance for those who gave", "target": target_diamonds}],
        "exp": round(time.time() + seconds, 3),
        "context": {"session_id": scene.session_id},
    }
    return await _opens_goal(scene, "trigger-private", "private", body, "trigger_private")


async def starts_show(scene: Scene, funding: str) -> str:
    """The streamer begins to perform, all who hear the stream see it, and those with tickets hear that they may."""
    body = {"context": {"session_id": scene.session_id, "funding_goal_id": funding}}
    show = await _opens_goal(scene, "show", "show", body)
    await scene.sees(scene.viewer, "stream.authorized show")
    return show


async def _opens_goal(
    scene: Scene, goal_type: str, kind: str, body: dict[str, Any], escrow_kind: str | None = None
) -> str:
    answer = await scene.does(scene.streamer, "POST", f"/goals?type={goal_type}", body, 201)
    goal_id: str = answer["goal_id"]
    scene.names(goal_id, f"{kind}-of-{scene.streamer}")
    if escrow_kind:
        scene.escrows.append(f"{escrow_kind}:{goal_id}")
    for person in scene.clients.keys() - scene.gone:
        await scene.sees(person, f"goal.added {kind}")
    return goal_id


async def gives(scene: Scene, who: Person, product: str, goal_id: str | None = None) -> str:
    """One of the product, perhaps for a goal; the gift's id."""
    body = {"product_id": product, "session_id": scene.session_id, "goal_id": goal_id, "count": 1}
    answer = await scene.does(who, "POST", "/gifts", body, 202)
    gift_id: str = answer["gift_id"]
    scene.names(gift_id, f"gift-of-{who}")
    return gift_id


async def buys_ticket(scene: Scene, who: Person, goal_id: str) -> None:
    """A ticket for a funding or its show, until its buyer's client hears that it counts."""
    seen = len(scene.pushes_to(who))
    await gives(scene, who, TICKET, goal_id)
    await scene.sees(who, TICKET_SENT, after=seen)


async def ends_goal(scene: Scene, goal_id: str) -> None:
    """The streamer ends a goal: a funding early, or a show before it is over."""
    await scene.does(scene.streamer, "DELETE", f"/goals/{goal_id}", None, 204)


async def sells(scene: Scene, *buyers: Person, of: int) -> str:
    """A show for which these buy a ticket each, as the streamer's client shows; then she ends the sale. Its id."""
    funding = await sells_tickets(scene, target=of)
    for sold, buyer in enumerate(buyers, start=1):
        await buys_ticket(scene, buyer, funding)
        await scene.sees(scene.streamer, f"goal.progress.updated funding {sold} of {of}")
    await ends_goal(scene, funding)
    return funding
