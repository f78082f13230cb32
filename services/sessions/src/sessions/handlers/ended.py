"""A goal is over: a handler for each thing that follows, in the order in which they follow (SPEC §4, §10)."""

from datetime import timedelta
from typing import get_args

from chassis.storage.tx import Tx
from contracts import GoalEndedV1, GoalKind
from sessions import store
from sessions.domain import exclusive, karaoke, minutes, private, show
from sessions.settings import SessionsSettings
from sessions.store import holders, load


async def set_embedded_goal_ended(event: GoalEndedV1, tx: Tx) -> None:
    """Its place in the session is closed; an agreement makes that its viewer's alone, an exclusive's end everyone's."""
    if event.kind not in get_args(GoalKind):
        return  # a kind of tomorrow
    session = await load.session(tx, event.session_id)
    match event.kind:
        case "ShowFundingGoal":
            store.save(tx, show.end_funding(session, await load.show_goal(tx, event), event))
        case "ShowGoal":
            store.save(tx, show.end_show(session, await load.show_goal(tx, event), event))
        case "TriggerExclusiveGoal":
            invitation = await load.invitation(tx, event.goal_id, session.id, event.conditions.exclusive_to)
            store.save(tx, exclusive.end_invitation(session, invitation, event, tx.now))
        case "ExclusiveGoal":
            goal, invitation = await load.exclusive(tx, event)
            store.save(tx, exclusive.end_exclusive(session, goal, invitation, event, tx.now))
        case "TriggerPrivateGoal":
            store.save(tx, private.end_private(session, await load.private_goal(tx, event.goal_id, session.id), event))
        case "KaraokeGoal":
            store.save(tx, karaoke.end_karaoke(session, await load.karaoke_goal(tx, event.goal_id, session.id), event))
        case _:
            return


async def cleanup_expired_exclusive_goal_pairs(event: GoalEndedV1, tx: Tx) -> None:
    """An agreement drops the other pairs that are over or waited for one."""
    if event.kind == "TriggerExclusiveGoal" and event.outcome == "agreed":
        session = await load.session(tx, event.session_id)
        store.save(tx, exclusive.cleanup_expired_exclusive_goal_pairs(session, event.goal_id))


async def sync_trigger_goal_session_viewer(event: GoalEndedV1, tx: Tx) -> None:
    """An agreement gives its viewer the time."""
    if event.kind != "TriggerExclusiveGoal" or event.outcome != "agreed":
        return
    session = await load.session(tx, event.session_id)
    invitation = await load.invitation(tx, event.goal_id, session.id, event.conditions.exclusive_to)
    nbf = invitation.agreed or event.ended_at
    holder = await holders.holder(tx, session.id, invitation.viewer_id, invitation.id, nbf)
    step_seconds = tx.settings(SessionsSettings).step_seconds
    store.save(tx, exclusive.sync_trigger_goal_session_viewer(session, invitation, holder, step_seconds))


async def pay_back_overtaken_minutes(event: GoalEndedV1, tx: Tx) -> None:
    """An agreement shuts others out: what they paid for and cannot watch goes back, next."""
    if event.kind != "TriggerExclusiveGoal" or event.outcome != "agreed":
        return
    session = await load.session(tx, event.session_id)
    invitation = await load.invitation(tx, event.goal_id, session.id, event.conditions.exclusive_to)
    if session.exclusive_for != invitation.id or invitation.agreed is None:
        return
    step = timedelta(seconds=tx.settings(SessionsSettings).step_seconds)
    if await holders.has_minutes_left(tx, session.id, invitation.agreed + step, invitation.viewer_id):
        left = minutes.MinutesLeft(
            session_id=session.id,
            reason="exclusive_to_another",
            at=invitation.agreed,
            given_until=invitation.exclusive_since,
            exclusive_to=invitation.viewer_id,
        )
        tx.set_timer(minutes.look_for(left, tx.now))


async def close_session_goal(event: GoalEndedV1, tx: Tx) -> None:
    """A show or an exclusive is judged (`session.goal_closed`); a private goal is once its time has come."""
    if event.kind == "ShowGoal":
        session = await load.session(tx, event.session_id)
        store.save(tx, show.close_show(session, await load.show_goal(tx, event), event))
    elif event.kind == "ExclusiveGoal":
        session = await load.session(tx, event.session_id)
        goal, invitation = await load.exclusive(tx, event)
        step_seconds = tx.settings(SessionsSettings).step_seconds
        store.save(tx, exclusive.close_exclusive(session, goal, invitation, event, step_seconds))


async def give_private_right(event: GoalEndedV1, tx: Tx) -> None:
    """The contributors of a completed private goal get their right."""
    if event.kind == "TriggerPrivateGoal":
        await _give_right(event.goal_id, event.session_id, "", tx)


async def give_more_right(timer: private.PrivateRightDue, tx: Tx) -> None:
    """The next slice of contributors gets its right."""
    await _give_right(timer.goal_id, timer.session_id, timer.after, tx)


async def _give_right(goal_id: str, session_id: str, after: str, tx: Tx) -> None:
    session, goal = await load.session(tx, session_id), await load.private_goal(tx, goal_id, session_id)
    if goal.state == "giving":
        slice_ = await load.contributors_after(tx, goal, after)
        judged_seconds = tx.settings(SessionsSettings).private_judged_seconds
        store.save(tx, private.give_right(session, goal, slice_, tx.now, judged_seconds))
