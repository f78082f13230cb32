"""What goals does when something happens, in whatever order it is read, on the real MongoDB."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations, product
from typing import TYPE_CHECKING

import pytest

from chassis import ids
from chassis_testing.service import ServiceHarness
from contracts import Event, GoalContributionRejectedV1, GoalEndedV1, GoalExtendedV1, GoalLapsedV1, GoalRejectedV1
from goals import handlers, store
from goals.domain import exclusive, extensions, invitation, lifecycle
from goals.domain.goal import End
from goals.domain.invitation import Viewer
from goals.domain.state import SLICE
from goals.settings import GoalsSettings

if TYPE_CHECKING:
    from services.goals.tests.conftest import LiveSession, LiveSessionOf

TIMING = GoalsSettings().timing


async def test_an_invitation_lives_from_proposal_to_the_end_of_its_exclusive(live: LiveSession) -> None:
    viewer = ids.new_id()
    invitation_id = (await live.ask(viewer)).json()["goal_id"]
    await live.harness.handle(live.held(invitation_id, viewer))
    await live.answer(invitation_id, agree=True)
    exclusive_id = (await live.start(invitation_id)).json()["goal_id"]
    await live.later(360)

    assert await live.published() == [
        "goal.proposed",
        "goal.created",
        "goal.progressed",
        "goal.ended",
        "goal.created",
        "goal.ended",
    ]
    invitation, exclusive = await live.goal(invitation_id), await live.goal(exclusive_id)
    assert (invitation.outcome, exclusive.outcome) == ("agreed", "completed")
    assert invitation.context.exclusive_goal_id == exclusive_id
    stage = await live.stage()
    assert (stage.holder_id, stage.open_invitations, stage.agreements) == (None, 0, 1)
    assert await live.harness.timers() == []


async def test_an_unanswered_proposal_ends_after_30_seconds(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await live.proposal(viewer)

    await live.later(29)
    assert (await live.goal(goal_id)).state == "proposed"
    await live.later(1)

    rejected = (await live.harness.take())[-1]
    assert isinstance(rejected, GoalRejectedV1)
    assert (rejected.reason, rejected.user_id) == ("proposal_expired", viewer)
    assert (await live.goal(goal_id)).state == "rejected"


async def test_money_held_for_an_expired_proposal_comes_back_once(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await live.proposal(viewer)
    await live.later(30)
    await live.published()

    for _ in range(5):
        await live.harness.handle(live.held(goal_id, viewer))

    assert await live.published() == ["goal.contribution_rejected"]


async def test_a_proposal_past_its_exp_is_over_although_its_timer_has_not_run(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await live.proposal(viewer)
    live.harness.clock.advance(30)
    await live.published()

    await live.harness.handle(live.held(goal_id, viewer))
    await live.harness.run_timers()

    assert await live.published() == ["goal.contribution_rejected", "goal.rejected"]


async def test_a_hold_for_a_goal_nobody_knows_comes_back(live: LiveSession) -> None:
    await live.harness.handle(live.held(ids.new_id(), ids.new_id()))

    (event,) = await live.harness.take()
    assert isinstance(event, GoalContributionRejectedV1)
    assert event.reason == "goal_unknown"


async def test_not_enough_diamonds_ends_the_proposal(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await live.proposal(viewer)

    for _ in range(2):
        await live.harness.handle(live.not_held(goal_id, viewer))

    assert await live.published() == ["goal.proposed", "goal.rejected"]
    assert (await live.goal(goal_id)).reason == "insufficient_diamonds"


async def test_a_gift_that_was_not_paid_concerns_no_goal(live: LiveSession) -> None:
    goal_id = await live.invitation(ids.new_id())
    await live.published()

    await live.harness.handle(live.not_held(goal_id, ids.new_id()), live.not_held(ids.new_id(), ids.new_id()))

    assert await live.published() == []


async def test_a_viewer_blocked_after_proposing_is_not_let_in(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await live.proposal(viewer)
    await live.published()

    await live.harness.handle(live.blocked(viewer), live.held(goal_id, viewer))

    told, rejected = await live.harness.take()
    assert isinstance(rejected, GoalContributionRejectedV1)
    assert isinstance(told, GoalRejectedV1)
    assert (rejected.reason, told.reason) == ("viewer_blocked", "viewer_blocked")


async def test_a_block_ends_the_open_invitation_of_that_viewer_alone(live: LiveSession) -> None:
    blocked, other = ids.new_id(), ids.new_id()
    blocked_id, other_id = await live.invitation(blocked), await live.invitation(other)
    elsewhere = live.another()
    await live.harness.handle(elsewhere.started())
    elsewhere_id = await elsewhere.invitation(blocked)
    await live.published()

    for _ in range(2):
        await live.harness.handle(live.blocked(blocked))

    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.goal_id, ended.outcome) == (blocked_id, "cancelled")
    assert (await live.stage()).open_invitations == 1
    assert (await live.goal(other_id)).active
    assert (await live.goal(elsewhere_id)).active
    await live.harness.handle(live.unblocked(blocked))
    assert (await live.answer(blocked_id, agree=True)).status_code == 409


async def test_money_held_after_somebody_elses_agreement_comes_back(live: LiveSession) -> None:
    late = ids.new_id()
    late_id = await live.proposal(late)
    await live.agreement(ids.new_id())
    await live.published()

    await live.harness.handle(live.held(late_id, late))

    assert await live.published() == ["goal.contribution_rejected", "goal.rejected"]


async def test_an_invitation_times_out_30_seconds_after_it_opened(live: LiveSession) -> None:
    goal_id = await live.invitation(ids.new_id())
    await live.published()

    await live.later(30)

    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.outcome, ended.triggerer, ended.progress) == ("timed_out", None, 1)
    assert ended.ended_at == ended.exp == (await live.goal(goal_id)).exp


async def test_an_agreement_without_an_exclusive_lapses_once_after_60_seconds(live: LiveSession) -> None:
    invitation_id = await live.agreement(ids.new_id())
    await live.published()

    await live.later(59)
    assert await live.published() == []
    await live.later(1)

    (lapsed,) = await live.harness.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert lapsed.reason == "no_exclusive"
    assert (await live.start(invitation_id)).status_code == 409
    assert (await live.ask(ids.new_id())).status_code == 202
    await live.harness.handle(live.ended())
    assert "goal.lapsed" not in await live.published()


async def test_the_sessions_end_ends_everything_and_lapses_the_agreement(live: LiveSession) -> None:
    proposal_id, open_id = await live.proposal(ids.new_id()), await live.invitation(ids.new_id())
    agreed_id = await live.agreement(ids.new_id())
    await live.published()

    await live.harness.handle(live.ended())

    published = {event.subject: event for event in await live.harness.take()}
    rejected, ended, lapsed = published[proposal_id], published[open_id], published[agreed_id]
    assert isinstance(rejected, GoalRejectedV1)
    assert isinstance(ended, GoalEndedV1)
    assert isinstance(lapsed, GoalLapsedV1)
    assert (rejected.reason, ended.outcome, lapsed.reason) == ("session_ended", "cancelled", "session_ended")
    assert (await live.stage()).open_invitations == 0
    await live.later(3_600)
    await live.harness.handle(live.ended())
    assert await live.published() == []


@pytest.mark.parametrize(("ran", "outcome"), [(293, "cancelled"), (294, "completed"), (400, "completed")])
async def test_the_sessions_end_ends_the_exclusive_as_of_that_moment(live: LiveSession, ran: int, outcome: str) -> None:
    _, exclusive_id = await live.exclusive(ids.new_id())
    began = live.harness.now
    await live.published()
    live.harness.clock.advance(500)

    await live.harness.handle(live.ended(began + timedelta(seconds=ran)))
    await live.harness.run_timers()

    (ended,) = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.goal_id, ended.outcome) == (exclusive_id, outcome)
    assert ended.ended_at == began + timedelta(seconds=min(ran, 360))
    assert ended.triggerer is None


async def test_a_session_with_many_goals_ends_in_slices(live: LiveSession) -> None:
    viewers = [ids.new_id() for _ in range(SLICE + 3)]
    goal_ids = [await live.proposal(viewer) for viewer in viewers]
    agreed_id = await live.invitation(ids.new_id())
    await live.answer(agreed_id, agree=True)
    await live.published()

    await live.harness.handle(live.ended())
    assert await live.published() == ["goal.rejected"] * SLICE
    assert (await live.ask(ids.new_id())).status_code == 409
    await live.harness.run_timers()

    assert await live.published() == ["goal.rejected"] * 3 + ["goal.lapsed"]
    assert {(await live.goal(goal_id)).state for goal_id in goal_ids} == {"rejected"}
    assert (await live.stage()).open_invitations == 0


async def test_a_payment_makes_the_exclusive_longer_once(live: LiveSession) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)
    before = (await live.goal(exclusive_id)).exp
    await live.published()
    paid = live.paid(exclusive_id, viewer, duration=120)

    for _ in range(5):
        await live.harness.handle(paid)

    (extended,) = await live.harness.take()
    assert isinstance(extended, GoalExtendedV1)
    assert (extended.payment_id, extended.duration) == (paid.payment_id, 120)
    assert extended.exp == before + timedelta(seconds=120) == (await live.goal(exclusive_id)).exp


async def test_other_time_of_the_viewer_does_not_count(live: LiveSession) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)
    await live.published()

    await live.harness.handle(
        live.paid(exclusive_id, viewer, reason="extended", payment_id=None),
        live.paid(exclusive_id, viewer, reason="ticket", duration=None),
        live.paid(exclusive_id, viewer, exclusive_goal_id=None),
    )

    assert await live.published() == []


async def test_payments_that_come_after_the_end_are_given_back_once(live: LiveSession) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)
    await live.answer(exclusive_id, agree=None)
    await live.published()
    for paid in (live.paid(exclusive_id, viewer), live.paid(ids.new_id(), viewer)):
        for _ in range(2):
            await live.harness.handle(paid)

    assert await live.published() == ["goal.extension_rejected"] * 2


async def test_at_the_end_each_payment_is_kept_whose_part_had_begun(live: LiveSession) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)  # 360 s
    payments = [live.paid(exclusive_id, viewer, duration=60) for _ in range(3)]  # from 360, 420 and 480 s on
    await live.harness.handle(*payments)
    await live.later(421)
    await live.published()

    await live.answer(exclusive_id, agree=None)

    ended, *rejected = await live.harness.take()
    assert isinstance(ended, GoalEndedV1)
    assert ended.outcome == "completed"
    assert [event.model_dump()["payment_id"] for event in rejected] == [payments[2].payment_id]


async def test_at_the_end_steps_of_a_payment_that_have_not_begun_are_given_back_though_others_have(
    live: LiveSession,
) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)  # 360 s
    payments = [live.paid(exclusive_id, viewer, duration=seconds) for seconds in (60, 180, 60)]  # from 360, 420, 600 on
    await live.harness.handle(*payments)
    await live.later(421)
    await live.published()

    await live.answer(exclusive_id, agree=None)

    _ended, *rejected = await live.harness.take()
    given_back = [(event.model_dump()["payment_id"], event.model_dump()["duration"]) for event in rejected]
    assert given_back == [(payments[1].payment_id, 120), (payments[2].payment_id, None)]


async def test_more_payments_than_a_slice_are_given_back_in_slices(live: LiveSession) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)
    async with live.harness.tx() as tx:  # more than can be paid for ahead
        for _ in range(SLICE + 5):
            paid = extensions.paid_extension(live.paid(exclusive_id, viewer), tx.now)
            assert paid is not None
            tx.put(store.EXTENSIONS, paid.remembered(begins=tx.now))
    await live.published()

    await live.answer(exclusive_id, agree=None)
    assert await live.published() == ["goal.ended"] + ["goal.extension_rejected"] * SLICE
    await live.harness.run_timers()

    assert await live.published() == ["goal.extension_rejected"] * 5


async def test_a_payment_for_more_than_60_steps_ahead_is_given_back(live: LiveSession) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await live.exclusive(viewer)  # 6 steps
    await live.published()

    await live.harness.handle(
        live.paid(exclusive_id, viewer, duration=55 * 60), live.paid(exclusive_id, viewer, duration=54 * 60)
    )

    assert await live.published() == ["goal.extension_rejected", "goal.extended"]


async def test_an_extended_exclusive_ends_at_its_new_exp(live: LiveSession) -> None:
    _, exclusive_id = await live.exclusive(ids.new_id())
    await live.extend(exclusive_id)
    await live.published()

    await live.later(360)
    assert (await live.goal(exclusive_id)).active
    await live.later(60)

    assert await live.published() == ["goal.ended"]


async def test_a_timer_that_comes_too_early_is_set_anew(live: LiveSession) -> None:
    goal_id = await live.invitation(ids.new_id())
    timers = await live.harness.timers()

    async with live.harness.tx() as tx:
        (row,) = (row for row in live.harness.service.timers if row.subject is type(timers[0]))
        await row.handler(timers[0], tx)

    assert (await live.goal(goal_id)).active
    assert await live.harness.timers() == timers


async def test_settings_decide_how_long_things_take(live_session: LiveSessionOf) -> None:
    live = await live_session(
        STEP_SECONDS=4, PROPOSAL_SECONDS=2, INVITATION_SECONDS=3, EXCLUSIVE_WINDOW_SECONDS=4, REFUSED_COOLDOWN_SECONDS=5
    )
    viewer, began = ids.new_id(), live.harness.now

    proposal = await live.goal(await live.proposal(viewer))
    await live.harness.handle(live.held(proposal.id, viewer))
    invitation = await live.goal(proposal.id)
    await live.answer(proposal.id, agree=True)
    started = await live.start(proposal.id)

    assert proposal.exp == began + timedelta(seconds=2)
    assert invitation.exp == began + timedelta(seconds=3)
    assert (await live.goal(started.json()["goal_id"])).exp == began + timedelta(seconds=24)  # agreed + 1 + 5 steps
    lapsing = live.another()
    await live.harness.handle(lapsing.started())
    await lapsing.agreement(viewer)
    await live.published()
    await lapsing.later(4)
    assert await live.published() == ["goal.lapsed"]
    await lapsing.answer(await lapsing.invitation(viewer), agree=False)
    assert (await lapsing.ask(viewer)).headers["retry-after"] == "5"


# Any order, any batch


async def test_every_pair_of_events_of_different_owners_commutes(live: LiveSession) -> None:
    """A block, a hold, a payment and the session's end: the money comes to the same whatever is read first."""
    for first, second in permutations(("held", "ended", "blocked", "not_held"), 2):
        one = live.another()
        await one.harness.handle(one.started())
        viewer = ids.new_id()
        goal_id = await one.proposal(viewer)
        events: dict[str, Event] = {
            "held": one.held(goal_id, viewer),
            "ended": one.ended(),
            "blocked": one.blocked(viewer),
            "not_held": one.not_held(goal_id, viewer),
        }

        await one.harness.handle(events[first], events[second], apart=True)
        await one.later(31)

        published = await one.published_about(goal_id)
        assert published.count("goal.progressed") + published.count("goal.contribution_rejected") == (
            "held" in {first, second}
        )
        assert published.count("goal.rejected") + published.count("goal.ended") == 1, published
        assert (await one.stage()).open_invitations == 0


class Scene:
    """A session with a 1-on-1, an open invitation and a proposal, and one with a proposal only; ids from a number."""

    def __init__(self, harness: ServiceHarness, another: Callable[..., LiveSession], number: int) -> None:
        def id_(n: int) -> str:
            return f"{number:012x}{n:012x}"

        self.harness = harness
        self.busy = another(harness, streamer=id_(1), session_id=id_(2))
        self.quiet = another(harness, streamer=id_(1), session_id=id_(3))
        self.viewer, self.guest, self.partner = id_(4), id_(5), id_(6)
        self.proposal_id, self.open_id, self.agreed_id, self.exclusive_id, self.quiet_id = map(id_, range(7, 12))
        self.id_ = id_

    async def set(self) -> None:
        async with self.harness.tx() as tx:
            await handlers.remember_session(self.busy.started(), tx)
            await handlers.remember_session(self.quiet.started(), tx)
            for goal_id, viewer, live in (
                (self.proposal_id, self.viewer, self.busy),
                (self.open_id, self.guest, self.busy),
                (self.agreed_id, self.partner, self.busy),
                (self.quiet_id, self.viewer, self.quiet),
            ):
                stage = await store.stage(tx, live.session_id)
                who = Viewer(id=viewer, blocked=False, last=None)
                wish = invitation.Wish(goal_id=goal_id, duration=300)
                store.save(tx, invitation.propose(wish, who, stage, tx.now, TIMING)[1])
            await handlers.answer_hold(self.busy.held(self.open_id, self.guest), tx)
            await handlers.answer_hold(self.busy.held(self.agreed_id, self.partner), tx)
            agreed = await tx.get(store.GOALS, self.agreed_id)
            assert agreed is not None
            stage = await store.stage(tx, self.busy.session_id)
            ending = End(cause="deleted", at=tx.now, triggerer="phone", agree=True)
            store.save(tx, lifecycle.deactivate_goal(agreed, stage, ending, (), TIMING))
            agreed, stage = await tx.get(store.GOALS, self.agreed_id), await store.stage(tx, stage.id)
            wanted = exclusive.Wanted(goal_id=self.exclusive_id, levels=(), nbf=None)
            store.save(tx, exclusive.create(wanted, agreed, stage, tx.now, TIMING))

    def events(self) -> list[Event]:
        busy, quiet = self.busy, self.quiet
        return [
            busy.held(self.proposal_id, self.viewer),
            busy.not_held(self.proposal_id, self.viewer),
            busy.held(self.open_id, self.guest, earning_id=self.id_(20)),
            busy.held(self.id_(21), self.viewer),
            busy.paid(self.exclusive_id, self.partner, payment_id=self.id_(22)),
            busy.paid(self.exclusive_id, self.partner, payment_id=self.id_(23)),
            busy.blocked(self.viewer),
            busy.unblocked(self.viewer),
            busy.updated(None),
            busy.ended(),
            quiet.held(self.quiet_id, self.viewer),
            quiet.not_held(self.quiet_id, self.viewer),
            quiet.ended(),
        ]


async def test_in_one_batch_or_one_by_one_every_pair_comes_to_the_same(
    live: LiveSession, live_session: LiveSessionOf
) -> None:
    ends = []
    for apart in (False, True):
        harness = (await live_session()).harness
        await harness.clear()
        scene = Scene(harness, type(live), 0)
        pairs = product(range(len(scene.events())), repeat=2)
        for number, (first, second) in enumerate(pairs):
            scene = Scene(harness, type(live), number)
            await scene.set()
            events = scene.events()
            await harness.handle(events[first], events[second], apart=apart)
        published = sorted((event.TYPE, event.subject, event.model_dump_json()) for event in await harness.take())
        ends.append((await harness.snapshot(), published, await harness.timers()))

    assert ends[0][0] == ends[1][0]
    assert ends[0][1:] == ends[1][1:]
