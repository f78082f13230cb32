"""Invitations that were agreed to, and how the 1-on-1 ends."""

from typing import Final

from demo.expected import Expected
from demo.scene import EXCLUSIVE_PRICE, Scene
from demo.settings import STEP_SECONDS
from demo.stories.invitations import GOALS_INVITED, STREAM_INVITED
from demo.story import DIAMONDS, Story
from demo.waiting import WAIT_SECONDS, until_time

GOALS_BEGUN: Final = (*GOALS_INVITED, "goal.ended invitation agreed", "goal.created exclusive")
SESSIONS_BEGUN: Final = (
    "session.started",
    "session.goal_added invitation",
    "session.updated exclusive",
    "session.viewer_authorized agreed",
    "session.goal_added exclusive",
)
STREAM_BEGUN: Final = (*STREAM_INVITED, "goal.ended invitation agreed", "goal.added exclusive")
ALONE_BEGUN: Final = ("stream.authorized agreed", "stream.authorized exclusive")
EXTENSIONS: Final = 3  # so that what is paid for begins long after what was promised is over


async def performed(scene: Scene) -> None:
    """The streamer agrees and performs, not photographed; she extends, the viewer pays for a step more. Released."""
    await scene.sets_up_a_camera()
    exclusive = await _begins(scene)
    await scene.is_photographed("none")
    await scene.does(scene.streamer, "PUT", f"/goals/{exclusive}/extend", None, 204)
    await scene.sees_on_kafka("session.viewer_authorized extended")
    await scene.does(scene.viewer, "POST", f"/sessions/{scene.session_id}/pay", {"duration": STEP_SECONDS}, 202)
    await scene.sees(scene.viewer, "stream.authorized paid")
    await scene.sees(scene.viewer, "exclusive.closed exclusive completed", seconds=WAIT_SECONDS + 4 * STEP_SECONDS)
    await scene.is_open_to_everyone()
    await scene.is_photographed("taken")

    await scene.comes_out(
        Expected(
            goals=(
                *GOALS_BEGUN,
                "goal.extended by the streamer",
                "goal.extended by a payment",
                "goal.ended exclusive completed",
            ),
            rtc=(
                "rtc.snapshot_changed taken",
                "rtc.snapshot_changed none",
                "rtc.snapshot_changed taken",
            ),
            sessions=(
                "session.started",
                "session.updated open",
                *SESSIONS_BEGUN[1:],
                "session.viewer_authorized extended",
                "session.payment_requested",
                "session.viewer_authorized paid",
                "session.updated open",
                "session.viewer_authorized exclusive_ended",
                "session.goal_closed exclusive completed kept",
            ),
            escrow=(
                "escrow.held",
                "payment.succeeded",
                "escrow.completed kept",
                "escrow.settled released 1 refunded 0",
            ),
            stream=(
                *STREAM_BEGUN,
                *2 * ("goal.extended",),
                "goal.ended exclusive completed",
            ),
            alone=(
                *ALONE_BEGUN,
                "stream.authorized paid",
                "stream.authorized exclusive_ended",
            ),
            viewer=(
                *("goal.extended", "goal.extended by a payment"),
                *("exclusive.closed exclusive completed", "escrow.completed kept"),
            ),
            streamer=("exclusive.closed exclusive completed",),
            wallet=DIAMONDS - 2 * EXCLUSIVE_PRICE,
            earned=2 * EXCLUSIVE_PRICE,
            escrows=("release",),
        )
    )


async def minutes_refused(scene: Scene) -> None:
    """The viewer pays on, the streamer stops before that begins. Paid back; what was promised before is released."""
    exclusive = await _begins(scene)
    for _ in range(EXTENSIONS):
        await scene.does(scene.streamer, "PUT", f"/goals/{exclusive}/extend", None, 204)
    await scene.does(scene.viewer, "POST", f"/sessions/{scene.session_id}/pay", {"duration": STEP_SECONDS}, 202)
    await scene.sees(scene.viewer, "goal.extended by a payment")
    begun = (await scene.world.get(scene.viewer, f"/goals/{exclusive}"))["nbf"]
    await until_time(begun + STEP_SECONDS)
    await scene.does(scene.streamer, "DELETE", f"/goals/{exclusive}", None, 204)
    await scene.sees(scene.viewer, "payment.reversed extension_rejected")
    await scene.is_open_to_everyone()

    await scene.comes_out(
        Expected(
            goals=(
                *GOALS_BEGUN,
                *EXTENSIONS * ("goal.extended by the streamer",),
                "goal.extended by a payment",
                "goal.ended exclusive completed",
                "goal.extension_rejected",
            ),
            sessions=(
                *SESSIONS_BEGUN,
                *EXTENSIONS * ("session.viewer_authorized extended",),
                "session.payment_requested",
                "session.viewer_authorized paid",
                "session.updated open",
                "session.viewer_authorized exclusive_ended",
                "session.goal_closed exclusive completed kept",
                "session.viewer_revoked extension_rejected",
                "session.payment_reversed extension_rejected",
            ),
            escrow=(
                "escrow.held",
                "payment.succeeded",
                "escrow.completed kept",
                "escrow.settled released 1 refunded 0",
                "payment.reversed extension_rejected",
            ),
            stream=(
                *STREAM_BEGUN,
                *(EXTENSIONS + 1) * ("goal.extended",),
                "goal.ended exclusive completed",
            ),
            alone=(
                *ALONE_BEGUN,
                "stream.authorized paid",
                "stream.authorized exclusive_ended",
                "stream.revoked extension_rejected",
            ),
            viewer=(
                *EXTENSIONS * ("goal.extended",),
                "goal.extended by a payment",
                "exclusive.closed exclusive completed",
                "escrow.completed kept",
                "payment.reversed extension_rejected",
            ),
            streamer=("exclusive.closed exclusive completed",),
            wallet=DIAMONDS - EXCLUSIVE_PRICE,
            earned=EXCLUSIVE_PRICE,
            escrows=("release",),
        )
    )


async def cut_short(scene: Scene) -> None:
    """The streamer begins, and stops before the time paid for is over. Refunded, the viewer's time taken back."""
    exclusive = await _begins(scene)
    await scene.does(scene.streamer, "DELETE", f"/goals/{exclusive}", None, 204)
    await scene.is_open_to_everyone()

    opened = ("session.updated open", "session.viewer_authorized exclusive_ended")
    await scene.comes_out(_cancelled(opened, ("stream.authorized exclusive_ended",)))


async def session_ended(scene: Scene) -> None:
    """The streamer goes off air in the middle of the 1-on-1. Everything of the session ends, the money comes back."""
    await _begins(scene)
    await scene.ends_session()

    await scene.comes_out(_cancelled(("session.ended",), ()))


async def _begins(scene: Scene) -> str:
    """The viewer invites, the streamer agrees and begins; the id of the 1-on-1."""
    invitation = await scene.invites_and_is_seen()
    await scene.agrees(invitation)
    return await scene.starts_exclusive(invitation)


def _cancelled(sessions: tuple[str, ...], alone: tuple[str, ...]) -> Expected:
    """What becomes of a 1-on-1 that ends before its time; what sessions say first of all, and push to the viewer."""
    return Expected(
        goals=(*GOALS_BEGUN, "goal.ended exclusive cancelled"),
        sessions=(
            *SESSIONS_BEGUN,
            *sessions,
            "session.goal_closed exclusive cancelled not kept",
            "session.viewer_revoked refunded",
        ),
        escrow=("escrow.held", "escrow.failed cancelled", "escrow.settled released 0 refunded 1"),
        stream=(*STREAM_BEGUN, "goal.ended exclusive cancelled"),
        alone=(*ALONE_BEGUN, *alone, "stream.revoked refunded"),
        viewer=("exclusive.closed exclusive cancelled", "escrow.failed cancelled"),
        streamer=("exclusive.closed exclusive cancelled",),
        wallet=DIAMONDS,
        escrows=("refund",),
    )


STORIES: Final = (
    Story("Agreed and performed, extended and paid on", performed, "Ada", "Max"),
    Story("Performed, and minutes refused that were paid on", minutes_refused, "Uma", "Leo"),
    Story("Cut short", cut_short, "Fay", "Ray"),
    Story("The session ended in the middle", session_ended, "Gia", "Sam"),
)
