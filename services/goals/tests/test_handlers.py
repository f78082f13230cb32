"""What goals does when something happens, in whatever order it is read, on the real MongoDB."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations, product
from typing import TYPE_CHECKING

import pytest

from chassis import ids
from chassis.testing import Solo
from contracts import Event, GoalContributionRejectedV1, GoalEndedV1, GoalExtendedV1, GoalLapsedV1, GoalRejectedV1
from goals import handlers, store
from goals.domain import exclusive, extensions, invitation, lifecycle
from goals.domain.goal import End
from goals.domain.invitation import Viewer
from goals.domain.state import SLICE
from goals.settings import GoalsSettings

if TYPE_CHECKING:
    from services.goals.tests.conftest import Night, NightOf

TIMING = GoalsSettings().timing


async def test_an_invitation_lives_from_proposal_to_the_end_of_its_exclusive(night: Night) -> None:
    viewer = ids.new_id()
    invitation_id = (await night.ask(viewer)).json()["goal_id"]
    await night.solo.hear(night.held(invitation_id, viewer))
    await night.answer(invitation_id, agree=True)
    exclusive_id = (await night.start(invitation_id)).json()["goal_id"]
    await night.later(360)

    assert await night.told() == [
        "goal.proposed",
        "goal.created",
        "goal.progressed",
        "goal.ended",
        "goal.created",
        "goal.ended",
    ]
    invitation, exclusive = await night.goal(invitation_id), await night.goal(exclusive_id)
    assert (invitation.outcome, exclusive.outcome) == ("agreed", "completed")
    assert invitation.context.exclusive_goal_id == exclusive_id
    stage = await night.stage()
    assert (stage.holder_id, stage.open_invitations, stage.agreements) == (None, 0, 1)
    assert await night.solo.timers() == []


async def test_an_unanswered_proposal_ends_after_30_seconds(night: Night) -> None:
    viewer = ids.new_id()
    goal_id = await night.proposal(viewer)

    await night.later(29)
    assert (await night.goal(goal_id)).state == "proposed"
    await night.later(1)

    rejected = (await night.solo.take())[-1]
    assert isinstance(rejected, GoalRejectedV1)
    assert (rejected.reason, rejected.user_id) == ("proposal_expired", viewer)
    assert (await night.goal(goal_id)).state == "rejected"


async def test_money_held_for_an_expired_proposal_comes_back_once(night: Night) -> None:
    viewer = ids.new_id()
    goal_id = await night.proposal(viewer)
    await night.later(30)
    await night.told()

    for _ in range(5):
        await night.solo.hear(night.held(goal_id, viewer))

    assert await night.told() == ["goal.contribution_rejected"]


async def test_a_proposal_past_its_exp_is_over_although_its_timer_has_not_run(night: Night) -> None:
    viewer = ids.new_id()
    goal_id = await night.proposal(viewer)
    night.solo.clock.advance(30)
    await night.told()

    await night.solo.hear(night.held(goal_id, viewer))
    await night.solo.run_timers()

    assert await night.told() == ["goal.contribution_rejected", "goal.rejected"]


async def test_a_hold_for_a_goal_nobody_knows_comes_back(night: Night) -> None:
    await night.solo.hear(night.held(ids.new_id(), ids.new_id()))

    (event,) = await night.solo.take()
    assert isinstance(event, GoalContributionRejectedV1)
    assert event.reason == "goal_unknown"


async def test_not_enough_diamonds_ends_the_proposal(night: Night) -> None:
    viewer = ids.new_id()
    goal_id = await night.proposal(viewer)

    for _ in range(2):
        await night.solo.hear(night.not_held(goal_id, viewer))

    assert await night.told() == ["goal.proposed", "goal.rejected"]
    assert (await night.goal(goal_id)).reason == "insufficient_diamonds"


async def test_a_gift_that_was_not_paid_concerns_no_goal(night: Night) -> None:
    goal_id = await night.invitation(ids.new_id())
    await night.told()

    await night.solo.hear(night.not_held(goal_id, ids.new_id()), night.not_held(ids.new_id(), ids.new_id()))

    assert await night.told() == []


async def test_a_viewer_blocked_after_proposing_is_not_let_in(night: Night) -> None:
    viewer = ids.new_id()
    goal_id = await night.proposal(viewer)
    await night.told()

    await night.solo.hear(night.blocked(viewer), night.held(goal_id, viewer))

    told, rejected = await night.solo.take()
    assert isinstance(rejected, GoalContributionRejectedV1)
    assert isinstance(told, GoalRejectedV1)
    assert (rejected.reason, told.reason) == ("viewer_blocked", "viewer_blocked")


async def test_a_block_ends_the_open_invitation_of_that_viewer_alone(night: Night) -> None:
    blocked, other = ids.new_id(), ids.new_id()
    blocked_id, other_id = await night.invitation(blocked), await night.invitation(other)
    elsewhere = night.another()
    await night.solo.hear(elsewhere.started())
    elsewhere_id = await elsewhere.invitation(blocked)
    await night.told()

    for _ in range(2):
        await night.solo.hear(night.blocked(blocked))

    (ended,) = await night.solo.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.goal_id, ended.outcome) == (blocked_id, "cancelled")
    assert (await night.stage()).open_invitations == 1
    assert (await night.goal(other_id)).active
    assert (await night.goal(elsewhere_id)).active
    await night.solo.hear(night.unblocked(blocked))
    assert (await night.answer(blocked_id, agree=True)).status_code == 409


async def test_money_held_after_somebody_elses_agreement_comes_back(night: Night) -> None:
    late = ids.new_id()
    late_id = await night.proposal(late)
    await night.agreement(ids.new_id())
    await night.told()

    await night.solo.hear(night.held(late_id, late))

    assert await night.told() == ["goal.contribution_rejected", "goal.rejected"]


async def test_an_invitation_times_out_30_seconds_after_it_opened(night: Night) -> None:
    goal_id = await night.invitation(ids.new_id())
    await night.told()

    await night.later(30)

    (ended,) = await night.solo.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.outcome, ended.triggerer, ended.progress) == ("timed_out", None, 1)
    assert ended.ended_at == ended.exp == (await night.goal(goal_id)).exp


async def test_an_agreement_without_an_exclusive_lapses_once_after_60_seconds(night: Night) -> None:
    invitation_id = await night.agreement(ids.new_id())
    await night.told()

    await night.later(59)
    assert await night.told() == []
    await night.later(1)

    (lapsed,) = await night.solo.take()
    assert isinstance(lapsed, GoalLapsedV1)
    assert lapsed.reason == "no_exclusive"
    assert (await night.start(invitation_id)).status_code == 409
    assert (await night.ask(ids.new_id())).status_code == 202
    await night.solo.hear(night.ended())
    assert "goal.lapsed" not in await night.told()


async def test_the_sessions_end_ends_everything_and_lapses_the_agreement(night: Night) -> None:
    proposal_id, open_id = await night.proposal(ids.new_id()), await night.invitation(ids.new_id())
    agreed_id = await night.agreement(ids.new_id())
    await night.told()

    await night.solo.hear(night.ended())

    told = {event.subject: event for event in await night.solo.take()}
    rejected, ended, lapsed = told[proposal_id], told[open_id], told[agreed_id]
    assert isinstance(rejected, GoalRejectedV1)
    assert isinstance(ended, GoalEndedV1)
    assert isinstance(lapsed, GoalLapsedV1)
    assert (rejected.reason, ended.outcome, lapsed.reason) == ("session_ended", "cancelled", "session_ended")
    assert (await night.stage()).open_invitations == 0
    await night.later(3_600)
    await night.solo.hear(night.ended())
    assert await night.told() == []


@pytest.mark.parametrize(("ran", "outcome"), [(293, "cancelled"), (294, "completed"), (400, "completed")])
async def test_the_sessions_end_ends_the_exclusive_as_of_that_moment(night: Night, ran: int, outcome: str) -> None:
    _, exclusive_id = await night.exclusive(ids.new_id())
    began = night.solo.now
    await night.told()
    night.solo.clock.advance(500)

    await night.solo.hear(night.ended(began + timedelta(seconds=ran)))
    await night.solo.run_timers()

    (ended,) = await night.solo.take()
    assert isinstance(ended, GoalEndedV1)
    assert (ended.goal_id, ended.outcome) == (exclusive_id, outcome)
    assert ended.ended_at == began + timedelta(seconds=min(ran, 360))
    assert ended.triggerer is None


async def test_a_session_with_many_goals_ends_in_slices(night: Night) -> None:
    viewers = [ids.new_id() for _ in range(SLICE + 3)]
    goal_ids = [await night.proposal(viewer) for viewer in viewers]
    agreed_id = await night.invitation(ids.new_id())
    await night.answer(agreed_id, agree=True)
    await night.told()

    await night.solo.hear(night.ended())
    assert await night.told() == ["goal.rejected"] * SLICE
    assert (await night.ask(ids.new_id())).status_code == 409
    await night.solo.run_timers()

    assert await night.told() == ["goal.rejected"] * 3 + ["goal.lapsed"]
    assert {(await night.goal(goal_id)).state for goal_id in goal_ids} == {"rejected"}
    assert (await night.stage()).open_invitations == 0


async def test_a_payment_makes_the_exclusive_longer_once(night: Night) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await night.exclusive(viewer)
    before = (await night.goal(exclusive_id)).exp
    await night.told()
    paid = night.paid(exclusive_id, viewer, duration=120)

    for _ in range(5):
        await night.solo.hear(paid)

    (extended,) = await night.solo.take()
    assert isinstance(extended, GoalExtendedV1)
    assert (extended.payment_id, extended.duration) == (paid.payment_id, 120)
    assert extended.exp == before + timedelta(seconds=120) == (await night.goal(exclusive_id)).exp


async def test_other_time_of_the_viewer_does_not_count(night: Night) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await night.exclusive(viewer)
    await night.told()

    await night.solo.hear(
        night.paid(exclusive_id, viewer, reason="extended", payment_id=None),
        night.paid(exclusive_id, viewer, reason="ticket", duration=None),
        night.paid(exclusive_id, viewer, exclusive_goal_id=None),
    )

    assert await night.told() == []


async def test_payments_that_come_after_the_end_are_given_back_once(night: Night) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await night.exclusive(viewer)
    await night.answer(exclusive_id, agree=None)
    await night.told()
    for paid in (night.paid(exclusive_id, viewer), night.paid(ids.new_id(), viewer)):
        for _ in range(2):
            await night.solo.hear(paid)

    assert await night.told() == ["goal.extension_rejected"] * 2


async def test_at_the_end_each_payment_is_kept_whose_part_had_begun(night: Night) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await night.exclusive(viewer)  # 360 s
    payments = [night.paid(exclusive_id, viewer, duration=60) for _ in range(3)]  # from 360, 420 and 480 s on
    await night.solo.hear(*payments)
    await night.later(421)
    await night.told()

    await night.answer(exclusive_id, agree=None)

    ended, *rejected = await night.solo.take()
    assert isinstance(ended, GoalEndedV1)
    assert ended.outcome == "completed"
    assert [event.model_dump()["payment_id"] for event in rejected] == [payments[2].payment_id]


async def test_more_payments_than_a_slice_are_given_back_in_slices(night: Night) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await night.exclusive(viewer)
    async with night.solo.tx() as tx:  # more than can be paid for ahead
        for _ in range(SLICE + 5):
            paid = extensions.paid_extension(night.paid(exclusive_id, viewer), tx.now)
            assert paid is not None
            tx.put(store.EXTENSIONS, paid.remembered(begins=tx.now))
    await night.told()

    await night.answer(exclusive_id, agree=None)
    assert await night.told() == ["goal.ended"] + ["goal.extension_rejected"] * SLICE
    await night.solo.run_timers()

    assert await night.told() == ["goal.extension_rejected"] * 5


async def test_a_payment_for_more_than_60_steps_ahead_is_given_back(night: Night) -> None:
    viewer = ids.new_id()
    _, exclusive_id = await night.exclusive(viewer)  # 6 steps
    await night.told()

    await night.solo.hear(
        night.paid(exclusive_id, viewer, duration=55 * 60), night.paid(exclusive_id, viewer, duration=54 * 60)
    )

    assert await night.told() == ["goal.extension_rejected", "goal.extended"]


async def test_an_extended_exclusive_ends_at_its_new_exp(night: Night) -> None:
    _, exclusive_id = await night.exclusive(ids.new_id())
    await night.extend(exclusive_id)
    await night.told()

    await night.later(360)
    assert (await night.goal(exclusive_id)).active
    await night.later(60)

    assert await night.told() == ["goal.ended"]


async def test_a_timer_that_comes_too_early_is_set_anew(night: Night) -> None:
    goal_id = await night.invitation(ids.new_id())
    timers = await night.solo.timers()

    async with night.solo.tx() as tx:
        (row,) = (row for row in night.solo.service.timers if row.subject is type(timers[0]))
        await row.handler(timers[0], tx)

    assert (await night.goal(goal_id)).active
    assert await night.solo.timers() == timers


async def test_settings_decide_how_long_things_take(night_of: NightOf) -> None:
    night = await night_of(
        STEP_SECONDS=4, PROPOSAL_SECONDS=2, INVITATION_SECONDS=3, EXCLUSIVE_WINDOW_SECONDS=4, REFUSED_COOLDOWN_SECONDS=5
    )
    viewer, began = ids.new_id(), night.solo.now

    proposal = await night.goal(await night.proposal(viewer))
    await night.solo.hear(night.held(proposal.id, viewer))
    invitation = await night.goal(proposal.id)
    await night.answer(proposal.id, agree=True)
    started = await night.start(proposal.id)

    assert proposal.exp == began + timedelta(seconds=2)
    assert invitation.exp == began + timedelta(seconds=3)
    assert (await night.goal(started.json()["goal_id"])).exp == began + timedelta(seconds=24)  # agreed + 1 + 5 steps
    lapsing = night.another()
    await night.solo.hear(lapsing.started())
    await lapsing.agreement(viewer)
    await night.told()
    await lapsing.later(4)
    assert await night.told() == ["goal.lapsed"]
    await lapsing.answer(await lapsing.invitation(viewer), agree=False)
    assert (await lapsing.ask(viewer)).headers["retry-after"] == "5"


# Any order, any batch


async def test_every_pair_of_events_of_different_owners_commutes(night: Night) -> None:
    """A block, a hold, a payment and the session's end: the money comes to the same whatever is read first."""
    for first, second in permutations(("held", "ended", "blocked", "not_held"), 2):
        one = night.another()
        await one.solo.hear(one.started())
        viewer = ids.new_id()
        goal_id = await one.proposal(viewer)
        events: dict[str, Event] = {
            "held": one.held(goal_id, viewer),
            "ended": one.ended(),
            "blocked": one.blocked(viewer),
            "not_held": one.not_held(goal_id, viewer),
        }

        await one.solo.hear(events[first], events[second], apart=True)
        await one.later(31)

        told = await one.told_of(goal_id)
        assert told.count("goal.progressed") + told.count("goal.contribution_rejected") == ("held" in {first, second})
        assert told.count("goal.rejected") + told.count("goal.ended") == 1, told
        assert (await one.stage()).open_invitations == 0


class Scene:
    """A session with a 1-on-1, an open invitation and a proposal, and one with a proposal only; ids from a number."""

    def __init__(self, solo: Solo, another: Callable[..., Night], number: int) -> None:
        def id_(n: int) -> str:
            return f"{number:012x}{n:012x}"

        self.solo = solo
        self.busy = another(solo, streamer=id_(1), session_id=id_(2))
        self.quiet = another(solo, streamer=id_(1), session_id=id_(3))
        self.viewer, self.guest, self.partner = id_(4), id_(5), id_(6)
        self.proposal_id, self.open_id, self.agreed_id, self.exclusive_id, self.quiet_id = map(id_, range(7, 12))
        self.id_ = id_

    async def set(self) -> None:
        async with self.solo.tx() as tx:
            await handlers.remember_session(self.busy.started(), tx)
            await handlers.remember_session(self.quiet.started(), tx)
            for goal_id, viewer, night in (
                (self.proposal_id, self.viewer, self.busy),
                (self.open_id, self.guest, self.busy),
                (self.agreed_id, self.partner, self.busy),
                (self.quiet_id, self.viewer, self.quiet),
            ):
                stage = await store.stage(tx, night.session_id)
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


async def test_in_one_batch_or_one_by_one_every_pair_comes_to_the_same(night: Night, night_of: NightOf) -> None:
    ends = []
    for apart in (False, True):
        solo = (await night_of()).solo
        await solo.clear()
        scene = Scene(solo, type(night), 0)
        pairs = product(range(len(scene.events())), repeat=2)
        for number, (first, second) in enumerate(pairs):
            scene = Scene(solo, type(night), number)
            await scene.set()
            events = scene.events()
            await solo.hear(events[first], events[second], apart=apart)
        told = sorted((event.TYPE, event.subject, event.model_dump_json()) for event in await solo.take())
        ends.append((await solo.snapshot(), told, await solo.timers()))

    assert ends[0][0] == ends[1][0]
    assert ends[0][1:] == ends[1][1:]
