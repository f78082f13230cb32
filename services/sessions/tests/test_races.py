"""What a decision relies on, it writes: two at once leave what one after the other would (SPEC §4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chassis import ids
from chassis.storage.mongo import PyMongoError
from contracts import GoalProgressedV1, SessionEndedV1, SessionViewerAuthorizedV1
from sessions.handlers.show import give_ticket

if TYPE_CHECKING:
    from services.sessions.tests.conftest import LiveSession

STEP = 60
PREPAID = 300
ROUNDS = 20


def counted(live: LiveSession, goal_id: str, viewer_id: str) -> GoalProgressedV1:
    earning_id = ids.new_id()
    return GoalProgressedV1(
        session_id=live.session_id,
        streamer_id=live.streamer_id,
        goal_id=goal_id,
        kind="ShowFundingGoal",
        user_id=viewer_id,
        contribution_id=earning_id,
        earning_id=earning_id,
        escrow_id=f"show_funding:{goal_id}",
        count=1,
        progress=1,
        target=10,
        reached=False,
    )


@pytest.mark.parametrize("_round", range(ROUNDS))
async def test_nobody_is_authorized_after_the_sessions_end(live: LiveSession, _round: int) -> None:
    goal_id = ids.new_id()
    tickets = [counted(live, goal_id, ids.new_id()) for _ in range(5)]

    await asyncio.gather(*(live.harness.handle(ticket) for ticket in tickets), live.end())

    published = await live.harness.take()
    (end,) = [place for place, event in enumerate(published) if isinstance(event, SessionEndedV1)]
    assert [event for event in published[end:] if isinstance(event, SessionViewerAuthorizedV1)] == []


async def test_a_ticket_that_was_being_given_when_the_session_ended_is_given_anew(live: LiveSession) -> None:
    ticket = counted(live, ids.new_id(), live.viewer_id)
    tx = live.harness.runtime.begin(live.harness.cause())
    try:
        await give_ticket(ticket, tx)  # loaded and decided, and then held up
        await live.end()
        with pytest.raises(PyMongoError):
            await tx.commit()
    finally:
        await tx.abort()

    assert [event for event in await live.harness.take() if isinstance(event, SessionViewerAuthorizedV1)] == []


@pytest.mark.parametrize("_round", range(ROUNDS))
async def test_a_refund_and_an_extension_at_once_leave_no_time(live: LiveSession, _round: int) -> None:
    invitation_id, goal_id = await live.begin()

    await asyncio.gather(
        live.harness.handle(live.refunded(invitation_id)),
        live.harness.handle(live.extended(goal_id, PREPAID + 2 * STEP)),
    )

    viewer = await live.viewer()
    assert viewer is not None
    assert (viewer.duration, viewer.exp) == (0, None)
