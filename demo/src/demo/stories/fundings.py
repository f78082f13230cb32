"""Tickets for shows that never come, and what becomes of the money."""

from typing import Any, Final

from demo.deeds import TICKET, TICKET_SENT, buys_ticket, ends_goal, gives, sells, sells_tickets
from demo.expected import Expected
from demo.scene import Scene
from demo.settings import FUNDING_SECONDS, HESITATION_SECONDS, SHOW_REFUND_SECONDS
from demo.story import PURSE, Story
from demo.waiting import WAIT_SECONDS, Unmet, until

TICKET_PRICE: Final = 134
TICKET_REQUESTED: Final = "gift.requested 1 show-ticket_134"
SESSIONS_SOLD: Final = (
    "session.started",
    "session.goal_added funding",
    "session.viewer_authorized ticket",
)


async def unfunded(scene: Scene) -> None:
    """Too few tickets are sold in time, and the streamer hesitates too long. Refunded."""
    funding = await sells_tickets(scene, target=3, seconds=FUNDING_SECONDS)
    await buys_ticket(scene, scene.viewer, funding)
    wait = WAIT_SECONDS + FUNDING_SECONDS + HESITATION_SECONDS + SHOW_REFUND_SECONDS
    await scene.sees(scene.viewer, "escrow.failed no_show", seconds=wait)

    await scene.comes_out(
        Expected(
            goals=(*goals_sold("1 of 3"), "goal.ended funding unfunded", "goal.lapsed funding no_show"),
            sessions=(*SESSIONS_SOLD, "session.viewer_revoked refunded"),
            escrow=("escrow.held", "escrow.failed no_show", "escrow.settled released 0 refunded 1"),
            shop=(TICKET_REQUESTED, TICKET_SENT),
            stream=(*stream_sold("1 of 3"), "goal.ended funding unfunded"),
            gifts=(TICKET_SENT,),
            alone=("stream.revoked refunded",),
            viewer=(TICKET_SENT, "escrow.failed no_show"),
            wallet=PURSE,
            escrows=("refund",),
        )
    )


async def never_performed(scene: Scene) -> None:
    """The show is funded, but the streamer goes off air without it. Refunded at once."""
    await sells(scene, scene.viewer, of=1)
    await scene.ends_session()

    await scene.comes_out(off_air_without_show())


def off_air_without_show() -> Expected:
    """What becomes of one ticket that funded a show, when the session ends before the show began."""
    return _without_show("session_ended", "session.ended")


def _without_show(reason: str, *sessions: str) -> Expected:
    return Expected(
        goals=(*goals_sold("1 of 1"), "goal.ended funding funded", f"goal.lapsed funding {reason}"),
        sessions=(*SESSIONS_SOLD, *sessions, "session.viewer_revoked refunded"),
        escrow=("escrow.held", f"escrow.failed {reason}", "escrow.settled released 0 refunded 1"),
        shop=(TICKET_REQUESTED, TICKET_SENT),
        stream=(*stream_sold("1 of 1"), "goal.ended funding funded"),
        gifts=(TICKET_SENT,),
        alone=("stream.revoked refunded",),
        viewer=(TICKET_SENT, f"escrow.failed {reason}"),
        wallet=PURSE,
        escrows=("refund",),
    )


async def given_up(scene: Scene) -> None:
    """The show is funded, but the streamer gives it up and stays on air. Refunded at once."""
    funding = await sells(scene, scene.viewer, of=1)
    await scene.sees(scene.streamer, "goal.ended funding funded")
    await ends_goal(scene, funding)  # an ended funding without a show: this gives it up

    await scene.comes_out(_without_show("given_up"))


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


def goals_sold(*progress: str) -> tuple[str, ...]:
    """What goals tells of a funding until so many tickets are sold."""
    return ("goal.created funding", *(f"goal.progressed funding {so_far}" for so_far in progress))


def stream_sold(*progress: str) -> tuple[str, ...]:
    """The same, as everyone at the stream hears it."""
    return ("goal.added funding", *(f"goal.progress.updated funding {so_far}" for so_far in progress))


async def _becomes(scene: Scene, gift_id: str, wanted: dict[str, Any]) -> None:
    path = f"/gifts/{gift_id}"
    await until(
        "the gift to be decided",
        lambda: scene.world.get(scene.viewer, path),
        lambda gift: bool(gift["status"] != "requested"),
    )
    seen = await scene.does(scene.viewer, "GET", path)
    if seen != seen | wanted:
        raise Unmet(f"the gift became {seen}, expected {wanted}")


STORIES: Final = (
    Story("A show not funded", unfunded, "Joy", "Vic", PURSE),
    Story("A show funded, but never performed", never_performed, "Lea", "Xan", PURSE),
    Story("A show funded, and given up", given_up, "Thea", "Hal", PURSE),
    Story("A ticket too dear", too_poor, "Nora", "Zed", TICKET_PRICE - 1),
)
