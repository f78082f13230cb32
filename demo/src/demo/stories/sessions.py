"""The end of a session that nobody ends."""

from typing import Any, Final

from demo.deeds import CAKE, CAKE_PRICE, CAKE_REQUESTED, CAKE_SENT, asks_for_gifts, gives, offer
from demo.expected import Expected
from demo.scene import SD_PRICE, Scene
from demo.settings import STEP_SECONDS
from demo.story import PURSE, Story
from demo.waiting import Unmet, until_time

MAX_SECONDS: Final = 4 * STEP_SECONDS  # long enough for what happens before on a busy machine


async def over_at_its_maximum(scene: Scene) -> None:
    """Nothing is sold that would end after the session; at its maximum it is over. What is held then is refunded.

    Who has paid gets a token for paid streaming meanwhile, anybody else one for the preview; then nobody gets any.
    """
    pay = f"/sessions/{scene.session_id}/pay"
    private = await asks_for_gifts(scene, target_diamonds=2 * CAKE_PRICE)
    await gives(scene, scene.viewer, CAKE, private)
    await scene.does(scene.viewer, "POST", pay, {"duration": STEP_SECONDS}, 202)
    too_long = {"context": {"session_id": scene.session_id, "duration": MAX_SECONDS}}
    await scene.is_refused(scene.viewer, "session-too-short", pay, {"duration": MAX_SECONDS})
    await scene.is_refused(scene.viewer, "session-too-short", "/goals?type=trigger-exclusive", too_long)
    show = offer(scene, target=1, seconds=MAX_SECONDS)
    await scene.is_refused(scene.streamer, "session-too-short", "/goals?type=show-funding", show)
    await scene.sees(scene.viewer, CAKE_SENT)
    await scene.sees(scene.viewer, "stream.authorized paid")
    await scene.watches(scene.viewer, "sd")
    await scene.watches(scene.world.person("Ned"), "preview")
    exp = (await _session(scene))["exp"]

    await until_time(exp)  # from now on it is over, whether or not its timer has run
    if (seen := await _session(scene))["active"] or seen["statuses"]["ended"] != exp:
        raise Unmet(f"the session is not over since {exp}: {seen}")
    gift = {"product_id": CAKE, "session_id": scene.session_id, "goal_id": None, "count": 1}
    await scene.is_refused(scene.viewer, "session-over", "/gifts", gift)
    await scene.is_refused(scene.viewer, "session-over", pay, {"duration": STEP_SECONDS})
    await scene.does(scene.viewer, "GET", f"/sessions/{scene.session_id}/token", None, 410)

    await scene.comes_out(
        Expected(
            goals=("goal.created private", "goal.progressed private 99 of 198", "goal.ended private cancelled"),
            sessions=(
                "session.started",
                "session.goal_added private",
                "session.payment_requested",
                "session.viewer_authorized paid",
                "session.ended",
            ),
            escrow=(
                *("escrow.held", "payment.succeeded"),
                *("escrow.failed cancelled", "escrow.settled released 0 refunded 1"),
            ),
            shop=(CAKE_REQUESTED, CAKE_SENT),
            stream=(
                "goal.added private",
                "goal.progress.updated private 99 of 198",
                "goal.ended private cancelled",
            ),
            gifts=(CAKE_SENT,),
            alone=("stream.authorized paid",),
            viewer=(CAKE_SENT, "escrow.failed cancelled"),
            wallet=PURSE - SD_PRICE,
            earned=SD_PRICE,
            escrows=("refund",),
        )
    )


async def _session(scene: Scene) -> Any:
    return await scene.world.get(scene.viewer, f"/sessions/{scene.session_id}")


STORIES: Final = (
    Story("A session at its maximum", over_at_its_maximum, "Wanda", "Gus", PURSE, max_seconds=MAX_SECONDS),
)
