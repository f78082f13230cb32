"""Other services' facts, as far as they say who may listen; and whose connection is cut when they end that."""

from chassis.decision import At
from chassis.storage.tx import Tx
from contracts import (
    GoalEndedV1,
    PassActivatedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier import store
from notifier.domain import cuts, endings, entitlement
from notifier.domain.entitlement import Block, SessionState
from notifier.domain.pushes import EndedGoal
from notifier.handlers.pushes import cause_of


async def remember_goal_ended(event: GoalEndedV1, tx: Tx) -> None:
    """What is read of this goal later is not pushed any more."""
    tx.put(store.ENDED_GOALS, EndedGoal(event.goal_id, tx.cause.at))


async def project_session(event: SessionState, tx: Tx) -> None:
    """Whether the streamer is on air, and for whom alone."""
    known, cause = await tx.get(store.BROADCASTS, event.streamer_id), cause_of(tx)
    tx.put(store.BROADCASTS, entitlement.broadcast(known, event))
    _set(tx, cuts.changed(known, event, cause), *endings.of_shows(known, event, cause))


async def invalidate_cached_pusher_channel_data(event: SessionGoalAddedV1 | GoalEndedV1, tx: Tx) -> None:
    """Tokens that were made before are not given again: what carries them is made under the broadcast's revision."""
    touched = entitlement.touched(await tx.get(store.BROADCASTS, event.streamer_id), event.session_id)
    if touched is not None:
        tx.put(store.BROADCASTS, touched)


async def project_viewer_authorized(event: SessionViewerAuthorizedV1, tx: Tx) -> None:
    """A viewer may watch, perhaps for some time."""
    known = await tx.get(store.PERMITS, entitlement.pair_id(event.session_id, event.viewer_id))
    permit = entitlement.authorized(known, event, tx.cause.at)
    tx.put(store.PERMITS, permit)
    _set(tx, endings.of_permit(known, permit, event.session_id, event.streamer_id, cause_of(tx)))


async def project_viewer_revoked(event: SessionViewerRevokedV1, tx: Tx) -> None:
    """Only what remains is a viewer's."""
    known = await tx.get(store.PERMITS, entitlement.pair_id(event.session_id, event.viewer_id))
    permit = entitlement.revoked(known, event, tx.cause.at)
    tx.put(store.PERMITS, permit)
    watcher = await store.watcher(tx, event.streamer_id, event.viewer_id)
    may_not = watcher is None or entitlement.may_watch_paid(watcher, tx.now) is None
    cause = cause_of(tx)
    soon = cuts.revoked(event, cause) if may_not else None
    _set(tx, soon or endings.of_permit(known, permit, event.session_id, event.streamer_id, cause))


async def project_pass_activated(event: PassActivatedV1, tx: Tx) -> None:
    """A user has a pass, for a while."""
    id_ = entitlement.pass_id(event.user_id, event.pass_kind)
    activated = entitlement.activated(await tx.get(store.PASSES, id_), event, tx.cause.at)
    if activated is not None:
        tx.put(store.PASSES, activated)
        _set(tx, endings.of_pass(activated, cause_of(tx)))


async def project_viewer_blocked(event: ViewerBlockedV1, tx: Tx) -> None:
    """The viewer may not listen to this streamer."""
    tx.put(store.BLOCKS, Block(store.block_id(event)))
    _set(tx, cuts.blocked(event, cause_of(tx)))


async def project_viewer_unblocked(event: ViewerUnblockedV1, tx: Tx) -> None:
    """The viewer may listen again."""
    tx.delete(store.BLOCKS, store.block_id(event))


def _set(tx: Tx, *timers: At | None) -> None:
    for timer in timers:
        if timer is not None:
            tx.set_timer(timer)
