"""Invitations that come to nothing, and what becomes of the money."""

from typing import Final

from demo.expected import Expected
from demo.scene import EXCLUSIVE_PRICE, Scene
from demo.settings import INVITATION_REFUND_SECONDS, INVITATION_SECONDS, STEP_SECONDS
from demo.story import DIAMONDS, Story
from demo.waiting import WAIT_SECONDS

GOALS_INVITED: Final = ("goal.proposed invitation", "goal.created invitation", "goal.progressed invitation")
STREAM_INVITED: Final = ("goal.added invitation",)


async def never_started(scene: Scene) -> None:
    """The streamer agrees and then does nothing. Refunded, and the session is free: the viewer can ask again."""
    invitation = await scene.invites_and_is_seen()
    await scene.agrees(invitation)
    await scene.sees(scene.viewer, "escrow.failed no_exclusive", seconds=WAIT_SECONDS + INVITATION_REFUND_SECONDS)
    await scene.is_open_to_everyone()
    await scene.refuses(await scene.invites_and_is_seen())

    await scene.comes_out(
        Expected(
            goals=(
                *GOALS_INVITED,
                "goal.ended invitation agreed",
                "goal.lapsed invitation no_exclusive",
                *GOALS_INVITED,
                "goal.ended invitation refused",
            ),
            sessions=(
                "session.started",
                "session.goal_added invitation",
                "session.updated exclusive",
                "session.viewer_authorized agreed",
                "session.updated open",
                "session.viewer_revoked refunded",
                "session.goal_added invitation",
            ),
            escrow=(
                *("escrow.held", "escrow.failed no_exclusive", "escrow.settled released 0 refunded 1"),
                *("escrow.held", "escrow.failed refused", "escrow.settled released 0 refunded 1"),
            ),
            stream=(
                *STREAM_INVITED,
                "goal.ended invitation agreed",
                *STREAM_INVITED,
                "goal.ended invitation refused",
            ),
            alone=("stream.authorized agreed", "stream.revoked refunded"),
            viewer=("escrow.failed no_exclusive", "escrow.failed refused"),
            wallet=DIAMONDS,
            escrows=("refund", "refund"),
        )
    )


async def refused(scene: Scene) -> None:
    """The streamer says no. Refunded at once; asking again so soon is answered with 429."""
    await scene.refuses(await scene.invites_and_is_seen())
    again = {"context": {"session_id": scene.session_id, "duration": STEP_SECONDS}}
    await scene.does(scene.viewer, "POST", "/goals?type=trigger-exclusive", again, 429)

    await scene.comes_out(_not_agreed("refused"))


async def timed_out(scene: Scene) -> None:
    """The streamer does not answer. Refunded when the invitation's time is over."""
    await scene.invites_and_is_seen()
    await scene.sees(scene.viewer, "escrow.failed timed_out", seconds=WAIT_SECONDS + INVITATION_SECONDS)

    await scene.comes_out(_not_agreed("timed_out"))


def _not_agreed(outcome: str) -> Expected:
    return Expected(
        goals=(*GOALS_INVITED, f"goal.ended invitation {outcome}"),
        sessions=("session.started", "session.goal_added invitation"),
        escrow=("escrow.held", f"escrow.failed {outcome}", "escrow.settled released 0 refunded 1"),
        stream=(*STREAM_INVITED, f"goal.ended invitation {outcome}"),
        viewer=(f"escrow.failed {outcome}",),
        wallet=DIAMONDS,
        escrows=("refund",),
    )


async def not_enough_diamonds(scene: Scene) -> None:
    """The viewer cannot pay. The streamer never hears of it, the viewer is told."""
    await scene.invites()
    await scene.sees(scene.viewer, "goal.rejected invitation insufficient_diamonds")

    await scene.comes_out(
        Expected(
            goals=("goal.proposed invitation", "goal.rejected invitation insufficient_diamonds"),
            sessions=("session.started",),
            escrow=("escrow.rejected insufficient_diamonds",),
            viewer=("goal.rejected invitation insufficient_diamonds",),
            wallet=EXCLUSIVE_PRICE - 1,
        )
    )


STORIES: Final = (
    Story("Agreed but never started", never_started, "Bea", "Ned"),
    Story("Refused", refused, "Cleo", "Otto"),
    Story("Timed out", timed_out, "Dora", "Paul"),
    Story("Not enough diamonds", not_enough_diamonds, "Ella", "Quin", EXCLUSIVE_PRICE - 1),
)
