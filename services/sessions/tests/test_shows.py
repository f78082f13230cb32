"""Shows, private goals and karaoke in their session, told by events, on the real MongoDB."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeVar

import pytest

from chassis import ids
from chassis.testing import Solo
from contracts import (
    Conditions,
    Context,
    EscrowFailedV1,
    Event,
    GoalCreatedV1,
    GoalEndedV1,
    GoalKind,
    GoalProgressedV1,
    Level,
    Metadata,
    Outcome,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionGoalClosedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from sessions import store
from sessions.domain.private import SLICE_MAX
from sessions.domain.session import Session
from sessions.domain.viewer import Viewer
from sessions.service import SERVICE

JUDGED = 60

SoloOf = Callable[..., Awaitable[Solo]]
E = TypeVar("E", bound=Event)

TYPES: dict[GoalKind, Any] = {
    "ShowFundingGoal": "show-funding",
    "ShowGoal": "show",
    "TriggerPrivateGoal": "trigger-private",
    "KaraokeGoal": "karaoke",
    "TriggerExclusiveGoal": "trigger-exclusive",
}


@dataclass
class Night:
    """A session on air, and the events that goals and escrow would tell of it."""

    solo: Solo
    session_id: str
    streamer_id: str

    def _of(self, goal_id: str, kind: GoalKind, funding: str | None, viewer: str | None) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "streamer_id": self.streamer_id,
            "goal_id": goal_id,
            "kind": kind,
            "conditions": Conditions(session_id=self.session_id, exclusive_to=viewer),
            "context": Context(type=TYPES[kind], session_id=self.session_id, funding_goal_id=funding),
            "levels": (Level(title="it", target=10),),
            "exp": self.solo.now,
        }

    def created(
        self, goal_id: str, kind: GoalKind, *, funding: str | None = None, viewer: str | None = None
    ) -> GoalCreatedV1:
        return GoalCreatedV1(
            **self._of(goal_id, kind, funding, viewer),
            active=True,
            metadata=Metadata(user_id=self.streamer_id),
            nbf=self.solo.now,
        )

    def ended(
        self,
        goal_id: str,
        kind: GoalKind,
        outcome: Outcome,
        *,
        funding: str | None = None,
        viewer: str | None = None,
    ) -> GoalEndedV1:
        return GoalEndedV1(
            **self._of(goal_id, kind, funding, viewer),
            active=False,
            progress=10,
            ended_at=self.solo.now,
            triggerer=None,
            metadata=Metadata(
                user_id=self.streamer_id, prepaid_duration=300, agreed=self.solo.now if outcome == "agreed" else None
            ),
            outcome=outcome,
        )

    def counted(self, goal_id: str, kind: GoalKind, user_id: str, earning_id: str) -> GoalProgressedV1:
        return GoalProgressedV1(
            session_id=self.session_id,
            streamer_id=self.streamer_id,
            goal_id=goal_id,
            kind=kind,
            user_id=user_id,
            contribution_id=earning_id,
            earning_id=earning_id,
            escrow_id=_escrow(goal_id, kind),
            count=2,
            progress=2,
            target=10,
            reached=False,
        )

    def refunded(self, goal_id: str, kind: GoalKind, user_id: str, earning_id: str) -> EscrowFailedV1:
        return EscrowFailedV1(
            session_id=self.session_id,
            streamer_id=self.streamer_id,
            goal_id=goal_id,
            escrow_id=_escrow(goal_id, kind),
            earning_id=earning_id,
            buyer_id=user_id,
            amount_diamonds=10,
            reason="cancelled",
        )

    async def session(self) -> Session:
        async with self.solo.tx() as tx:
            return await store.session(tx, self.session_id)

    async def viewer(self, viewer_id: str) -> Viewer:
        async with self.solo.tx() as tx:
            return await store.viewer(tx, self.session_id, viewer_id)

    async def told(self, kind: type[E]) -> list[E]:
        return [event for event in await self.solo.take() if isinstance(event, kind)]

    async def end(self) -> None:
        answer = await self.solo.client(self.streamer_id, "CREATOR").delete(f"/sessions/{self.session_id}")
        assert answer.status_code == 204, answer.text

    async def fund(self) -> str:
        """A funding that is running."""
        goal_id = ids.new_id()
        await self.solo.hear(self.created(goal_id, "ShowFundingGoal"))
        return goal_id

    async def show(self) -> tuple[str, str]:
        """A show that has just begun, and its funding."""
        funding, show = await self.fund(), ids.new_id()
        await self.solo.hear(
            self.ended(funding, "ShowFundingGoal", "funded"), self.created(show, "ShowGoal", funding=funding)
        )
        return funding, show

    async def complete_private(self, *contributors: str) -> str:
        """A private goal that its contributors have just completed."""
        goal_id = ids.new_id()
        await self.solo.hear(
            self.created(goal_id, "TriggerPrivateGoal"),
            *(self.counted(goal_id, "TriggerPrivateGoal", one, earning(one)) for one in contributors),
            self.ended(goal_id, "TriggerPrivateGoal", "completed"),
        )
        return goal_id


def earning(of: str) -> str:
    return ids.derived_id("earning", of)


def _escrow(goal_id: str, kind: GoalKind) -> str:
    return f"{'show_funding' if kind == 'ShowFundingGoal' else 'trigger_private'}:{goal_id}"


@pytest.fixture
async def night(solo_of: SoloOf) -> Night:
    solo = await solo_of(SERVICE)
    streamer_id = ids.new_id()
    answer = await solo.client(streamer_id, "CREATOR").post("/sessions", json={"prices": {"sd": 10}})
    await solo.take()
    return Night(solo, answer.json()["session_id"], streamer_id)


# -- show pairs ----------------------------------------------------------------------------------------------------


async def test_a_funding_begins_a_pair_that_its_show_joins(night: Night) -> None:
    funding, show = await night.show()

    (pair,) = (await night.session()).show_goal_pairs
    assert (pair.funding_goal, pair.show_goal) == (funding, show)
    assert (pair.funding_ended, pair.show_ended) == (night.solo.now, None)
    assert [event.kind for event in await night.told(SessionGoalAddedV1)] == ["ShowFundingGoal", "ShowGoal"]


async def test_pairs_stay_in_the_order_of_their_fundings(night: Night) -> None:
    first, second = await night.fund(), await night.fund()

    await night.solo.hear(night.ended(first, "ShowFundingGoal", "unfunded"))

    assert [pair.funding_goal for pair in (await night.session()).show_goal_pairs] == [first, second]


async def test_a_session_shows_its_pairs(night: Night) -> None:
    funding, show = await night.show()

    answer = await night.solo.client(ids.new_id()).get(f"/sessions/{night.session_id}")

    assert answer.json()["show_goal_pairs"] == [
        {
            "funding_goal": funding,
            "show_goal": show,
            "funding_ended": night.solo.now.timestamp(),
            "show_ended": None,
        }
    ]


async def test_a_show_performed_while_the_session_was_on_is_kept(night: Night) -> None:
    funding, show = await night.show()
    night.solo.clock.advance(60)
    await night.solo.take()

    await night.solo.hear(night.ended(show, "ShowGoal", "completed", funding=funding))

    (closed,) = await night.solo.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert (closed.kept, closed.funding_goal_id, closed.goal_id) == (True, funding, show)
    assert (await night.session()).show_goal_pairs[0].show_ended == night.solo.now


@pytest.mark.parametrize("outcome", ["completed", "cancelled"])
async def test_a_show_that_was_broken_off_is_not_kept(night: Night, outcome: Outcome) -> None:
    funding, show = await night.show()
    night.solo.clock.advance(60)
    ended = night.ended(show, "ShowGoal", outcome, funding=funding)

    await night.solo.hear(ended)

    (closed,) = await night.told(SessionGoalClosedV1)
    assert closed.kept is (outcome == "completed")


async def test_a_show_that_outlasted_its_session_is_not_kept(night: Night) -> None:
    funding, show = await night.show()
    night.solo.clock.advance(59)
    await night.end()
    night.solo.clock.advance(1)
    await night.solo.take()

    await night.solo.hear(night.ended(show, "ShowGoal", "completed", funding=funding))

    (closed,) = await night.solo.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


async def test_a_show_that_was_bound_after_its_end_is_not_kept(night: Night) -> None:
    funding, show = await night.fund(), ids.new_id()
    created = night.created(show, "ShowGoal", funding=funding)
    ended = night.ended(show, "ShowGoal", "completed", funding=funding)
    night.solo.clock.advance(1)

    await night.solo.hear(created, ended)

    (closed,) = await night.told(SessionGoalClosedV1)
    assert not closed.kept


async def test_a_session_never_ends_before_a_show_that_it_has_confirmed(night: Night) -> None:
    funding, show = await night.show()
    night.solo.clock.advance(60)
    until = night.solo.now
    ended = night.ended(show, "ShowGoal", "completed", funding=funding)
    night.solo.clock.advance(-1)  # goals' clock is ahead
    await night.solo.hear(ended)

    await night.end()

    (over,) = await night.told(SessionEndedV1)
    assert over.statuses.ended == until


# -- tickets -------------------------------------------------------------------------------------------------------


async def test_a_purchase_that_counts_is_a_ticket_once(night: Night) -> None:
    funding, buyer = await night.fund(), ids.new_id()
    await night.solo.take()
    counted = night.counted(funding, "ShowFundingGoal", buyer, earning(buyer))

    await night.solo.hear(counted, counted)
    await night.solo.hear(counted)

    (authorized,) = await night.solo.take()
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert (authorized.reason, authorized.viewer_id, authorized.earning_id) == ("ticket", buyer, earning(buyer))
    assert (authorized.nbf, authorized.duration, authorized.exp) == (None, None, None)
    assert (await night.viewer(buyer)).tickets == 1


async def test_an_ended_session_records_tickets_and_authorizes_nobody(night: Night) -> None:
    funding, buyer = await night.fund(), ids.new_id()
    await night.end()
    await night.solo.take()

    await night.solo.hear(night.counted(funding, "ShowFundingGoal", buyer, earning(buyer)))

    assert await night.solo.take() == []
    assert (await night.viewer(buyer)).tickets == 1


async def test_a_refund_voids_its_ticket_and_says_what_remains(night: Night) -> None:
    funding, buyer = await night.fund(), ids.new_id()
    for one in ("1", "2"):
        await night.solo.hear(night.counted(funding, "ShowFundingGoal", buyer, earning(one)))
    await night.solo.take()

    for one in ("1", "1", "2"):
        await night.solo.hear(night.refunded(funding, "ShowFundingGoal", buyer, earning(one)))

    events = await night.told(SessionViewerRevokedV1)
    assert [(event.earning_id, event.remaining.ticket) for event in events] == [
        (earning("1"), True),
        (earning("2"), False),
    ]


async def test_a_ticket_of_an_earlier_show_is_no_ticket_any_more(night: Night) -> None:
    funding, buyer = await night.fund(), ids.new_id()
    for one in ("1", "2"):
        await night.solo.hear(night.counted(funding, "ShowFundingGoal", buyer, earning(one)))
    await night.fund()
    await night.solo.take()

    await night.solo.hear(night.refunded(funding, "ShowFundingGoal", buyer, earning("1")))

    (revoked,) = await night.told(SessionViewerRevokedV1)
    assert not revoked.remaining.ticket


async def test_a_refund_of_an_earlier_show_leaves_the_later_ones_tickets(night: Night) -> None:
    first, buyer = await night.fund(), ids.new_id()
    await night.solo.hear(night.counted(first, "ShowFundingGoal", buyer, earning("1")))
    second = await night.fund()
    await night.solo.hear(night.counted(second, "ShowFundingGoal", buyer, earning("2")))
    await night.solo.take()

    await night.solo.hear(night.refunded(first, "ShowFundingGoal", buyer, earning("1")))

    (revoked,) = await night.told(SessionViewerRevokedV1)
    assert revoked.remaining.ticket


async def test_a_refund_read_before_its_purchase_is_remembered(night: Night) -> None:
    funding, buyer = await night.fund(), ids.new_id()
    await night.solo.take()

    await night.solo.hear(night.refunded(funding, "ShowFundingGoal", buyer, earning(buyer)))
    await night.solo.hear(night.counted(funding, "ShowFundingGoal", buyer, earning(buyer)))

    assert await night.solo.take() == []
    assert (await night.viewer(buyer)).tickets == 0


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "one by one"])
async def test_purchases_and_refunds_come_out_the_same_in_any_order(night: Night, *, apart: bool) -> None:
    funding, buyer = await night.fund(), ids.new_id()
    events: list[Event] = [
        make(funding, "ShowFundingGoal", buyer, earning(one))
        for one in ("1", "2")
        for make in (night.counted, night.refunded)
    ]
    ends = []

    for order in permutations(events[:3]):
        for name in ("tickets", "viewers"):
            await night.solo.runtime.database[name].delete_many({})
        await night.solo.hear(*order, apart=apart)
        viewer = await night.viewer(buyer)
        ends.append((viewer.tickets, viewer.remaining(await night.session()).ticket))

    assert ends == [(1, True)] * len(ends)


async def test_many_purchases_of_one_buyer_at_once_all_count(night: Night) -> None:
    funding, buyer = await night.fund(), ids.new_id()

    await asyncio.gather(
        *(night.solo.hear(night.counted(funding, "ShowFundingGoal", buyer, earning(str(n)))) for n in range(8))
    )

    assert (await night.viewer(buyer)).tickets == 8


# -- private goals -------------------------------------------------------------------------------------------------


async def test_a_private_goal_is_embedded_and_told(night: Night) -> None:
    goal_id = ids.new_id()
    created = night.created(goal_id, "TriggerPrivateGoal")

    await night.solo.hear(created, created)

    assert [goal.goal for goal in (await night.session()).trigger_private_goals] == [goal_id]
    assert len(await night.told(SessionGoalAddedV1)) == 1


async def test_contributors_of_a_completed_goal_get_their_right_once(night: Night) -> None:
    one, other = ids.new_id(), ids.new_id()
    goal_id = ids.new_id()
    story = [
        night.created(goal_id, "TriggerPrivateGoal"),
        night.counted(goal_id, "TriggerPrivateGoal", one, earning("1")),
        night.counted(goal_id, "TriggerPrivateGoal", one, earning("2")),
        night.counted(goal_id, "TriggerPrivateGoal", other, earning("3")),
        night.ended(goal_id, "TriggerPrivateGoal", "completed"),
    ]

    await night.solo.hear(*story)
    await night.solo.hear(*story)

    authorized = await night.told(SessionViewerAuthorizedV1)
    assert sorted((event.viewer_id, event.reason) for event in authorized) == sorted(
        [(one, "private"), (other, "private")]
    )
    assert [(await night.viewer(viewer)).private for viewer in (one, other)] == [1, 1]


async def test_a_goal_that_was_not_completed_gives_no_right_and_is_not_judged(night: Night) -> None:
    goal_id, one = ids.new_id(), ids.new_id()
    await night.solo.hear(
        night.created(goal_id, "TriggerPrivateGoal"),
        night.counted(goal_id, "TriggerPrivateGoal", one, earning(one)),
    )
    await night.solo.take()

    await night.solo.hear(night.ended(goal_id, "TriggerPrivateGoal", "timed_out"))
    night.solo.clock.advance(JUDGED)
    await night.solo.run_timers()

    assert await night.solo.take() == []


async def test_a_private_goal_is_kept_when_the_session_was_on_and_everyones_until_judged(night: Night) -> None:
    goal_id = await night.complete_private(ids.new_id())
    night.solo.clock.advance(JUDGED - 0.001)
    await night.solo.run_timers()
    assert await night.told(SessionGoalClosedV1) == []

    night.solo.clock.advance(0.001)
    await night.solo.run_timers()

    (closed,) = await night.told(SessionGoalClosedV1)
    assert (closed.goal_id, closed.kind, closed.kept) == (goal_id, "TriggerPrivateGoal", True)


async def test_a_private_goal_is_judged_at_the_sessions_end_if_that_is_sooner(night: Night) -> None:
    await night.complete_private(ids.new_id())
    night.solo.clock.advance(JUDGED / 2)
    await night.solo.take()

    await night.end()

    ended, closed = await night.solo.take()
    assert isinstance(ended, SessionEndedV1)
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept
    night.solo.clock.advance(JUDGED)
    await night.solo.run_timers()
    assert await night.solo.take() == []


async def test_a_session_that_ends_when_the_goal_is_due_has_kept_it(night: Night) -> None:
    await night.complete_private(ids.new_id())
    night.solo.clock.advance(JUDGED)

    await night.end()

    (closed,) = await night.told(SessionGoalClosedV1)
    assert closed.kept


async def test_a_goal_completed_on_an_ended_session_is_not_kept_and_gives_no_right(night: Night) -> None:
    goal_id, one = ids.new_id(), ids.new_id()
    await night.solo.hear(
        night.created(goal_id, "TriggerPrivateGoal"),
        night.counted(goal_id, "TriggerPrivateGoal", one, earning(one)),
    )
    await night.end()
    await night.solo.take()

    await night.solo.hear(night.ended(goal_id, "TriggerPrivateGoal", "completed"))

    (closed,) = await night.solo.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


@pytest.mark.parametrize(("after_seconds", "kept"), [(30, False), (JUDGED, True)])
async def test_a_session_that_turns_exclusive_before_the_goal_is_due_breaks_it(
    night: Night, after_seconds: int, *, kept: bool
) -> None:
    await night.complete_private(ids.new_id())
    night.solo.clock.advance(after_seconds)
    invitation_id, viewer = ids.new_id(), ids.new_id()

    await night.solo.hear(
        night.created(invitation_id, "TriggerExclusiveGoal", viewer=viewer),
        night.ended(invitation_id, "TriggerExclusiveGoal", "agreed", viewer=viewer),
    )

    night.solo.clock.advance(JUDGED)
    await night.solo.run_timers()
    (closed,) = await night.told(SessionGoalClosedV1)
    assert closed.kept is kept


async def test_a_goal_completed_while_the_session_is_exclusive_is_not_kept(night: Night) -> None:
    invitation_id, viewer = ids.new_id(), ids.new_id()
    await night.solo.hear(
        night.created(invitation_id, "TriggerExclusiveGoal", viewer=viewer),
        night.ended(invitation_id, "TriggerExclusiveGoal", "agreed", viewer=viewer),
    )
    await night.complete_private(ids.new_id())

    night.solo.clock.advance(JUDGED)
    await night.solo.run_timers()

    (closed,) = await night.told(SessionGoalClosedV1)
    assert not closed.kept


async def test_many_contributors_get_their_right_in_slices_and_the_goal_is_judged_after_the_last(
    night: Night,
) -> None:
    contributors = [ids.new_id() for _ in range(SLICE_MAX + 4)]

    await night.complete_private(*contributors)
    assert len(await night.told(SessionViewerAuthorizedV1)) == SLICE_MAX
    night.solo.clock.advance(5)
    await night.solo.run_timers()

    assert len(await night.told(SessionViewerAuthorizedV1)) == 4
    night.solo.clock.advance(JUDGED - 1)
    await night.solo.run_timers()
    assert await night.told(SessionGoalClosedV1) == []
    night.solo.clock.advance(1)
    await night.solo.run_timers()
    assert len(await night.told(SessionGoalClosedV1)) == 1


async def test_a_refund_takes_the_right_with_the_last_gift_that_gave_it(night: Night) -> None:
    one, goal_id = ids.new_id(), ids.new_id()
    await night.solo.hear(
        night.created(goal_id, "TriggerPrivateGoal"),
        night.counted(goal_id, "TriggerPrivateGoal", one, earning("1")),
        night.counted(goal_id, "TriggerPrivateGoal", one, earning("2")),
        night.ended(goal_id, "TriggerPrivateGoal", "completed"),
    )
    await night.solo.take()

    for of in ("1", "1", "2"):
        await night.solo.hear(night.refunded(goal_id, "TriggerPrivateGoal", one, earning(of)))

    events = await night.told(SessionViewerRevokedV1)
    assert [event.remaining.private for event in events] == [True, False]


async def test_a_gift_refunded_before_it_is_heard_of_gives_no_right(night: Night) -> None:
    one, goal_id = ids.new_id(), ids.new_id()

    await night.solo.hear(
        night.refunded(goal_id, "TriggerPrivateGoal", one, earning(one)),
        night.created(goal_id, "TriggerPrivateGoal"),
        night.counted(goal_id, "TriggerPrivateGoal", one, earning(one)),
        night.ended(goal_id, "TriggerPrivateGoal", "completed"),
    )

    assert await night.told(SessionViewerAuthorizedV1) == []


# -- karaoke -------------------------------------------------------------------------------------------------------


async def test_a_karaoke_goal_is_embedded_and_ended(night: Night) -> None:
    goal_id = ids.new_id()
    story = [night.created(goal_id, "KaraokeGoal"), night.ended(goal_id, "KaraokeGoal", "completed")]

    await night.solo.hear(*story)
    await night.solo.hear(*story)

    (goal,) = (await night.session()).karaoke_goals
    assert (goal.goal, goal.ended) == (goal_id, night.solo.now)
    (added,) = await night.solo.take()
    assert isinstance(added, SessionGoalAddedV1)
