"""Shows, private goals and karaoke in their session, told by events, on the real MongoDB."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations
from typing import Any, TypeVar

import pytest

from chassis import ids
from chassis_testing.service import ServiceHarness
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
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from sessions.domain.private import SLICE_MAX
from sessions.domain.session import Session
from sessions.domain.viewer import Viewer
from sessions.service import SERVICE
from sessions.store import holders, load

JUDGED = 60

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
E = TypeVar("E", bound=Event)

TYPES: dict[GoalKind, Any] = {
    "ShowFundingGoal": "show-funding",
    "ShowGoal": "show",
    "TriggerPrivateGoal": "trigger-private",
    "KaraokeGoal": "karaoke",
    "TriggerExclusiveGoal": "trigger-exclusive",
}


@dataclass
class LiveSession:
    """A session on air, and the events that goals and escrow would tell of it."""

    harness: ServiceHarness
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
            "exp": self.harness.now,
        }

    def created(
        self, goal_id: str, kind: GoalKind, *, funding: str | None = None, viewer: str | None = None
    ) -> GoalCreatedV1:
        return GoalCreatedV1(
            **self._of(goal_id, kind, funding, viewer),
            active=True,
            metadata=Metadata(user_id=self.streamer_id),
            nbf=self.harness.now,
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
            ended_at=self.harness.now,
            triggerer=None,
            metadata=Metadata(
                user_id=self.streamer_id, prepaid_duration=300, agreed=self.harness.now if outcome == "agreed" else None
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
        async with self.harness.tx() as tx:
            return await load.session(tx, self.session_id)

    async def viewer(self, viewer_id: str) -> Viewer:
        async with self.harness.tx() as tx:
            return await holders.viewer(tx, self.session_id, viewer_id)

    async def published(self, kind: type[E]) -> list[E]:
        return [event for event in await self.harness.take() if isinstance(event, kind)]

    async def end(self) -> None:
        answer = await self.harness.client(self.streamer_id, "CREATOR").delete(f"/sessions/{self.session_id}")
        assert answer.status_code == 204, answer.text

    async def fund(self) -> str:
        """A funding that is running."""
        goal_id = ids.new_id()
        await self.harness.handle(self.created(goal_id, "ShowFundingGoal"))
        return goal_id

    async def show(self) -> tuple[str, str]:
        """A show that has just begun, and its funding."""
        funding, show = await self.fund(), ids.new_id()
        await self.harness.handle(
            self.ended(funding, "ShowFundingGoal", "funded"), self.created(show, "ShowGoal", funding=funding)
        )
        return funding, show

    async def complete_private(self, *contributors: str) -> str:
        """A private goal that its contributors have just completed."""
        goal_id = ids.new_id()
        await self.harness.handle(
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
async def live(harness_of: HarnessOf) -> LiveSession:
    harness = await harness_of(SERVICE)
    streamer_id = ids.new_id()
    answer = await harness.client(streamer_id, "CREATOR").post("/sessions", json={"prices": {"sd": 10}})
    await harness.take()
    return LiveSession(harness, answer.json()["session_id"], streamer_id)


# -- show pairs ----------------------------------------------------------------------------------------------------


async def test_a_funding_begins_a_pair_that_its_show_joins(live: LiveSession) -> None:
    funding, show = await live.show()

    (pair,) = (await live.session()).show_goal_pairs
    assert (pair.funding_goal, pair.show_goal) == (funding, show)
    assert (pair.funding_ended, pair.show_ended) == (live.harness.now, None)
    assert [event.kind for event in await live.published(SessionGoalAddedV1)] == ["ShowFundingGoal", "ShowGoal"]


async def test_pairs_stay_in_the_order_of_their_fundings(live: LiveSession) -> None:
    first, second = await live.fund(), await live.fund()

    await live.harness.handle(live.ended(first, "ShowFundingGoal", "unfunded"))

    assert [pair.funding_goal for pair in (await live.session()).show_goal_pairs] == [first, second]


async def test_a_session_shows_its_pairs(live: LiveSession) -> None:
    funding, show = await live.show()

    answer = await live.harness.client(ids.new_id()).get(f"/sessions/{live.session_id}")

    assert answer.json()["show_goal_pairs"] == [
        {
            "funding_goal": funding,
            "show_goal": show,
            "funding_ended": live.harness.now.timestamp(),
            "show_ended": None,
        }
    ]


async def test_a_show_performed_while_the_session_was_on_is_kept(live: LiveSession) -> None:
    funding, show = await live.show()
    live.harness.clock.advance(60)
    await live.harness.take()

    await live.harness.handle(live.ended(show, "ShowGoal", "completed", funding=funding))

    updated, closed = await live.harness.take()
    assert isinstance(updated, SessionUpdatedV1)
    assert isinstance(closed, SessionGoalClosedV1)
    assert (closed.kept, closed.funding_goal_id, closed.goal_id) == (True, funding, show)
    assert (await live.session()).show_goal_pairs[0].show_ended == live.harness.now


async def test_whose_tickets_let_watch_is_told_from_the_show_on_until_its_end(live: LiveSession) -> None:
    funding, show = ids.new_id(), ids.new_id()
    announced = live.created(show, "ShowGoal", funding=funding)
    announced = announced.model_copy(
        update={"nbf": live.harness.now + timedelta(seconds=30), "exp": live.harness.now + timedelta(seconds=90)}
    )

    await live.harness.handle(live.created(funding, "ShowFundingGoal"))
    await live.harness.handle(live.ended(funding, "ShowFundingGoal", "funded"))
    before = await live.harness.take()
    await live.harness.handle(announced)
    on, added = await live.harness.take()
    await live.harness.handle(live.ended(show, "ShowGoal", "completed", funding=funding))
    (off,) = await live.published(SessionUpdatedV1)

    assert not any(isinstance(event, SessionUpdatedV1) for event in before)
    assert isinstance(added, SessionGoalAddedV1)  # after it: who hears of the show knows whose it is
    assert isinstance(on, SessionUpdatedV1)
    assert (on.ticket_goal_id, on.ticket_nbf, on.ticket_exp) == (funding, announced.nbf, announced.exp)
    assert (off.ticket_goal_id, off.ticket_nbf, off.ticket_exp) == (None, None, None)


async def test_the_show_of_another_funding_than_the_last_lets_nobody_watch(live: LiveSession) -> None:
    _, show = await live.show()
    await live.harness.handle(live.created(ids.new_id(), "ShowFundingGoal"))

    assert (await live.session()).show is None
    assert show


async def test_a_session_that_has_ended_tells_of_no_show_and_of_nothing_after_it(live: LiveSession) -> None:
    funding, show = await live.show()
    await live.end()
    (ended,) = await live.published(SessionEndedV1)

    await live.harness.handle(live.ended(show, "ShowGoal", "cancelled", funding=funding))

    assert ended.ticket_goal_id is None
    assert await live.published(SessionUpdatedV1) == []


@pytest.mark.parametrize("outcome", ["completed", "cancelled"])
async def test_a_show_that_was_broken_off_is_not_kept(live: LiveSession, outcome: Outcome) -> None:
    funding, show = await live.show()
    live.harness.clock.advance(60)
    ended = live.ended(show, "ShowGoal", outcome, funding=funding)

    await live.harness.handle(ended)

    (closed,) = await live.published(SessionGoalClosedV1)
    assert closed.kept is (outcome == "completed")


async def test_a_show_that_outlasted_its_session_is_not_kept(live: LiveSession) -> None:
    funding, show = await live.show()
    live.harness.clock.advance(59)
    await live.end()
    live.harness.clock.advance(1)
    await live.harness.take()

    await live.harness.handle(live.ended(show, "ShowGoal", "completed", funding=funding))

    (closed,) = await live.harness.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


async def test_a_show_that_was_bound_after_its_end_is_not_kept(live: LiveSession) -> None:
    funding, show = await live.fund(), ids.new_id()
    created = live.created(show, "ShowGoal", funding=funding)
    ended = live.ended(show, "ShowGoal", "completed", funding=funding)
    live.harness.clock.advance(1)

    await live.harness.handle(created, ended)

    (closed,) = await live.published(SessionGoalClosedV1)
    assert not closed.kept


async def test_a_session_never_ends_before_a_show_that_it_has_confirmed(live: LiveSession) -> None:
    funding, show = await live.show()
    live.harness.clock.advance(60)
    until = live.harness.now
    ended = live.ended(show, "ShowGoal", "completed", funding=funding)
    live.harness.clock.advance(-1)  # goals' clock is ahead
    await live.harness.handle(ended)

    await live.end()

    (over,) = await live.published(SessionEndedV1)
    assert over.statuses.ended == until


# -- tickets -------------------------------------------------------------------------------------------------------


async def test_a_purchase_that_counts_is_a_ticket_once(live: LiveSession) -> None:
    funding, buyer = await live.fund(), ids.new_id()
    await live.harness.take()
    counted = live.counted(funding, "ShowFundingGoal", buyer, earning(buyer))

    await live.harness.handle(counted, counted)
    await live.harness.handle(counted)

    (authorized,) = await live.harness.take()
    assert isinstance(authorized, SessionViewerAuthorizedV1)
    assert (authorized.reason, authorized.viewer_id, authorized.earning_id) == ("ticket", buyer, earning(buyer))
    assert (authorized.nbf, authorized.duration, authorized.exp) == (None, None, None)
    assert (await live.viewer(buyer)).tickets == 1


async def test_an_ended_session_records_tickets_and_authorizes_nobody(live: LiveSession) -> None:
    funding, buyer = await live.fund(), ids.new_id()
    await live.end()
    await live.harness.take()

    await live.harness.handle(live.counted(funding, "ShowFundingGoal", buyer, earning(buyer)))

    assert await live.harness.take() == []
    assert (await live.viewer(buyer)).tickets == 1


async def test_a_refund_voids_its_ticket_and_says_what_remains(live: LiveSession) -> None:
    funding, buyer = await live.fund(), ids.new_id()
    for one in ("1", "2"):
        await live.harness.handle(live.counted(funding, "ShowFundingGoal", buyer, earning(one)))
    await live.harness.take()

    for one in ("1", "1", "2"):
        await live.harness.handle(live.refunded(funding, "ShowFundingGoal", buyer, earning(one)))

    events = await live.published(SessionViewerRevokedV1)
    assert [(event.earning_id, event.remaining.ticket) for event in events] == [
        (earning("1"), True),
        (earning("2"), False),
    ]


async def test_a_ticket_of_an_earlier_show_is_no_ticket_any_more(live: LiveSession) -> None:
    funding, buyer = await live.fund(), ids.new_id()
    for one in ("1", "2"):
        await live.harness.handle(live.counted(funding, "ShowFundingGoal", buyer, earning(one)))
    await live.fund()
    await live.harness.take()

    await live.harness.handle(live.refunded(funding, "ShowFundingGoal", buyer, earning("1")))

    (revoked,) = await live.published(SessionViewerRevokedV1)
    assert not revoked.remaining.ticket


async def test_a_refund_of_an_earlier_show_leaves_the_later_ones_tickets(live: LiveSession) -> None:
    first, buyer = await live.fund(), ids.new_id()
    await live.harness.handle(live.counted(first, "ShowFundingGoal", buyer, earning("1")))
    second = await live.fund()
    await live.harness.handle(live.counted(second, "ShowFundingGoal", buyer, earning("2")))
    await live.harness.take()

    await live.harness.handle(live.refunded(first, "ShowFundingGoal", buyer, earning("1")))

    (revoked,) = await live.published(SessionViewerRevokedV1)
    assert revoked.remaining.ticket


async def test_a_refund_read_before_its_purchase_is_remembered(live: LiveSession) -> None:
    funding, buyer = await live.fund(), ids.new_id()
    await live.harness.take()

    await live.harness.handle(live.refunded(funding, "ShowFundingGoal", buyer, earning(buyer)))
    await live.harness.handle(live.counted(funding, "ShowFundingGoal", buyer, earning(buyer)))

    assert await live.harness.take() == []
    assert (await live.viewer(buyer)).tickets == 0


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "one by one"])
async def test_purchases_and_refunds_come_out_the_same_in_any_order(live: LiveSession, *, apart: bool) -> None:
    funding, buyer = await live.fund(), ids.new_id()
    events: list[Event] = [
        make(funding, "ShowFundingGoal", buyer, earning(one))
        for one in ("1", "2")
        for make in (live.counted, live.refunded)
    ]
    ends = []

    for order in permutations(events[:3]):
        for name in ("tickets", "viewers"):
            await live.harness.runtime.database[name].delete_many({})
        await live.harness.handle(*order, apart=apart)
        viewer = await live.viewer(buyer)
        ends.append((viewer.tickets, viewer.remaining(await live.session()).ticket))

    assert ends == [(1, True)] * len(ends)


async def test_many_purchases_of_one_buyer_at_once_all_count(live: LiveSession) -> None:
    funding, buyer = await live.fund(), ids.new_id()

    await asyncio.gather(
        *(live.harness.handle(live.counted(funding, "ShowFundingGoal", buyer, earning(str(n)))) for n in range(8))
    )

    assert (await live.viewer(buyer)).tickets == 8


# -- private goals -------------------------------------------------------------------------------------------------


async def test_a_private_goal_is_embedded_and_told(live: LiveSession) -> None:
    goal_id = ids.new_id()
    created = live.created(goal_id, "TriggerPrivateGoal")

    await live.harness.handle(created, created)

    assert [goal.goal for goal in (await live.session()).trigger_private_goals] == [goal_id]
    assert len(await live.published(SessionGoalAddedV1)) == 1


async def test_contributors_of_a_completed_goal_get_their_right_once(live: LiveSession) -> None:
    one, other = ids.new_id(), ids.new_id()
    goal_id = ids.new_id()
    story = [
        live.created(goal_id, "TriggerPrivateGoal"),
        live.counted(goal_id, "TriggerPrivateGoal", one, earning("1")),
        live.counted(goal_id, "TriggerPrivateGoal", one, earning("2")),
        live.counted(goal_id, "TriggerPrivateGoal", other, earning("3")),
        live.ended(goal_id, "TriggerPrivateGoal", "completed"),
    ]

    await live.harness.handle(*story)
    await live.harness.handle(*story)

    authorized = await live.published(SessionViewerAuthorizedV1)
    assert sorted((event.viewer_id, event.reason) for event in authorized) == sorted(
        [(one, "private"), (other, "private")]
    )
    assert [(await live.viewer(viewer)).private for viewer in (one, other)] == [1, 1]


async def test_a_goal_that_was_not_completed_gives_no_right_and_is_not_judged(live: LiveSession) -> None:
    goal_id, one = ids.new_id(), ids.new_id()
    await live.harness.handle(
        live.created(goal_id, "TriggerPrivateGoal"),
        live.counted(goal_id, "TriggerPrivateGoal", one, earning(one)),
    )
    await live.harness.take()

    await live.harness.handle(live.ended(goal_id, "TriggerPrivateGoal", "timed_out"))
    live.harness.clock.advance(JUDGED)
    await live.harness.run_timers()

    assert await live.harness.take() == []


async def test_a_private_goal_is_kept_when_the_session_was_on_and_everyones_until_judged(live: LiveSession) -> None:
    goal_id = await live.complete_private(ids.new_id())
    live.harness.clock.advance(JUDGED - 0.001)
    await live.harness.run_timers()
    assert await live.published(SessionGoalClosedV1) == []

    live.harness.clock.advance(0.001)
    await live.harness.run_timers()

    (closed,) = await live.published(SessionGoalClosedV1)
    assert (closed.goal_id, closed.kind, closed.kept) == (goal_id, "TriggerPrivateGoal", True)


async def test_a_private_goal_is_judged_at_the_sessions_end_if_that_is_sooner(live: LiveSession) -> None:
    await live.complete_private(ids.new_id())
    live.harness.clock.advance(JUDGED / 2)
    await live.harness.take()

    await live.end()

    ended, closed = await live.harness.take()
    assert isinstance(ended, SessionEndedV1)
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept
    live.harness.clock.advance(JUDGED)
    await live.harness.run_timers()
    assert await live.harness.take() == []


async def test_a_session_that_ends_when_the_goal_is_due_has_kept_it(live: LiveSession) -> None:
    await live.complete_private(ids.new_id())
    live.harness.clock.advance(JUDGED)

    await live.end()

    (closed,) = await live.published(SessionGoalClosedV1)
    assert closed.kept


async def test_a_goal_completed_on_an_ended_session_is_not_kept_and_gives_no_right(live: LiveSession) -> None:
    goal_id, one = ids.new_id(), ids.new_id()
    await live.harness.handle(
        live.created(goal_id, "TriggerPrivateGoal"),
        live.counted(goal_id, "TriggerPrivateGoal", one, earning(one)),
    )
    await live.end()
    await live.harness.take()

    await live.harness.handle(live.ended(goal_id, "TriggerPrivateGoal", "completed"))

    (closed,) = await live.harness.take()
    assert isinstance(closed, SessionGoalClosedV1)
    assert not closed.kept


@pytest.mark.parametrize(("after_seconds", "kept"), [(30, False), (JUDGED, True)])
async def test_a_session_that_turns_exclusive_before_the_goal_is_due_breaks_it(
    live: LiveSession, after_seconds: int, *, kept: bool
) -> None:
    await live.complete_private(ids.new_id())
    live.harness.clock.advance(after_seconds)
    invitation_id, viewer = ids.new_id(), ids.new_id()

    await live.harness.handle(
        live.created(invitation_id, "TriggerExclusiveGoal", viewer=viewer),
        live.ended(invitation_id, "TriggerExclusiveGoal", "agreed", viewer=viewer),
    )

    live.harness.clock.advance(JUDGED)
    await live.harness.run_timers()
    (closed,) = await live.published(SessionGoalClosedV1)
    assert closed.kept is kept


async def test_a_goal_completed_while_the_session_is_exclusive_is_not_kept(live: LiveSession) -> None:
    invitation_id, viewer = ids.new_id(), ids.new_id()
    await live.harness.handle(
        live.created(invitation_id, "TriggerExclusiveGoal", viewer=viewer),
        live.ended(invitation_id, "TriggerExclusiveGoal", "agreed", viewer=viewer),
    )
    await live.complete_private(ids.new_id())

    live.harness.clock.advance(JUDGED)
    await live.harness.run_timers()

    (closed,) = await live.published(SessionGoalClosedV1)
    assert not closed.kept


async def test_many_contributors_get_their_right_in_slices_and_the_goal_is_judged_after_the_last(
    live: LiveSession,
) -> None:
    contributors = [ids.new_id() for _ in range(SLICE_MAX + 4)]

    await live.complete_private(*contributors)
    assert len(await live.published(SessionViewerAuthorizedV1)) == SLICE_MAX
    live.harness.clock.advance(5)
    await live.harness.run_timers()

    assert len(await live.published(SessionViewerAuthorizedV1)) == 4
    live.harness.clock.advance(JUDGED - 1)
    await live.harness.run_timers()
    assert await live.published(SessionGoalClosedV1) == []
    live.harness.clock.advance(1)
    await live.harness.run_timers()
    assert len(await live.published(SessionGoalClosedV1)) == 1


async def test_a_refund_takes_the_right_with_the_last_gift_that_gave_it(live: LiveSession) -> None:
    one, goal_id = ids.new_id(), ids.new_id()
    await live.harness.handle(
        live.created(goal_id, "TriggerPrivateGoal"),
        live.counted(goal_id, "TriggerPrivateGoal", one, earning("1")),
        live.counted(goal_id, "TriggerPrivateGoal", one, earning("2")),
        live.ended(goal_id, "TriggerPrivateGoal", "completed"),
    )
    await live.harness.take()

    for of in ("1", "1", "2"):
        await live.harness.handle(live.refunded(goal_id, "TriggerPrivateGoal", one, earning(of)))

    events = await live.published(SessionViewerRevokedV1)
    assert [event.remaining.private for event in events] == [True, False]


async def test_a_gift_refunded_before_it_is_heard_of_gives_no_right(live: LiveSession) -> None:
    one, goal_id = ids.new_id(), ids.new_id()

    await live.harness.handle(
        live.refunded(goal_id, "TriggerPrivateGoal", one, earning(one)),
        live.created(goal_id, "TriggerPrivateGoal"),
        live.counted(goal_id, "TriggerPrivateGoal", one, earning(one)),
        live.ended(goal_id, "TriggerPrivateGoal", "completed"),
    )

    assert await live.published(SessionViewerAuthorizedV1) == []


# -- karaoke -------------------------------------------------------------------------------------------------------


async def test_a_karaoke_goal_is_embedded_and_ended(live: LiveSession) -> None:
    goal_id = ids.new_id()
    story = [live.created(goal_id, "KaraokeGoal"), live.ended(goal_id, "KaraokeGoal", "completed")]

    await live.harness.handle(*story)
    await live.harness.handle(*story)

    (goal,) = (await live.session()).karaoke_goals
    assert (goal.goal, goal.ended) == (goal_id, live.harness.now)
    (added,) = await live.harness.take()
    assert isinstance(added, SessionGoalAddedV1)
