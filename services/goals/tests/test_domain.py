"""Every transition of invitations and 1-on-1s, both sides, without a database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.decision import At, Cancel
from chassis.errors import Refusal
from contracts import (
    Conditions,
    Context,
    EscrowHeldV1,
    Event,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalExtendedV1,
    GoalExtensionRejectedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    GoalProposedV1,
    GoalRejectedV1,
    Metadata,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
)
from contracts.sessions import Prices, Statuses
from goals.domain import exclusive, extensions, invitation, lifecycle
from goals.domain.exclusive import Wanted
from goals.domain.extensions import PaidExtension
from goals.domain.goal import End, Goal, GoalDue, GoalNotActive, GoalNotFound, LapseDue, owned_by
from goals.domain.hold import Hold
from goals.domain.invitation import Viewer, Wish
from goals.domain.stage import (
    NotYourSession,
    SessionOver,
    SessionTooShort,
    Stage,
    StageTaken,
    as_of,
    follow_session,
    freed,
    require_own,
)
from goals.domain.state import SLICE, Change, Contribution, Extension, Guest, Supporter, Unpaid, place
from goals.settings import GoalsSettings

NOW = datetime(2026, 1, 31, 20, 0, tzinfo=UTC)
SESSION, STREAMER, VIEWER, GOAL, OTHER = (character * 24 for character in "abcde")
EARNING = "1" * 24
PAYMENT = "2" * 24
TIMING = GoalsSettings().timing
HOUR = timedelta(hours=1)
STAGE = Stage(id=SESSION, streamer_id=STREAMER, exclusive_price=20)
ALONE = Conditions(session_id=SESSION, exclusive_to=VIEWER)
PROPOSED = Goal(
    id=GOAL,
    kind="TriggerExclusiveGoal",
    state="proposed",
    conditions=ALONE,
    context=Context(type="trigger-exclusive", session_id=SESSION, exclusive_to=VIEWER, duration=300),
    metadata=Metadata(user_id=STREAMER, prepaid_duration=300),
    exp=NOW + timedelta(seconds=30),
    created_at=NOW,
)
INVITATION = replace(PROPOSED, state="active", progress=1)
AGREED = replace(
    INVITATION,
    state="ended",
    outcome="agreed",
    exp=NOW,
    ended_at=NOW,
    metadata=Metadata(user_id=STREAMER, prepaid_duration=300, agreed=NOW),
)
EXCLUSIVE = Goal(
    id=OTHER,
    kind="ExclusiveGoal",
    state="active",
    conditions=ALONE,
    context=Context(type="exclusive", session_id=SESSION, exclusive_to=VIEWER, trigger_exclusive_goal_id=GOAL),
    metadata=AGREED.metadata,
    nbf=NOW + timedelta(seconds=5),
    exp=NOW + timedelta(seconds=360),
    created_at=NOW + timedelta(seconds=5),
)
PERFORMED = replace(STAGE, holder_id=GOAL, agreements=1)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def saved(change: Change, kind: type[Any]) -> Any:
    """The last version of the only document of a kind."""
    return [document for document in change.state or () if isinstance(document, kind)][-1]


def kinds(change: Change) -> list[type[Event]]:
    return [type(event) for event in change.events]


def goal_timer(change: Change) -> At | Cancel | None:
    found = [timer for timer in change.timers if timer.id.startswith("goal-due:")]
    return found[-1] if found else None


def a_hold(
    goal: Goal = PROPOSED, stage: Stage = STAGE, *, now: datetime = NOW, blocked: bool = False, **event: Any
) -> Hold:
    given = {
        "session_id": SESSION,
        "streamer_id": STREAMER,
        "goal_id": goal.id,
        "escrow_id": f"trigger_exclusive:{goal.id}",
        "earning_id": EARNING,
        "buyer_id": VIEWER,
        "amount_diamonds": 100,
        "count": 1,
        "cause_id": goal.id,
    }
    return Hold(
        event=EscrowHeldV1.model_validate(given | event),
        goal=goal,
        stage=stage,
        supporter=None,
        blocked=blocked,
        held_at=now,
        now=now,
        timing=TIMING,
    )


def a_viewer(id_: str = VIEWER, *, blocked: bool = False, last: Goal | None = None, **more: Any) -> Viewer:
    return Viewer(id=id_, blocked=blocked, last=last, **more)


def an_answer(at: float, *, agree: bool) -> End:
    return End(cause="deleted", at=after(at), triggerer="phone", agree=agree)


def propose(viewer: Viewer | None = None, stage: Stage = STAGE, duration: int = 300) -> Change:
    return invitation.propose(Wish(goal_id=GOAL, duration=duration), viewer or a_viewer(), stage, NOW, TIMING)[1]


def start(
    invited: Goal | None = AGREED, stage: Stage = PERFORMED, *, at: float = 5, nbf: float | None = None
) -> Change:
    wanted = Wanted(goal_id=OTHER, levels=(), nbf=None if nbf is None else after(nbf))
    return exclusive.create(wanted, invited, stage, after(at), TIMING)


def deactivate(goal: Goal, ending: End, stage: Stage = STAGE, unbegun: tuple[Extension, ...] = ()) -> Change:
    return lifecycle.deactivate_goal(goal, stage, lifecycle.resolved(goal, stage, ending), unbegun, TIMING)


# The session


def test_an_ended_session_stays_ended_whatever_is_read_later() -> None:
    facts: dict[str, Any] = {
        "session_id": SESSION, "streamer_id": STREAMER, "preset": "sd", "sources": (), "exclusive_to": (),
    }  # fmt: skip
    ended = SessionEndedV1(**facts, active=False, prices=Prices(), statuses=Statuses(created=NOW, ended=after(10)))
    late = SessionUpdatedV1(
        **facts, active=True, prices=Prices(exclusive=7), statuses=Statuses(created=NOW, ended=None)
    )

    stage = follow_session(follow_session(None, ended, HOUR), late, HOUR)

    assert stage == Stage(id=SESSION, streamer_id=STREAMER, exclusive_price=7, ended_at=after(10), over_at=after(3_600))


def test_a_session_is_over_when_sessions_said_it_would_be_also_after_news_from_before_that_was_told() -> None:
    facts: dict[str, Any] = {
        "session_id": SESSION, "streamer_id": STREAMER, "preset": "sd", "sources": (), "exclusive_to": (),
        "active": True, "prices": Prices(), "statuses": Statuses(created=NOW, ended=None),
    }  # fmt: skip

    told = follow_session(None, SessionStartedV1(**facts, exp=after(60)), HOUR)
    kept = follow_session(told, SessionUpdatedV1(**facts), HOUR)

    assert (told.over_at, kept.over_at) == (after(60), after(60))
    assert follow_session(None, SessionUpdatedV1(**facts), HOUR).over_at == after(3_600)


def test_a_session_is_over_at_its_maximum_although_nobody_has_told() -> None:
    stage = replace(STAGE, over_at=after(3_600))

    assert as_of(stage, after(3_599.999)) == stage
    assert as_of(stage, after(3_600)).ended_at == after(3_600)
    assert as_of(replace(stage, ended_at=after(10)), after(4_000)).ended_at == after(10)
    assert as_of(STAGE, after(10**6)) == STAGE


def test_an_end_that_was_earlier_than_the_maximum_is_believed() -> None:
    facts: dict[str, Any] = {"session_id": SESSION, "streamer_id": STREAMER, "preset": "sd", "sources": (),
                             "exclusive_to": (), "active": False, "prices": Prices()}  # fmt: skip
    told = SessionEndedV1(**facts, statuses=Statuses(created=NOW, ended=after(3_599)))
    noticed = as_of(replace(STAGE, over_at=after(3_600)), after(3_600))

    assert follow_session(noticed, told, HOUR).ended_at == after(3_599)


def test_a_stage_is_freed_only_by_what_has_it() -> None:
    assert freed(PERFORMED, GOAL).holder_id is None
    assert freed(PERFORMED, OTHER).holder_id == GOAL
    assert freed(PERFORMED, None).holder_id == GOAL


def test_only_its_streamer_makes_goals_of_a_session() -> None:
    assert require_own(STAGE, STREAMER) is STAGE
    with pytest.raises(NotYourSession):
        require_own(STAGE, VIEWER)


def test_a_goal_of_somebody_else_is_as_good_as_none() -> None:
    assert owned_by(INVITATION, STREAMER) is INVITATION
    for goal in (INVITATION, None):
        with pytest.raises(GoalNotFound):
            owned_by(goal, VIEWER)


# Proposals


@pytest.mark.parametrize(("asked", "bought"), [(None, 300), (60, 60), (300, 300), (3_600, 3_600)])
def test_time_is_bought_in_whole_steps(asked: int | None, bought: int) -> None:
    assert invitation.prepaid_duration(asked, TIMING) == bought


@pytest.mark.parametrize("asked", [0, -60, 1, 59, 61, 3_660, 10**9])
def test_any_other_duration_can_never_be_valid(asked: int) -> None:
    with pytest.raises(invitation.NotWholeSteps):
        invitation.prepaid_duration(asked, TIMING)


@pytest.mark.parametrize(("step", "asked", "steps"), [(1, 60, 60), (2, 120, 60), (7, None, 5)])
def test_steps_are_as_long_as_the_setting_says(step: int, asked: int | None, steps: int) -> None:
    timing = replace(TIMING, step=timedelta(seconds=step))

    duration = invitation.prepaid_duration(asked, timing)
    wish = Wish(goal_id=GOAL, duration=duration)
    price, change = invitation.propose(wish, a_viewer(), STAGE, NOW, timing)

    assert duration == steps * step
    assert price == 20 * steps
    assert [event.amount_diamonds for event in change.events if isinstance(event, GoalProposedV1)] == [20 * steps]


def test_a_proposal_promises_nothing_yet() -> None:
    change = propose()

    goal = saved(change, Goal)
    assert (goal.state, goal.progress, goal.exp) == ("proposed", 0, after(30))
    assert kinds(change) == [GoalProposedV1]
    assert saved(change, Stage).open_invitations == 1
    assert saved(change, Guest) == Guest(id=f"{SESSION}:{VIEWER}", invitation_id=GOAL)
    assert goal_timer(change) == At(GoalDue(goal_id=GOAL, session_id=SESSION), f"goal-due:{GOAL}", after(30), SESSION)


REFUSED = replace(INVITATION, state="ended", outcome="refused", ended_at=NOW - timedelta(seconds=299))
NOT_PAID = replace(PROPOSED, state="rejected", reason="insufficient_diamonds", ended_at=NOW - timedelta(seconds=29))


@pytest.mark.parametrize(
    ("viewer", "stage", "refusal"),
    [
        (a_viewer(STREAMER), STAGE, invitation.OwnInvitation),
        (a_viewer(blocked=True), STAGE, invitation.BlockedByStreamer),
        (a_viewer(), replace(STAGE, ended_at=NOW), SessionOver),
        (a_viewer(), replace(STAGE, exclusive_price=None), invitation.NoExclusivePrice),
        (a_viewer(), replace(STAGE, holder_id=OTHER), StageTaken),
        (a_viewer(last=PROPOSED), STAGE, invitation.InvitationOpen),
        (a_viewer(last=INVITATION), STAGE, invitation.InvitationOpen),
        (a_viewer(), replace(STAGE, over_at=after(359.999)), SessionTooShort),
        (a_viewer(), replace(STAGE, open_invitations=150), invitation.TooManyInvitations),
        (a_viewer(patron=True), replace(STAGE, open_invitations=200), invitation.TooManyInvitations),
        (a_viewer(last=REFUSED), STAGE, invitation.RefusedRecently),
        # the order of SPEC §2: 403, then 409, then 429
        (a_viewer(blocked=True), replace(STAGE, ended_at=NOW), invitation.BlockedByStreamer),
        (a_viewer(last=REFUSED), replace(STAGE, holder_id=OTHER), StageTaken),
        (a_viewer(last=REFUSED), replace(STAGE, open_invitations=200), invitation.TooManyInvitations),
    ],
)
def test_what_forbids_to_ask(viewer: Viewer, stage: Stage, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        propose(viewer, stage)


@pytest.mark.parametrize(
    "last",
    [
        replace(REFUSED, ended_at=NOW - timedelta(seconds=300)),
        replace(REFUSED, outcome="timed_out"),
        replace(REFUSED, outcome="cancelled"),
        replace(REFUSED, outcome="agreed", ended_at=NOW),
        *(replace(NOT_PAID, reason=reason, ended_at=NOW) for reason in ("proposal_expired", "stage_taken")),
    ],
)
def test_what_does_not_forbid_to_ask_again(last: Goal) -> None:
    assert kinds(propose(a_viewer(last=last), replace(STAGE, open_invitations=149))) == [GoalProposedV1]


def test_places_are_kept_for_who_has_paid_before() -> None:
    assert kinds(propose(a_viewer(patron=True), replace(STAGE, open_invitations=199))) == [GoalProposedV1]


TIMED_OUT = replace(REFUSED, outcome="timed_out", ended_at=NOW)
WITHDRAWN = replace(REFUSED, outcome="cancelled", ended_at=NOW)


@pytest.mark.parametrize(
    ("last", "unanswered", "seconds", "refusal"),
    [
        (replace(REFUSED, ended_at=NOW), 0, 300, invitation.RefusedRecently),
        (replace(REFUSED, ended_at=NOW), 3, 300, invitation.RefusedRecently),
        (TIMED_OUT, 0, 60, invitation.UnansweredRecently),
        (TIMED_OUT, 1, 120, invitation.UnansweredRecently),
        (TIMED_OUT, 2, 240, invitation.UnansweredRecently),
        (TIMED_OUT, 3, 300, invitation.UnansweredRecently),
        (TIMED_OUT, 16, 300, invitation.UnansweredRecently),
        (WITHDRAWN, 0, 60, invitation.UnansweredRecently),
    ],
)
def test_who_asked_in_vain_waits(last: Goal, unanswered: int, seconds: float, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal) as refused:
        propose(a_viewer(last=last, unanswered=unanswered))

    assert refused.value.retry_after_seconds == seconds
    earlier = replace(last, ended_at=NOW - timedelta(seconds=seconds))
    assert kinds(propose(a_viewer(last=earlier, unanswered=unanswered))) == [GoalProposedV1]


@pytest.mark.parametrize("last", [None, NOT_PAID, replace(TIMED_OUT, ended_at=NOW - timedelta(seconds=40))])
def test_who_had_too_few_diamonds_waits_wherever_that_was_and_the_longer_wait_is_told(last: Goal | None) -> None:
    with pytest.raises(invitation.UnpaidRecently) as refused:
        propose(a_viewer(last=last, unpaid_at=NOW - timedelta(seconds=7)))

    assert refused.value.retry_after_seconds == 23
    with pytest.raises(invitation.UnansweredRecently):
        propose(a_viewer(last=TIMED_OUT, unpaid_at=NOW))
    rested = a_viewer(last=NOT_PAID, unpaid_at=NOW - timedelta(seconds=30))
    assert kinds(propose(rested)) == [GoalProposedV1]


def test_a_proposal_without_diamonds_is_remembered_of_its_viewer_and_no_other_is() -> None:
    unpaid = invitation.reject_proposal(PROPOSED, STAGE, "insufficient_diamonds", NOW)

    assert saved(unpaid, Unpaid) == Unpaid(id=VIEWER, at=NOW)
    late = invitation.reject_proposal(PROPOSED, STAGE, "expired", NOW)
    assert not any(isinstance(one, Unpaid) for one in late.state or ())


@pytest.mark.parametrize(
    ("last", "before", "counted"),
    [
        (None, 0, 0),
        (TIMED_OUT, 0, 1),
        (TIMED_OUT, 4, 5),
        (TIMED_OUT, 16, 16),
        (WITHDRAWN, 1, 2),
        (NOT_PAID, 2, 2),
        (REFUSED, 2, 0),
        (AGREED, 2, 0),
    ],
)
def test_invitations_without_an_answer_are_counted_in_a_row(last: Goal | None, before: int, counted: int) -> None:
    long_ago = last and replace(last, ended_at=NOW - timedelta(days=1))

    assert saved(propose(a_viewer(last=long_ago, unanswered=before)), Guest).unanswered == counted


@pytest.mark.parametrize(("at_most", "taken"), [(None, True), (100, True), (10**12, True), (99, False), (0, False)])
def test_nobody_pays_more_than_they_said(at_most: int | None, *, taken: bool) -> None:
    wish = Wish(goal_id=GOAL, duration=300, max_amount_diamonds=at_most)

    if taken:
        price, change = invitation.propose(wish, a_viewer(), STAGE, NOW, TIMING)
        assert (price, saved(change, Goal).amount_diamonds) == (100, 100)
        return
    with pytest.raises(invitation.PriceChanged) as refused:
        invitation.propose(wish, a_viewer(), STAGE, NOW, TIMING)
    assert refused.value.extensions == {"amount_diamonds": 100}


def test_a_cooldown_says_how_long_it_still_is() -> None:
    with pytest.raises(invitation.RefusedRecently) as refusal:
        propose(a_viewer(last=REFUSED))

    assert refusal.value.retry_after_seconds == 1


# Holds


def test_a_held_price_opens_the_invitation_for_30_seconds_from_now() -> None:
    change = lifecycle.answer_hold(a_hold(stage=replace(STAGE, agreements=3, open_invitations=1), now=after(20)))

    goal = saved(change, Goal)
    assert (goal.state, goal.progress, goal.exp, goal.agreements_seen) == ("active", 1, after(50), 3)
    assert kinds(change) == [GoalCreatedV1, GoalProgressedV1]
    assert saved(change, Contribution).rejected is None
    assert saved(change, Supporter).amount_diamonds == 100
    assert saved(change, Stage).open_invitations == 1
    timer = goal_timer(change)
    assert isinstance(timer, At)
    assert timer.due == after(50)


@pytest.mark.parametrize(
    ("hold", "reason"),
    [
        (a_hold(stage=replace(STAGE, ended_at=after(-1))), "session_ended"),
        (a_hold(now=after(30)), "proposal_expired"),
        (a_hold(blocked=True), "viewer_blocked"),
        (a_hold(stage=replace(STAGE, holder_id=OTHER)), "stage_taken"),
    ],
)
def test_a_price_held_too_late_comes_back_and_the_proposal_is_over(hold: Hold, reason: str) -> None:
    change = lifecycle.answer_hold(replace(hold, stage=replace(hold.stage, open_invitations=1)))

    rejected, told = change.events
    assert isinstance(rejected, GoalContributionRejectedV1)
    assert isinstance(told, GoalRejectedV1)
    assert (rejected.reason, told.reason, told.user_id) == (reason, reason, VIEWER)
    assert saved(change, Goal).state == "rejected"
    assert saved(change, Contribution).rejected == reason
    assert saved(change, Stage).open_invitations == 0
    assert isinstance(goal_timer(change), Cancel)


@pytest.mark.parametrize(
    ("hold", "reason"),
    [
        (a_hold(replace(PROPOSED, state="rejected")), "proposal_expired"),
        (a_hold(replace(PROPOSED, state="rejected"), blocked=True), "viewer_blocked"),
        (a_hold(INVITATION), "goal_over"),
        (a_hold(AGREED), "goal_over"),
        (a_hold(session_id=OTHER), "other_session"),
        (a_hold(buyer_id=OTHER), "goal_unknown"),
        (a_hold(escrow_id=f"trigger_private:{GOAL}"), "goal_unknown"),
        (a_hold(EXCLUSIVE), "goal_unknown"),
    ],
)
def test_a_hold_that_does_not_belong_comes_back_and_changes_nothing_else(hold: Hold, reason: str) -> None:
    change = lifecycle.answer_hold(hold)

    assert kinds(change) == [GoalContributionRejectedV1]
    assert saved(change, Contribution).rejected == reason
    assert len(change.state or ()) == 1


@pytest.mark.parametrize("goal", [INVITATION, AGREED, replace(PROPOSED, state="rejected")])
def test_only_a_proposal_is_rejected(goal: Goal) -> None:
    change = invitation.reject_proposal(goal, STAGE, "insufficient_diamonds", NOW)

    assert (change.state, change.events, change.timers) == ((), (), ())


def test_a_proposal_ends_with_its_rejection_and_never_with_goal_ended() -> None:
    opened = replace(STAGE, open_invitations=1)
    for ending, reason in (
        (End(cause="expired", at=PROPOSED.exp), "proposal_expired"),
        (End(cause="session_ended", at=NOW), "session_ended"),
        (End(cause="blocked", at=NOW), "viewer_blocked"),
    ):
        change = lifecycle.close_goal(PROPOSED, opened, ending, (), TIMING)

        (event,) = change.events
        assert isinstance(event, GoalRejectedV1)
        assert event.reason == reason
        assert saved(change, Goal).reason == reason
        assert saved(change, Stage).open_invitations == 0


def test_a_proposal_that_escrow_read_too_late_has_expired() -> None:
    (event,) = invitation.reject_proposal(PROPOSED, STAGE, "expired", NOW).events

    assert isinstance(event, GoalRejectedV1)
    assert event.reason == "proposal_expired"


# The outcomes of SPEC §3


@pytest.mark.parametrize(
    ("goal", "ending", "outcome", "ended_at"),
    [
        (INVITATION, End(cause="expired", at=after(30)), "timed_out", 30),
        (INVITATION, End(cause="deleted", at=after(7), agree=True), "agreed", 7),
        (INVITATION, End(cause="deleted", at=after(7)), "refused", 7),
        (INVITATION, End(cause="deleted", at=after(30)), "timed_out", 30),
        (INVITATION, End(cause="deleted", at=after(99)), "timed_out", 30),
        (INVITATION, End(cause="withdrawn", at=after(7)), "cancelled", 7),
        (INVITATION, End(cause="withdrawn", at=after(30)), "timed_out", 30),
        (INVITATION, End(cause="blocked", at=after(7)), "cancelled", 7),
        (INVITATION, End(cause="session_ended", at=after(29.999)), "cancelled", 29.999),
        (INVITATION, End(cause="session_ended", at=after(30)), "timed_out", 30),
        (EXCLUSIVE, End(cause="expired", at=after(360)), "completed", 360),
        (EXCLUSIVE, End(cause="deleted", at=after(298.999)), "cancelled", 298.999),
        (EXCLUSIVE, End(cause="deleted", at=after(299)), "completed", 299),  # a tenth of a step less than 300 s
        (EXCLUSIVE, End(cause="deleted", at=after(999)), "completed", 360),
        (EXCLUSIVE, End(cause="deleted", at=after(1)), "cancelled", 1),
        (EXCLUSIVE, End(cause="session_ended", at=after(298.999)), "cancelled", 298.999),
        (EXCLUSIVE, End(cause="session_ended", at=after(299)), "completed", 299),
        (EXCLUSIVE, End(cause="session_ended", at=after(999)), "completed", 360),
    ],
)
def test_how_a_goal_comes_out(goal: Goal, ending: End, outcome: str, ended_at: float) -> None:
    change = deactivate(goal, ending)

    ended = saved(change, Goal)
    assert (ended.state, ended.outcome, ended.ended_at, ended.exp) == (
        "ended",
        outcome,
        after(ended_at),
        after(ended_at),
    )
    (event,) = change.events
    assert isinstance(event, GoalEndedV1)
    assert (event.outcome, event.ended_at, event.exp, event.active) == (
        outcome,
        after(ended_at),
        after(ended_at),
        False,
    )
    assert isinstance(goal_timer(change), Cancel)


def test_the_one_who_deleted_is_named_and_time_and_sessions_name_nobody() -> None:
    deleted = deactivate(INVITATION, End(cause="deleted", at=after(99), triggerer="phone"))
    over_before = deactivate(
        INVITATION, End(cause="deleted", at=after(20), triggerer="phone"), replace(STAGE, ended_at=after(10))
    )
    expired = deactivate(INVITATION, End(cause="expired", at=after(30)))

    triggerers = [event.triggerer for change in (deleted, over_before, expired) for event in change.events
                  if isinstance(event, GoalEndedV1)]  # fmt: skip
    assert triggerers == ["phone", None, None]


def test_a_timer_read_after_the_sessions_end_gives_the_sessions_outcome() -> None:
    change = deactivate(EXCLUSIVE, End(cause="expired", at=EXCLUSIVE.exp), replace(PERFORMED, ended_at=after(100)))

    assert (saved(change, Goal).outcome, saved(change, Goal).ended_at) == ("cancelled", after(100))


# Agreements


def test_an_agreement_takes_the_stage_and_waits_for_its_exclusive() -> None:
    stage = replace(STAGE, open_invitations=2, agreements=4)

    change = deactivate(INVITATION, End(cause="deleted", at=after(7), agree=True), stage)

    assert saved(change, Goal).metadata.agreed == after(7)
    assert saved(change, Stage) == replace(stage, open_invitations=1, agreements=5, holder_id=GOAL)
    lapse = At(LapseDue(goal_id=GOAL, session_id=SESSION), f"lapse-due:{GOAL}", after(67), SESSION)
    assert lapse in change.timers


@pytest.mark.parametrize("ending", [End(cause="deleted", at=NOW), End(cause="expired", at=after(30))])
def test_any_other_end_of_an_invitation_leaves_the_stage_free(ending: End) -> None:
    change = deactivate(INVITATION, ending, replace(STAGE, open_invitations=1))

    assert saved(change, Stage) == STAGE
    assert saved(change, Goal).metadata.agreed is None
    assert len(change.timers) == 1


@pytest.mark.parametrize(
    ("goal", "stage", "now", "refusal"),
    [
        (INVITATION, STAGE, 30, invitation.InvitationExpired),
        (INVITATION, replace(STAGE, holder_id=OTHER), 5, StageTaken),
        (INVITATION, replace(STAGE, agreements=1), 5, invitation.InvitationRuledOut),
        (INVITATION, replace(STAGE, private_owed_until=after(5.001)), 5, invitation.PrivateGoalOwed),
        (INVITATION, replace(STAGE, over_at=after(364.999)), 5, SessionTooShort),
        (INVITATION, replace(STAGE, ended_at=after(1)), 5, SessionOver),
        (PROPOSED, STAGE, 5, GoalNotActive),
        (AGREED, STAGE, 5, GoalNotActive),
    ],
)
def test_what_cannot_be_agreed_to(goal: Goal, stage: Stage, now: float, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        lifecycle.deletion(goal, stage, an_answer(now, agree=True), TIMING)


@pytest.mark.parametrize("stage", [replace(STAGE, holder_id=OTHER), replace(STAGE, agreements=1)])
def test_what_cannot_be_agreed_to_can_be_refused(stage: Stage) -> None:
    ending = lifecycle.deletion(INVITATION, stage, an_answer(5, agree=False), TIMING)

    assert saved(deactivate(INVITATION, ending, stage), Goal).outcome == "refused"


def test_an_invitation_is_answered_with_yes_or_no() -> None:
    with pytest.raises(lifecycle.AnswerMissing):
        lifecycle.require_answer(INVITATION, None)
    assert lifecycle.require_answer(INVITATION, agree=True)
    assert not lifecycle.require_answer(EXCLUSIVE, None)


# The exclusive


def test_an_exclusive_follows_its_agreement_and_ends_with_the_viewers_time() -> None:
    change = start()

    goal, bound = (document for document in change.state or () if isinstance(document, Goal))
    assert goal == EXCLUSIVE
    assert bound.context.exclusive_goal_id == OTHER
    assert saved(change, Stage) == PERFORMED  # written, so that whoever closes it meanwhile conflicts
    assert kinds(change) == [GoalCreatedV1]
    assert Cancel(f"lapse-due:{GOAL}") in change.timers


@pytest.mark.parametrize(
    ("at", "nbf", "expected"),
    [(5, None, 5), (5, 0, 5), (5, 30, 30), (5, 60, 60), (5, 61, 60), (5, 99_999, 60), (60, 10, 60), (60, 60, 60)],
)
def test_nbf_lies_between_now_and_one_step_after_the_agreement(at: float, nbf: float | None, expected: float) -> None:
    goal = next(document for document in start(at=at, nbf=nbf).state or () if isinstance(document, Goal))

    assert (goal.nbf, goal.exp) == (after(expected), after(360))


@pytest.mark.parametrize(
    ("invited", "stage", "at", "refusal"),
    [
        (None, PERFORMED, 5, exclusive.InvitationNotFound),
        (EXCLUSIVE, PERFORMED, 5, exclusive.InvitationNotFound),
        (replace(AGREED, conditions=Conditions(session_id=OTHER)), PERFORMED, 5, exclusive.InvitationNotFound),
        (AGREED, replace(PERFORMED, ended_at=after(1)), 5, SessionOver),
        (INVITATION, STAGE, 5, exclusive.InvitationNotAgreed),
        (REFUSED, STAGE, 5, exclusive.InvitationNotAgreed),
        (replace(AGREED, lapsed=True), STAGE, 5, exclusive.AgreementLapsed),
        (AGREED, PERFORMED, 60.001, exclusive.AgreementLapsed),
        (exclusive.bind_exclusive_goal_to_trigger_exclusive_goal(EXCLUSIVE, AGREED), PERFORMED, 5,
         exclusive.ExclusiveExists),
    ],
)  # fmt: skip
def test_what_no_exclusive_follows(invited: Goal | None, stage: Stage, at: float, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        start(invited, stage, at=at)


def test_time_that_is_used_up_is_not_started_any_more() -> None:
    short = replace(TIMING, step=timedelta(seconds=1))
    invited = replace(AGREED, metadata=Metadata(user_id=STREAMER, prepaid_duration=1, agreed=NOW))

    with pytest.raises(exclusive.AgreementLapsed):
        exclusive.create(Wanted(goal_id=OTHER, levels=(), nbf=None), invited, PERFORMED, after(2), short)


def test_the_end_of_an_exclusive_frees_the_stage() -> None:
    change = deactivate(EXCLUSIVE, End(cause="deleted", at=after(400)), PERFORMED)

    assert saved(change, Stage).holder_id is None


# More time


@pytest.mark.parametrize(("now", "exp"), [(100, 420), (359, 420), (360, 420), (400, 460)])
def test_extending_adds_a_step_to_now_or_exp_whichever_is_later(now: float, exp: float) -> None:
    change = extensions.extend(EXCLUSIVE, PERFORMED, after(now), TIMING)

    (event,) = change.events
    assert isinstance(event, GoalExtendedV1)
    assert (event.viewers, event.nbf, event.duration, event.exp, event.payment_id) == (
        (VIEWER,), after(now), 60, after(exp), None,
    )  # fmt: skip
    assert saved(change, Goal).exp == after(exp)
    timer = goal_timer(change)
    assert isinstance(timer, At)
    assert timer.due == after(exp)


@pytest.mark.parametrize(
    ("goal", "stage", "refusal"),
    [
        (INVITATION, STAGE, extensions.NotExclusive),
        (replace(EXCLUSIVE, state="ended"), STAGE, GoalNotActive),
        (replace(EXCLUSIVE, exp=after(3_540.001)), PERFORMED, extensions.ExtendedEnough),
        (EXCLUSIVE, replace(PERFORMED, over_at=after(419.999)), extensions.ExtendedEnough),
        (EXCLUSIVE, replace(PERFORMED, ended_at=NOW), SessionOver),
    ],
)
def test_what_cannot_be_extended(goal: Goal, stage: Stage, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        extensions.extend(goal, stage, NOW, TIMING)


def a_payment(at: float, duration: int = 120) -> PaidExtension:
    return PaidExtension(
        id=PAYMENT, goal_id=OTHER, session_id=SESSION, streamer_id=STREAMER, duration=duration, at=after(at)
    )


@pytest.mark.parametrize(("at", "begins", "exp"), [(100, 360, 480), (400, 400, 520)])
def test_a_payment_makes_the_exclusive_as_much_longer(at: float, begins: float, exp: float) -> None:
    change = extensions.extend_by_payment(a_payment(at), EXCLUSIVE, PERFORMED, TIMING)

    (event,) = change.events
    assert isinstance(event, GoalExtendedV1)
    assert (event.payment_id, event.duration, event.exp) == (PAYMENT, 120, after(exp))
    assert saved(change, Extension).begins == after(begins)


@pytest.mark.parametrize(
    "goal",
    [None, replace(EXCLUSIVE, state="ended"), INVITATION, replace(EXCLUSIVE, conditions=Conditions(session_id=OTHER))],
)
def test_a_payment_that_comes_too_late_is_given_back(goal: Goal | None) -> None:
    change = extensions.extend_by_payment(a_payment(100), goal, PERFORMED, TIMING)

    assert [event.TYPE for event in change.events] == ["goal.extension_rejected.v1"]
    assert saved(change, Extension).rejected
    assert len(change.state or ()) == 1


@pytest.mark.parametrize(
    ("exp", "over_at", "extended"),
    [(3_580, None, True), (3_580.001, None, False), (360, 480, True), (360, 479.999, False)],
)
def test_a_payment_for_more_than_can_be_is_given_back(exp: float, over_at: float | None, *, extended: bool) -> None:
    stage = replace(PERFORMED, over_at=None if over_at is None else after(over_at))

    change = extensions.extend_by_payment(a_payment(100), replace(EXCLUSIVE, exp=after(exp)), stage, TIMING)

    assert kinds(change) == [GoalExtendedV1 if extended else GoalExtensionRejectedV1]
    assert saved(change, Extension).rejected == (not extended)


def test_at_the_end_payments_for_time_that_had_not_begun_are_given_back() -> None:
    unbegun = Extension(id=PAYMENT, goal_id=OTHER, session_id=SESSION, streamer_id=STREAMER, begins=after(360))

    change = deactivate(EXCLUSIVE, End(cause="deleted", at=after(310)), PERFORMED, (unbegun,))

    assert [event.TYPE for event in change.events] == ["goal.ended.v1", "goal.extension_rejected.v1"]
    assert saved(change, Extension).rejected


@pytest.mark.parametrize(
    ("ended", "back"),
    [(360, None), (360.001, 120), (420, 120), (420.001, 60), (480, 60), (480.001, 0), (540, 0)],
)
def test_of_a_payment_whose_time_has_begun_the_steps_go_back_that_have_not(ended: float, back: int | None) -> None:
    payment = a_payment(100, duration=180).remembered(begins=after(360))

    change = extensions.reject_extensions((payment,), after(ended), TIMING)

    assert [event.model_dump()["duration"] for event in change.events] == ([] if back == 0 else [back])
    assert len(change.state or ()) == len(change.events)


def test_of_a_payment_from_before_its_length_was_kept_nothing_goes_back_once_its_time_has_begun() -> None:
    payment = Extension(id=PAYMENT, goal_id=OTHER, session_id=SESSION, streamer_id=STREAMER, begins=after(360))

    assert extensions.reject_extensions((payment,), after(361), TIMING).events == ()


def test_a_full_slice_of_payments_is_followed_by_another_look() -> None:
    unbegun = [
        Extension(id=f"{number:024x}", goal_id=OTHER, session_id=SESSION, streamer_id=STREAMER, begins=after(360))
        for number in range(SLICE)
    ]

    assert len(extensions.reject_extensions(unbegun, NOW, TIMING).timers) == 1
    assert extensions.reject_extensions(unbegun[:-1], NOW, TIMING).timers == ()


# Lapsing


@pytest.mark.parametrize(
    ("stage", "reason"), [(PERFORMED, "no_exclusive"), (replace(PERFORMED, ended_at=NOW), "session_ended")]
)
def test_an_agreement_without_an_exclusive_lapses_and_frees_the_stage(stage: Stage, reason: str) -> None:
    change = lifecycle.lapse_goal(AGREED, stage)

    (event,) = change.events
    assert isinstance(event, GoalLapsedV1)
    assert event.reason == reason
    assert saved(change, Goal).lapsed
    assert saved(change, Stage).holder_id is None


@pytest.mark.parametrize(
    "goal",
    [
        INVITATION,
        REFUSED,
        EXCLUSIVE,
        replace(AGREED, lapsed=True),
        exclusive.bind_exclusive_goal_to_trigger_exclusive_goal(EXCLUSIVE, AGREED),
    ],
)
def test_nothing_else_lapses(goal: Goal) -> None:
    change = lifecycle.lapse_goal(goal, PERFORMED)

    assert (change.state, change.events) == ((), ())


# The leaderboard


def test_more_stands_before_less_and_of_equals_the_earlier_first() -> None:
    places = [place(1_000, after(9)), place(999, after(1)), place(999, after(2)), place(1, NOW)]

    assert places == sorted(places)
