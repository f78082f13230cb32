"""The show night: tickets, the show, gifts, private goals, and everybody's money afterwards. Played as in `stories`."""

import asyncio
import time
from typing import Any, Final

from demo.expected import Expected, Theirs
from demo.scene import Scene
from demo.settings import (
    FUNDING_SECONDS,
    HESITATION_SECONDS,
    PRIVATE_JUDGED_SECONDS,
    SHOW_REFUND_SECONDS,
    STEP_SECONDS,
)
from demo.story import Story
from demo.waiting import WAIT_SECONDS, Unmet, until
from demo.world import Person

PURSE: Final = 1_000  # in the wallet of who buys tickets
SHOW_SECONDS: Final = 2 * STEP_SECONDS  # long enough to buy a ticket while it is on
LONG_SECONDS: Final = 3_600  # until a deadline that no story waits for

TICKET: Final = "livestream-show-ticket_134"
TICKET_PRICE: Final = 134
EARLY_BIRD_PERCENTAGE: Final = 25
EARLY_BIRD_PRICE: Final = 101  # 100.5, rounded up
CAKE: Final = "livestream-gift_cake"
CAKE_PRICE: Final = 99
DANCE: Final = "karaoke-dance_30"
DANCE_PRICE: Final = 150
DANCE_SECONDS: Final = 30

TICKET_REQUESTED: Final = "gift.requested 1 show-ticket_134"
TICKET_SENT: Final = "gift.sent 1 show-ticket_134"
CAKE_REQUESTED: Final = "gift.requested 1 gift_cake"
CAKE_SENT: Final = "gift.sent 1 gift_cake"


# -- what people do ----------------------------------------------------------------------------------------------------


async def sells_tickets(scene: Scene, target: int, seconds: float = LONG_SECONDS, **early_bird: Any) -> str:
    """The streamer promises a show, if so many tickets are sold in time; all clients show it. The goal's id."""
    body = {
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
    return await _opens_goal(scene, "show-funding", "funding", body, "show_funding")


async def asks_for_gifts(scene: Scene, target_diamonds: int, seconds: float = LONG_SECONDS) -> str:
    """The streamer promises to perform for those who give, if they give so much in time; all clients show it."""
    body = {
        "levels": [{"title": "a dance for those who gave", "target": target_diamonds}],
        "exp": round(time.time() + seconds, 3),
        "context": {"session_id": scene.session_id},
    }
    return await _opens_goal(scene, "trigger-private", "private", body, "trigger_private")


async def starts_show(scene: Scene, funding: str) -> str:
    """The streamer begins to perform, all clients show it, and those with tickets hear that they may watch."""
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
    for person in scene.clients:
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


# -- shows -------------------------------------------------------------------------------------------------------------


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
                "session.goal_added show",
                "session.viewer_authorized ticket",
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


async def unfunded(scene: Scene) -> None:
    """Too few tickets are sold in time, and the streamer hesitates too long. Refunded."""
    funding = await sells_tickets(scene, target=3, seconds=FUNDING_SECONDS)
    await buys_ticket(scene, scene.viewer, funding)
    wait = WAIT_SECONDS + FUNDING_SECONDS + HESITATION_SECONDS + SHOW_REFUND_SECONDS
    await scene.sees(scene.viewer, "escrow.failed no_show", seconds=wait)

    await scene.comes_out(
        Expected(
            goals=(*_sold("1 of 3"), "goal.ended funding unfunded", "goal.lapsed funding no_show"),
            sessions=(*SESSION_OF_FUNDING, "session.viewer_revoked refunded"),
            escrow=("escrow.held", "escrow.failed no_show", "escrow.settled released 0 refunded 1"),
            shop=(TICKET_REQUESTED, TICKET_SENT),
            stream=(*_sold_on_stream("1 of 3"), "goal.ended funding unfunded"),
            gifts=(TICKET_SENT,),
            alone=("stream.revoked refunded",),
            viewer=(TICKET_SENT, "escrow.failed no_show"),
            wallet=PURSE,
            escrows=("refund",),
        )
    )


async def performed_anyway(scene: Scene) -> None:
    """Too few tickets are sold, but the streamer performs within the hesitation. Released."""
    funding = await sells_tickets(scene, target=3)
    await buys_ticket(scene, scene.viewer, funding)
    await scene.sees(scene.streamer, "goal.progress.updated funding 1 of 3")
    await ends_goal(scene, funding)
    await starts_show(scene, funding)
    await scene.sees(scene.viewer, "escrow.completed kept", seconds=WAIT_SECONDS + SHOW_SECONDS)

    await scene.comes_out(
        Expected(
            goals=(
                *_sold("1 of 3"),
                "goal.ended funding unfunded",
                "goal.created show",
                "goal.ended show completed",
            ),
            sessions=(
                *SESSION_OF_FUNDING,
                "session.goal_added show",
                "session.goal_closed show completed kept",
            ),
            escrow=("escrow.held", "escrow.completed kept", "escrow.settled released 1 refunded 0"),
            shop=(TICKET_REQUESTED, TICKET_SENT),
            stream=(
                *_sold_on_stream("1 of 3"),
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


async def never_performed(scene: Scene) -> None:
    """The show is funded, but the streamer goes off air without it. Refunded at once."""
    funding = await sells_tickets(scene, target=1)
    await buys_ticket(scene, scene.viewer, funding)
    await scene.sees(scene.streamer, "goal.progress.updated funding 1 of 1")
    await ends_goal(scene, funding)
    await scene.ends_session()

    await scene.comes_out(off_air_without_show())


def off_air_without_show() -> Expected:
    """What becomes of one ticket that funded a show, when the session ends before the show began."""
    return Expected(
        goals=(*_sold("1 of 1"), "goal.ended funding funded", "goal.lapsed funding session_ended"),
        sessions=(*SESSION_OF_FUNDING, "session.ended", "session.viewer_revoked refunded"),
        escrow=("escrow.held", "escrow.failed session_ended", "escrow.settled released 0 refunded 1"),
        shop=(TICKET_REQUESTED, TICKET_SENT),
        stream=(*_sold_on_stream("1 of 1"), "goal.ended funding funded"),
        gifts=(TICKET_SENT,),
        alone=("stream.revoked refunded",),
        viewer=(TICKET_SENT, "escrow.failed session_ended"),
        wallet=PURSE,
        escrows=("refund",),
    )


async def given_up(scene: Scene) -> None:
    """The show is funded, but the streamer gives it up and stays on air. Refunded at once."""
    funding = await sells_tickets(scene, target=1)
    await buys_ticket(scene, scene.viewer, funding)
    await scene.sees(scene.streamer, "goal.progress.updated funding 1 of 1")
    await ends_goal(scene, funding)
    await scene.sees(scene.streamer, "goal.ended funding funded")
    await ends_goal(scene, funding)  # an ended funding without a show: this gives it up

    await scene.comes_out(
        Expected(
            goals=(*_sold("1 of 1"), "goal.ended funding funded", "goal.lapsed funding given_up"),
            sessions=(*SESSION_OF_FUNDING, "session.viewer_revoked refunded"),
            escrow=("escrow.held", "escrow.failed given_up", "escrow.settled released 0 refunded 1"),
            shop=(TICKET_REQUESTED, TICKET_SENT),
            stream=(*_sold_on_stream("1 of 1"), "goal.ended funding funded"),
            gifts=(TICKET_SENT,),
            alone=("stream.revoked refunded",),
            viewer=(TICKET_SENT, "escrow.failed given_up"),
            wallet=PURSE,
            escrows=("refund",),
        )
    )


async def buyer_blocked(scene: Scene) -> None:
    """A buyer is blocked and has the money back at once; the show is performed for the other buyer. Released."""
    funding = await sells_tickets(scene, target=2)
    for sold, buyer in enumerate((scene.viewer, scene.guest), start=1):
        await buys_ticket(scene, buyer, funding)
        await scene.sees(scene.streamer, f"goal.progress.updated funding {sold} of 2")
    await ends_goal(scene, funding)
    await scene.sees(scene.guest, "goal.ended funding funded")
    await scene.does(scene.streamer, "PUT", f"/blocks/{scene.guest.id}", None, 204)
    await scene.sees(scene.guest, "escrow.failed blocked")
    await starts_show(scene, funding)
    await scene.sees(scene.viewer, "escrow.completed kept", seconds=WAIT_SECONDS + SHOW_SECONDS)

    await scene.comes_out(
        Expected(
            goals=(
                *_sold("1 of 2", "2 of 2"),
                "goal.ended funding funded",
                "goal.created show",
                "goal.ended show completed",
            ),
            sessions=(
                *SESSION_OF_FUNDING,
                "session.viewer_authorized ticket",
                "session.viewer_revoked refunded",
                "session.goal_added show",
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
                *_sold_on_stream("1 of 2", "2 of 2"),
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
            ),
            earned=TICKET_PRICE,
        )
    )


async def broken_off(scene: Scene) -> None:
    """The streamer stops in the middle of the show. Everybody has the money back, the tickets are void."""
    funding = await sells_tickets(scene, target=2)
    for sold, buyer in enumerate((scene.viewer, scene.guest), start=1):
        await buys_ticket(scene, buyer, funding)
        await scene.sees(scene.streamer, f"goal.progress.updated funding {sold} of 2")
    await ends_goal(scene, funding)
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
                *_sold("1 of 2", "2 of 2"),
                "goal.ended funding funded",
                "goal.created show",
                "goal.ended show cancelled",
            ),
            sessions=(
                *SESSION_OF_FUNDING,
                "session.viewer_authorized ticket",
                "session.goal_added show",
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
                *_sold_on_stream("1 of 2", "2 of 2"),
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


async def too_poor(scene: Scene) -> None:
    """The viewer has a diamond too few for a ticket: nothing is held, and the gift fails."""
    funding = await sells_tickets(scene, target=1)
    gift = await gives(scene, scene.viewer, TICKET, funding)
    outcome = {"status": "failed", "amount_diamonds": TICKET_PRICE, "reason": "insufficient_diamonds"}
    await _becomes(scene, gift, {"gift_id": gift} | outcome)

    await scene.comes_out(
        Expected(
            goals=("goal.created funding",),
            sessions=("session.started", "session.goal_added funding"),
            escrow=("escrow.rejected insufficient_diamonds",),
            shop=(TICKET_REQUESTED, "gift.failed insufficient_diamonds 1 show-ticket_134"),
            stream=("goal.added funding",),
            viewer=("gift.failed insufficient_diamonds 1 show-ticket_134",),
            wallet=TICKET_PRICE - 1,
        )
    )


SESSION_OF_FUNDING: Final = (
    "session.started",
    "session.goal_added funding",
    "session.viewer_authorized ticket",
)


def _sold(*progress: str) -> tuple[str, ...]:
    return ("goal.created funding", *(f"goal.progressed funding {so_far}" for so_far in progress))


def _sold_on_stream(*progress: str) -> tuple[str, ...]:
    return ("goal.added funding", *(f"goal.progress.updated funding {so_far}" for so_far in progress))


async def _becomes(scene: Scene, gift_id: str, wanted: dict[str, Any]) -> None:
    path = f"/gifts/{gift_id}"
    await until(
        "the gift to be decided",
        lambda: scene.world.get(scene.viewer, path),
        lambda gift: bool(gift["status"] != "requested"),
    )
    seen = await scene.does(scene.viewer, "GET", path)
    if seen != wanted:
        raise Unmet(f"the gift became {seen}, expected {wanted}")


# -- gifts and private goals -------------------------------------------------------------------------------------------


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


async def private_kept(scene: Scene) -> None:
    """Two viewers give enough for a private performance, and have it. Released."""
    private = await asks_for_gifts(scene, target_diamonds=2 * CAKE_PRICE)
    await gives(scene, scene.viewer, CAKE, private)
    await scene.sees(scene.streamer, "goal.progress.updated private 99 of 198")
    await gives(scene, scene.guest, CAKE, private)
    for person in scene.viewers:
        await scene.sees(person, "stream.authorized private")
        await scene.sees(person, "escrow.completed kept", seconds=WAIT_SECONDS + PRIVATE_JUDGED_SECONDS)

    theirs = Theirs(
        alone=("stream.authorized private",),
        own=(CAKE_SENT, "escrow.completed kept"),
        wallet=PURSE - CAKE_PRICE,
    )
    await scene.comes_out(
        Expected(
            goals=(
                "goal.created private",
                "goal.progressed private 99 of 198",
                "goal.progressed private 198 of 198",
                "goal.ended private completed",
            ),
            sessions=(
                "session.started",
                "session.goal_added private",
                *2 * ("session.viewer_authorized private",),
                "session.goal_closed private completed kept",
            ),
            escrow=(
                *2 * ("escrow.held",),
                *2 * ("escrow.completed kept",),
                "escrow.settled released 2 refunded 0",
            ),
            shop=(*2 * (CAKE_REQUESTED,), *2 * (CAKE_SENT,)),
            stream=(
                "goal.added private",
                "goal.progress.updated private 99 of 198",
                "goal.progress.updated private 198 of 198",
                "goal.ended private completed",
            ),
            gifts=2 * (CAKE_SENT,),
            alone=theirs.alone,
            viewer=theirs.own,
            wallet=theirs.wallet,
            guest=theirs,
            earned=2 * CAKE_PRICE,
            escrows=("release",),
        )
    )


async def private_not_kept(scene: Scene) -> None:
    """Enough is given, but the streamer goes off air instead of performing. Refunded."""
    private = await asks_for_gifts(scene, target_diamonds=CAKE_PRICE)
    await gives(scene, scene.viewer, CAKE, private)
    await scene.sees(scene.viewer, "stream.authorized private")
    await scene.ends_session()

    await scene.comes_out(
        Expected(
            goals=("goal.created private", "goal.progressed private 99 of 99", "goal.ended private completed"),
            sessions=(
                "session.started",
                "session.goal_added private",
                "session.viewer_authorized private",
                "session.ended",
                "session.goal_closed private completed not kept",
                "session.viewer_revoked refunded",
            ),
            escrow=("escrow.held", "escrow.failed not_kept", "escrow.settled released 0 refunded 1"),
            shop=(CAKE_REQUESTED, CAKE_SENT),
            stream=(
                "goal.added private",
                "goal.progress.updated private 99 of 99",
                "goal.ended private completed",
            ),
            gifts=(CAKE_SENT,),
            alone=("stream.authorized private", "stream.revoked refunded"),
            viewer=(CAKE_SENT, "escrow.failed not_kept"),
            wallet=PURSE,
            escrows=("refund",),
        )
    )


async def private_timed_out(scene: Scene) -> None:
    """Too little is given in time. Refunded."""
    private = await asks_for_gifts(scene, target_diamonds=2 * CAKE_PRICE, seconds=FUNDING_SECONDS)
    await gives(scene, scene.viewer, CAKE, private)
    await scene.sees(scene.viewer, "escrow.failed timed_out", seconds=WAIT_SECONDS + FUNDING_SECONDS)

    await scene.comes_out(
        Expected(
            goals=("goal.created private", "goal.progressed private 99 of 198", "goal.ended private timed_out"),
            sessions=("session.started", "session.goal_added private"),
            escrow=("escrow.held", "escrow.failed timed_out", "escrow.settled released 0 refunded 1"),
            shop=(CAKE_REQUESTED, CAKE_SENT),
            stream=(
                "goal.added private",
                "goal.progress.updated private 99 of 198",
                "goal.ended private timed_out",
            ),
            gifts=(CAKE_SENT,),
            viewer=(CAKE_SENT, "escrow.failed timed_out"),
            wallet=PURSE,
            escrows=("refund",),
        )
    )


SHOWS: Final = (
    Story("A karaoke gift", karaoke, "Hedy", "Tim", PURSE),
    Story("A show funded and performed, a ticket sold while it was on", funded, "Ines", "Uli", PURSE, "Una"),
    Story("A show not funded", unfunded, "Joy", "Vic", PURSE),
    Story("A show not funded, but performed", performed_anyway, "Kim", "Wim", PURSE),
    Story("A show funded, but never performed", never_performed, "Lea", "Xan", PURSE),
    Story("A show funded, and given up", given_up, "Thea", "Hal", PURSE),
    Story("A show whose buyer is blocked", buyer_blocked, "Vera", "Lou", PURSE, "Sue"),
    Story("A show broken off", broken_off, "Mia", "Yan", PURSE, "Yve"),
    Story("A ticket too dear", too_poor, "Nora", "Zed", TICKET_PRICE - 1),
    Story("A private goal kept", private_kept, "Oda", "Abe", PURSE, "Amy"),
    Story("A private goal not kept", private_not_kept, "Pia", "Bob", PURSE),
    Story("A private goal timed out", private_timed_out, "Rosa", "Carl", PURSE),
)
