"""Gifts for a private performance, and what becomes of the money."""

import asyncio
from typing import Final

from demo.deeds import CAKE, CAKE_PRICE, CAKE_REQUESTED, CAKE_SENT, asks_for_gifts, gives
from demo.expected import Expected, Theirs
from demo.scene import Scene
from demo.settings import FUNDING_SECONDS, PRIVATE_JUDGED_SECONDS
from demo.story import PURSE, Story
from demo.waiting import WAIT_SECONDS


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


async def gift_too_late(scene: Scene) -> None:
    """Two gifts at once, where one is enough. It is released; the other comes too late and is refunded at once."""
    private = await asks_for_gifts(scene, target_diamonds=2 * CAKE_PRICE)
    await gives(scene, scene.viewer, CAKE, private)
    await scene.sees(scene.viewer, "goal.progress.updated private 99 of 198")
    await asyncio.gather(*(gives(scene, scene.viewer, CAKE, private) for _ in range(2)))
    await scene.sees(scene.viewer, "gift.failed goal_over 1 gift_cake")
    await scene.sees(scene.viewer, "escrow.completed kept", seconds=WAIT_SECONDS + PRIVATE_JUDGED_SECONDS)

    await scene.comes_out(
        Expected(
            goals=(
                "goal.created private",
                "goal.progressed private 99 of 198",
                "goal.progressed private 198 of 198",
                "goal.ended private completed",
                "goal.contribution_rejected goal_over",
            ),
            sessions=(
                "session.started",
                "session.goal_added private",
                "session.viewer_authorized private",
                "session.goal_closed private completed kept",
            ),
            escrow=(
                *3 * ("escrow.held",),
                "escrow.failed contribution_rejected",
                *2 * ("escrow.completed kept",),
                "escrow.settled released 2 refunded 1",
            ),
            shop=(*3 * (CAKE_REQUESTED,), *2 * (CAKE_SENT,), "gift.failed goal_over 1 gift_cake"),
            stream=(
                "goal.added private",
                "goal.progress.updated private 99 of 198",
                "goal.progress.updated private 198 of 198",
                "goal.ended private completed",
            ),
            gifts=2 * (CAKE_SENT,),
            alone=("stream.authorized private",),
            viewer=(
                *(*2 * (CAKE_SENT,), "gift.failed goal_over 1 gift_cake"),
                *("escrow.failed contribution_rejected", *2 * ("escrow.completed kept",)),
            ),
            wallet=PURSE - 2 * CAKE_PRICE,
            earned=2 * CAKE_PRICE,
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


STORIES: Final = (
    Story("A private goal kept", private_kept, "Oda", "Abe", PURSE, "Amy"),
    Story("A gift too late for a private goal", gift_too_late, "Quinn", "Dan", PURSE),
    Story("A private goal not kept", private_not_kept, "Pia", "Bob", PURSE),
    Story("A private goal timed out", private_timed_out, "Rosa", "Carl", PURSE),
)
