"""Shows that begin, and how they end."""

import asyncio
from typing import Final

from demo.deeds import (
    SHOW_SECONDS,
    TICKET,
    TICKET_SENT,
    buys_ticket,
    ends_goal,
    gives,
    sells,
    sells_tickets,
    starts_show,
)
from demo.expected import Expected, Theirs
from demo.scene import Scene
from demo.stories.fundings import SESSIONS_SOLD, TICKET_PRICE, TICKET_REQUESTED, goals_sold, stream_sold
from demo.story import PURSE, Story
from demo.waiting import WAIT_SECONDS

EARLY_BIRD_PERCENTAGE: Final = 25
EARLY_BIRD_PRICE: Final = 101  # 100.5, rounded up


async def funded(scene: Scene) -> None:
    """Three tickets at once fund a show, begun early and performed; one more is sold while it is on. Released."""
    funding = await sells_tickets(scene, target=3, discount_percentage=EARLY_BIRD_PERCENTAGE)
    await asyncio.gather(*(gives(scene, scene.viewer, TICKET, funding) for _ in range(3)))
    for person in scene.clients:
        await scene.sees(person, "goal.progress.updated funding 3 of 3")
    await ends_goal(scene, funding)
    show = await starts_show(scene, funding)
    await buys_ticket(scene, scene.guest, show)
    for person in (scene.viewer, scene.guest):
        await scene.sees(person, "escrow.completed kept", seconds=WAIT_SECONDS + SHOW_SECONDS)

    await scene.comes_out(
        Expected(
            goals=(
                "goal.created funding",
                *(f"goal.progressed funding {tickets} of 3" for tickets in (1, 2, 3)),
                "goal.ended funding funded",
                "goal.created show",
                "goal.progressed funding 4 of 3",
                "goal.ended show completed",
            ),
            sessions=(
                "session.started",
                "session.goal_added funding",
                *3 * ("session.viewer_authorized ticket",),
                "session.updated open",
                "session.goal_added show",
                "session.viewer_authorized ticket",
                "session.updated open",
                "session.goal_closed show completed kept",
            ),
            escrow=(
                *4 * ("escrow.held",),
                *4 * ("escrow.completed kept",),
                "escrow.settled released 4 refunded 0",
            ),
            shop=(*4 * (TICKET_REQUESTED,), *4 * (TICKET_SENT,)),
            stream=(
                "goal.added funding",
                *(f"goal.progress.updated funding {tickets} of 3" for tickets in (1, 2, 3)),
                "goal.ended funding funded",
                "goal.added show",
                "goal.ended show completed",
            ),
            gifts=4 * (TICKET_SENT,),
            alone=("stream.authorized show",),
            viewer=(*3 * (TICKET_SENT,), *3 * ("escrow.completed kept",)),
            wallet=PURSE - 3 * EARLY_BIRD_PRICE,
            guest=Theirs(
                alone=("stream.authorized ticket",),
                own=(TICKET_SENT, "escrow.completed kept"),
                wallet=PURSE - EARLY_BIRD_PRICE,
            ),
            earned=4 * EARLY_BIRD_PRICE,
            escrows=("release",),
        )
    )


async def performed_anyway(scene: Scene) -> None:
    """Too few tickets are sold, but the streamer performs within the hesitation. Released."""
    funding = await sells(scene, scene.viewer, of=3)
    await starts_show(scene, funding)
    await scene.sees(scene.viewer, "escrow.completed kept", seconds=WAIT_SECONDS + SHOW_SECONDS)

    await scene.comes_out(
        Expected(
            goals=(
                *goals_sold("1 of 3"),
                "goal.ended funding unfunded",
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
                *stream_sold("1 of 3"),
                "goal.ended funding unfunded",
                "goal.added show",
                "goal.ended show completed",
            ),
            gifts=(TICKET_SENT,),
            alone=("stream.authorized show",),
            viewer=(TICKET_SENT, "escrow.completed kept"),
            wallet=PURSE - TICKET_PRICE,
            earned=TICKET_PRICE,
            escrows=("release",),
        )
    )


async def buyer_blocked(scene: Scene) -> None:
    """A buyer is blocked, is cut, and has the money back at once; the show is performed for the other one. Released."""
    funding = await sells(scene, scene.viewer, scene.guest, of=2)
    await scene.sees(scene.guest, "goal.ended funding funded")
    await scene.clients[scene.guest].signs_in()
    await scene.does(scene.streamer, "PUT", f"/blocks/{scene.guest.id}", None, 204)
    await scene.sees(scene.guest, "escrow.failed blocked")
    await scene.is_cut(scene.guest)
    await starts_show(scene, funding)
    await scene.sees(scene.viewer, "escrow.completed kept", seconds=WAIT_SECONDS + SHOW_SECONDS)

    await scene.comes_out(
        Expected(
            goals=(
                *goals_sold("1 of 2", "2 of 2"),
                "goal.ended funding funded",
                "goal.created show",
                "goal.ended show completed",
            ),
            sessions=(
                *SESSIONS_SOLD,
                "session.viewer_authorized ticket",
                "session.viewer_revoked refunded",
                "session.updated open",
                "session.goal_added show",
                "session.updated open",
                "session.goal_closed show completed kept",
            ),
            escrow=(
                *2 * ("escrow.held",),
                "escrow.failed blocked",
                "escrow.completed kept",
                "escrow.settled released 1 refunded 1",
            ),
            shop=(*2 * (TICKET_REQUESTED,), *2 * (TICKET_SENT,)),
            stream=(
                *stream_sold("1 of 2", "2 of 2"),
                "goal.ended funding funded",
                "goal.added show",
                "goal.ended show completed",
            ),
            gifts=2 * (TICKET_SENT,),
            alone=("stream.authorized show",),
            viewer=(TICKET_SENT, "escrow.completed kept"),
            wallet=PURSE - TICKET_PRICE,
            guest=Theirs(
                alone=("stream.revoked refunded",),
                own=(TICKET_SENT, "escrow.failed blocked"),
                wallet=PURSE,
                until_cut=(*stream_sold("1 of 2", "2 of 2"), "goal.ended funding funded", *2 * (TICKET_SENT,)),
            ),
            earned=TICKET_PRICE,
        )
    )


async def broken_off(scene: Scene) -> None:
    """The streamer stops in the middle of the show. Everybody has the money back, the tickets are void."""
    funding = await sells(scene, scene.viewer, scene.guest, of=2)
    show = await starts_show(scene, funding)
    await scene.sees(scene.guest, "stream.authorized show")
    await ends_goal(scene, show)

    theirs = Theirs(
        alone=("stream.authorized show", "stream.revoked refunded"),
        own=(TICKET_SENT, "escrow.failed cancelled"),
        wallet=PURSE,
    )
    await scene.comes_out(
        Expected(
            goals=(
                *goals_sold("1 of 2", "2 of 2"),
                "goal.ended funding funded",
                "goal.created show",
                "goal.ended show cancelled",
            ),
            sessions=(
                *SESSIONS_SOLD,
                "session.viewer_authorized ticket",
                "session.updated open",
                "session.goal_added show",
                "session.updated open",
                "session.goal_closed show cancelled not kept",
                *2 * ("session.viewer_revoked refunded",),
            ),
            escrow=(
                *2 * ("escrow.held",),
                *2 * ("escrow.failed cancelled",),
                "escrow.settled released 0 refunded 2",
            ),
            shop=(*2 * (TICKET_REQUESTED,), *2 * (TICKET_SENT,)),
            stream=(
                *stream_sold("1 of 2", "2 of 2"),
                "goal.ended funding funded",
                "goal.added show",
                "goal.ended show cancelled",
            ),
            gifts=2 * (TICKET_SENT,),
            alone=theirs.alone,
            viewer=theirs.own,
            wallet=theirs.wallet,
            guest=theirs,
            escrows=("refund",),
        )
    )


STORIES: Final = (
    Story("A show funded and performed, a ticket sold while it was on", funded, "Ines", "Uli", PURSE, "Una"),
    Story("A show not funded, but performed", performed_anyway, "Kim", "Wim", PURSE),
    Story("A show whose buyer is blocked", buyer_blocked, "Vera", "Lou", PURSE, "Sue"),
    Story("A show broken off", broken_off, "Mia", "Yan", PURSE, "Yve"),
)
