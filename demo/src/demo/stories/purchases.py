"""Money that comes in: diamonds for a ticket, and a pass to watch with."""

from typing import Any, Final

from demo.browser import Browser
from demo.deeds import SHOW_SECONDS, TICKET_SENT, sells, starts_show
from demo.expected import Expected, Theirs
from demo.scene import Scene
from demo.stories.fundings import SESSIONS_SOLD, TICKET_PRICE, TICKET_REQUESTED, goals_sold, stream_sold
from demo.story import Story
from demo.waiting import WAIT_SECONDS, Unmet, until
from demo.world import Person

PACK: Final = "diamond_29900"
PACK_DIAMONDS: Final = 1_000
PAY: Final = ("choice", "pay")  # one of two buttons of So-net's page
BOUGHT: Final = ("order.created", "order.paid", "order.fulfilled")


async def bought(scene: Scene) -> None:
    """Diamonds are bought at So-net's page, and a ticket with them. A friend buys a pass, activates it, and watches.

    Their browsers have no screen: they go where pages lead and post the forms in them, as one with a screen does.
    """
    await buys(scene, scene.viewer, PACK)
    funding = await sells(scene, scene.viewer, of=1)
    await buys(scene, scene.guest, f"livestream_pass_{scene.streamer.id}")
    [piece] = (await scene.world.get(scene.guest, "/shop/backpack"))["items"]
    scene.names(piece["item_id"], f"pass-of-{scene.guest}")
    await scene.watches(scene.guest, "preview")  # it is not activated
    await scene.does(scene.guest, "POST", f"/shop/backpack/{piece['item_id']}/activate")
    await scene.sees(scene.guest, "pass.activated")
    await _may_watch(scene, scene.guest, "sd")
    await starts_show(scene, funding)
    await scene.sees(scene.viewer, "escrow.completed kept", seconds=WAIT_SECONDS + SHOW_SECONDS)

    await scene.comes_out(
        Expected(
            goals=(
                *goals_sold("1 of 1"),
                "goal.ended funding funded",
                "goal.created show",
                "goal.ended show completed",
            ),
            sessions=(
                *SESSIONS_SOLD,
                "session.updated open",
                "session.goal_added show",
                "session.updated open",
                "session.goal_closed show completed kept",
            ),
            escrow=("escrow.held", "escrow.completed kept", "escrow.settled released 1 refunded 0"),
            shop=(TICKET_REQUESTED, TICKET_SENT),
            stream=(
                *stream_sold("1 of 1"),
                "goal.ended funding funded",
                "goal.added show",
                "goal.ended show completed",
            ),
            bought=(*BOUGHT, "wallet.credited", *BOUGHT, "pass.granted", "pass.activated"),
            gifts=(TICKET_SENT,),
            alone=("stream.authorized show",),
            viewer=("order.paid", TICKET_SENT, "escrow.completed kept"),
            wallet=PACK_DIAMONDS - TICKET_PRICE,
            guest=Theirs(own=("order.paid", "pass.activated"), wallet=0),
            earned=TICKET_PRICE,
            escrows=("release",),
        )
    )


async def buys(scene: Scene, who: Person, product: str) -> None:
    """They order it, pay at So-net's page, come back, and have it."""
    wish = {"product_id": product, "quantity": 1, "gateway": "sonet"}
    order_id = (await scene.does(who, "POST", "/shop/checkout", wish, 201))["order_id"]
    scene.names(order_id, f"order-of-{who}")
    body = {"order_id": order_id}
    out = (await scene.does(who, "POST", "/shop/checkout/sonet/complete", body))["url"]
    async with Browser() as browser:
        async for page in browser.follow(out, PAY):
            scene.clicks(who, f"{page.url.host}{page.url.path}: {page.text}")
    if not page.text.startswith("Paid."):
        raise Unmet(f"{who} has paid, and the last page says {page.text!r}")
    await scene.sees(who, "order.paid")

    async def order() -> Any:
        return await scene.world.get(who, f"/shop/orders/{order_id}")

    await until(f"{who} has what was bought", order, lambda seen: seen["fulfilment"] == "fulfilled")


async def _may_watch(scene: Scene, who: Person, preset: str) -> None:
    """Sessions has heard of it; then they fetch their token."""

    async def token() -> Any:
        return await scene.world.get(who, f"/sessions/{scene.session_id}/token")

    await until(f"{who} may watch {preset}", token, lambda seen: seen["preset"] == preset)
    await scene.watches(who, preset)


STORIES: Final = (Story("Diamonds and a pass are bought", bought, "Ruth", "Abe", 0, "Bea", pays=True),)
