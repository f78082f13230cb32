"""Every transition of fundings, shows, private goals and karaoke, both sides, without a database."""

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
    GiftSentV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    Level,
    Metadata,
)
from goals.domain import funding, karaoke, lifecycle, private, show
from goals.domain.goal import DeadlineOutOfRange, End, Goal, LapseDue, require_deadline
from goals.domain.hold import Hold
from goals.domain.stage import SessionOver, SessionTooShort, Stage, StageTaken
from goals.domain.state import Change, Contribution, Supporter
from goals.settings import GoalsSettings

NOW = datetime(2026, 1, 31, 20, 0, tzinfo=UTC)
SESSION, STREAMER, VIEWER, GOAL, SHOW = (character * 24 for character in "abcde")
TIMING = GoalsSettings().timing
STAGE = Stage(id=SESSION, streamer_id=STREAMER, exclusive_price=20)
HELD = replace(STAGE, holder_id=GOAL)
FUNDING = Goal(
    id=GOAL,
    kind="ShowFundingGoal",
    state="active",
    conditions=Conditions(session_id=SESSION),
    context=Context(
        type="show-funding",
        session_id=SESSION,
        perform_duration=120,
        hesitation_countdown=30,
        ticket_product_id="ticket_1",
        ticket_product_type="earlybird",
        discount_percentage=33,
    ),
    levels=(Level(title="A song", target=10),),
    metadata=Metadata(user_id=STREAMER),
    exp=NOW + timedelta(seconds=600),
    created_at=NOW,
)
FUNDED = replace(FUNDING, state="ended", outcome="funded", progress=10, exp=NOW, ended_at=NOW)
UNFUNDED = replace(FUNDED, outcome="unfunded", progress=9)
ON = Goal(
    id=SHOW,
    kind="ShowGoal",
    state="active",
    conditions=Conditions(session_id=SESSION),
    context=Context(
        type="show",
        session_id=SESSION,
        funding_goal_id=GOAL,
        perform_duration=120,
        ticket_product_id="ticket_1",
        ticket_product_type="earlybird",
        discount_percentage=33,
    ),
    levels=(Level(title="A song", target=120),),
    metadata=Metadata(user_id=STREAMER),
    nbf=NOW + timedelta(seconds=5),
    exp=NOW + timedelta(seconds=125),
    created_at=NOW + timedelta(seconds=5),
)
PERFORMED = funding.bind_show_goal_to_funding_goal(ON, FUNDED)
PRIVATE = Goal(
    id=GOAL,
    kind="TriggerPrivateGoal",
    state="active",
    conditions=Conditions(session_id=SESSION),
    context=Context(type="trigger-private", session_id=SESSION),
    levels=(Level(title="For you", target=1_000),),
    metadata=Metadata(user_id=STREAMER),
    exp=NOW + timedelta(seconds=600),
    created_at=NOW,
)
GIFT = GiftSentV1(
    session_id=SESSION,
    streamer_id=STREAMER,
    gift_id="1" * 24,
    sender_id=VIEWER,
    product_id="karaoke-song_60",
    categories=(),
    count=1,
    amount_diamonds=300,
    duration=60,
)
SONG = Goal(
    id="2" * 24,
    kind="KaraokeGoal",
    state="active",
    conditions=Conditions(session_id=SESSION),
    context=Context(type="karaoke", gift_id=GIFT.gift_id, sender_id=VIEWER, product_id=GIFT.product_id),
    metadata=Metadata(user_id=STREAMER),
    exp=NOW + timedelta(seconds=60),
    created_at=NOW,
)
OFFER = funding.Offer(
    goal_id=GOAL,
    level=FUNDING.levels[0],
    exp=FUNDING.exp,
    perform_duration=120,
    hesitation_countdown=30,
    ticket_product_id="ticket_1",
    ticket_product_type="earlybird",
    discount_percentage=33,
)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def saved(change: Change, kind: type[Any]) -> Any:
    return [document for document in change.state or () if isinstance(document, kind)][-1]


def goal_of(change: Change, goal_id: str) -> Goal:
    goals = [document for document in change.state or () if isinstance(document, Goal)]
    return [goal for goal in goals if goal.id == goal_id][-1]


def deactivate(goal: Goal, ending: End, stage: Stage = HELD) -> Change:
    return lifecycle.deactivate_goal(goal, stage, lifecycle.resolved(goal, stage, ending), (), TIMING)


def a_hold(
    goal: Goal = FUNDING,
    stage: Stage = HELD,
    *,
    now: float = 0,
    show: Goal | None = None,
    blocked: bool = False,
    **more: Any,
) -> Hold:
    escrow = {"ShowFundingGoal": "show_funding", "TriggerPrivateGoal": "trigger_private"}.get(goal.kind, "show_funding")
    facts = {
        "session_id": SESSION,
        "streamer_id": STREAMER,
        "goal_id": goal.id,
        "escrow_id": f"{escrow}:{goal.id}",
        "earning_id": "3" * 24,
        "buyer_id": VIEWER,
        "amount_diamonds": 100,
        "count": 2,
        "cause_id": "4" * 24,
        "gift_id": "4" * 24,
    }
    event = EscrowHeldV1.model_validate(facts | more)
    return Hold(
        event=event,
        goal=goal,
        stage=stage,
        supporter=None,
        blocked=blocked,
        held_at=after(now),
        now=after(now),
        timing=TIMING,
        show=show,
    )


# Fundings


@pytest.mark.parametrize("seconds", [0.001, 1, 86_400])
def test_a_deadline_lies_within_24_hours(seconds: float) -> None:
    require_deadline(after(seconds), NOW)


@pytest.mark.parametrize("seconds", [-1, 0, 86_400.001, 90_000])
def test_any_other_deadline_can_never_be_valid(seconds: float) -> None:
    with pytest.raises(DeadlineOutOfRange):
        require_deadline(after(seconds), NOW)


def test_a_show_lasts_at_least_a_step() -> None:
    funding.require_performable(60, TIMING)
    with pytest.raises(funding.ShowTooShort):
        funding.require_performable(59, TIMING)


def test_a_funding_takes_the_stage() -> None:
    change = funding.create(OFFER, STAGE, NOW)

    assert saved(change, Goal) == FUNDING
    assert saved(change, Stage) == HELD
    assert [type(event) for event in change.events] == [GoalCreatedV1]
    assert [timer.due for timer in change.timers if isinstance(timer, At)] == [FUNDING.exp]


def test_a_discount_is_for_early_birds_only() -> None:
    change = funding.create(replace(OFFER, ticket_product_type="regular"), STAGE, NOW)

    assert saved(change, Goal).context.discount_percentage is None


@pytest.mark.parametrize(
    ("stage", "refusal"),
    [
        (HELD, StageTaken),
        (replace(STAGE, ended_at=NOW), SessionOver),
        (replace(STAGE, over_at=after(719.999)), SessionTooShort),
    ],
)
def test_what_forbids_a_funding(stage: Stage, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        funding.create(OFFER, stage, NOW)


def test_a_funding_whose_show_ends_with_the_session_is_just_short_enough() -> None:
    assert saved(funding.create(OFFER, replace(STAGE, over_at=after(720)), NOW), Goal) == FUNDING


# Tickets


@pytest.mark.parametrize(("before", "reached"), [(0, False), (7, False), (8, True), (50, True)])
def test_a_ticket_counts_while_its_funding_is_on(before: int, *, reached: bool) -> None:
    change = lifecycle.answer_hold(a_hold(replace(FUNDING, progress=before)))

    (event,) = change.events
    assert isinstance(event, GoalProgressedV1)
    assert (event.count, event.progress, event.target, event.reached) == (2, before + 2, 10, reached)
    assert (event.gift_id, event.contribution_id) == ("4" * 24, event.earning_id)
    assert saved(change, Goal).progress == before + 2
    assert saved(change, Contribution).rejected is None
    assert saved(change, Supporter).amount_diamonds == 100


def test_a_ticket_counts_on_the_funding_while_its_show_is_on() -> None:
    change = lifecycle.answer_hold(a_hold(PERFORMED, now=124.999, show=ON))

    (event,) = change.events
    assert isinstance(event, GoalProgressedV1)
    assert (event.goal_id, event.kind, event.progress) == (GOAL, "ShowFundingGoal", 12)
    assert goal_of(change, SHOW) == ON  # written, so that a show that ends meanwhile conflicts
    assert goal_of(change, GOAL).outcome == "funded"


@pytest.mark.parametrize("hold", [a_hold(now=599), a_hold(PERFORMED, now=124, show=ON), a_hold(PRIVATE, now=599)])
def test_what_was_held_in_time_counts_although_it_is_read_late(hold: Hold) -> None:
    late = replace(hold, now=hold.now + timedelta(seconds=20))

    assert isinstance(lifecycle.answer_hold(late).events[0], GoalProgressedV1)


@pytest.mark.parametrize(
    ("hold", "reason"),
    [
        (a_hold(now=600), "goal_over"),
        (a_hold(FUNDED), "goal_over"),
        (a_hold(UNFUNDED), "goal_over"),
        (a_hold(PERFORMED, now=125, show=ON), "goal_over"),
        (a_hold(PERFORMED, show=replace(ON, state="ended")), "goal_over"),
        (a_hold(blocked=True), "viewer_blocked"),
        (a_hold(PERFORMED, show=ON, blocked=True), "viewer_blocked"),
        (a_hold(PRIVATE, blocked=True), "viewer_blocked"),
        (a_hold(stage=replace(HELD, ended_at=NOW)), "session_ended"),
        (a_hold(session_id=SHOW), "other_session"),
        (a_hold(escrow_id=f"trigger_private:{GOAL}"), "goal_unknown"),
        (a_hold(ON), "goal_unknown"),
        (a_hold(SONG), "goal_unknown"),
        (a_hold(PRIVATE, now=600), "goal_over"),
        (a_hold(replace(PRIVATE, state="ended")), "goal_over"),
        (a_hold(PRIVATE, stage=replace(STAGE, ended_at=NOW)), "session_ended"),
        (a_hold(PRIVATE, escrow_id=f"show_funding:{GOAL}"), "goal_unknown"),
    ],
)
def test_money_that_cannot_count_comes_back_and_changes_nothing_else(hold: Hold, reason: str) -> None:
    change = lifecycle.answer_hold(hold)

    (event,) = change.events
    assert isinstance(event, GoalContributionRejectedV1)
    assert event.reason == reason
    assert [type(document) for document in change.state or ()] == [Contribution]


# The outcomes of SPEC §3

EXPIRED, DELETED, SESSION_ENDED = (
    End(cause="expired", at=after(10**6)),
    End(cause="deleted", at=after(50)),
    End(cause="session_ended", at=after(50)),
)


@pytest.mark.parametrize(
    ("goal", "ending", "outcome", "ended_at"),
    [
        (replace(FUNDING, progress=9), EXPIRED, "unfunded", 600),
        (replace(FUNDING, progress=10), EXPIRED, "funded", 600),
        (replace(FUNDING, progress=9), DELETED, "unfunded", 50),
        (replace(FUNDING, progress=10), DELETED, "funded", 50),
        (replace(FUNDING, progress=9), SESSION_ENDED, "unfunded", 50),
        (replace(FUNDING, progress=10), SESSION_ENDED, "funded", 50),
        (ON, EXPIRED, "completed", 125),
        (ON, DELETED, "cancelled", 50),
        (ON, SESSION_ENDED, "cancelled", 50),
        (ON, replace(DELETED, at=after(125)), "completed", 125),
        (ON, replace(SESSION_ENDED, at=after(125)), "completed", 125),
        (PRIVATE, EXPIRED, "timed_out", 600),
        (PRIVATE, DELETED, "cancelled", 50),
        (PRIVATE, SESSION_ENDED, "cancelled", 50),
        (SONG, EXPIRED, "completed", 60),
        (SONG, SESSION_ENDED, "cancelled", 50),
        (SONG, replace(SESSION_ENDED, at=after(60)), "completed", 60),
    ],
)
def test_how_a_goal_comes_out(goal: Goal, ending: End, outcome: str, ended_at: float) -> None:
    change = deactivate(goal, ending)

    (event,) = change.events
    assert isinstance(event, GoalEndedV1)
    assert (event.outcome, event.ended_at, event.exp) == (outcome, after(ended_at), after(ended_at))
    assert saved(change, Goal).outcome == outcome


@pytest.mark.parametrize(
    ("seconds", "performed"), [(1, 0), (5, 0), (5.999, 0), (6, 1), (50.4, 45), (125, 120), (999, 120)]
)
def test_a_shows_progress_is_its_performed_whole_seconds(seconds: float, performed: int) -> None:
    assert lifecycle.progress(ON, after(seconds)) == performed
    (event,) = deactivate(ON, End(cause="deleted", at=after(seconds))).events
    assert isinstance(event, GoalEndedV1)
    assert event.progress == performed


def test_karaoke_is_not_deleted() -> None:
    with pytest.raises(lifecycle.NotDeletable):
        lifecycle.deletion(SONG, STAGE, DELETED, TIMING)


# Shows


def test_an_unfunded_funding_waits_for_its_hesitation_and_a_funded_one_for_the_session() -> None:
    unfunded = deactivate(replace(FUNDING, progress=9), DELETED)
    funded = deactivate(replace(FUNDING, progress=10), DELETED)

    lapse = At(LapseDue(goal_id=GOAL, session_id=SESSION), f"lapse-due:{GOAL}", after(80), SESSION)
    assert lapse in unfunded.timers
    assert not [timer for timer in funded.timers if isinstance(timer, At)]
    assert saved(unfunded, Stage) == saved(funded, Stage) == HELD


@pytest.mark.parametrize(("goal", "at"), [(FUNDED, 5), (FUNDED, 10_000), (UNFUNDED, 5), (UNFUNDED, 30)])
def test_a_show_follows_a_funded_goal_at_any_time_and_an_unfunded_one_within_the_hesitation(
    goal: Goal, at: float
) -> None:
    change = show.create(SHOW, goal, HELD, None, after(at))

    performing = goal_of(change, SHOW)
    assert (performing.nbf, performing.exp) == (after(at), after(at + 120))
    assert (performing.context, performing.levels) == (ON.context, ON.levels)
    assert goal_of(change, GOAL).context.show_goal_id == SHOW
    assert saved(change, Stage) == HELD
    assert Cancel(f"lapse-due:{GOAL}") in change.timers


@pytest.mark.parametrize(("nbf", "begins"), [(None, 5), (0, 5), (5, 5), (300, 300)])
def test_a_show_begins_now_or_later(nbf: float | None, begins: float) -> None:
    change = show.create(SHOW, FUNDED, HELD, None if nbf is None else after(nbf), after(5))

    assert goal_of(change, SHOW).nbf == after(begins)


def test_a_show_begins_at_most_10_minutes_ahead() -> None:
    show.require_soon(after(600), NOW)
    show.require_soon(None, NOW)
    with pytest.raises(show.BeginsTooLate):
        show.require_soon(after(600.001), NOW)


@pytest.mark.parametrize(
    ("goal", "stage", "at", "refusal"),
    [
        (None, HELD, 5, show.FundingNotFound),
        (PRIVATE, HELD, 5, show.FundingNotFound),
        (replace(FUNDED, conditions=Conditions(session_id=SHOW)), HELD, 5, show.FundingNotFound),
        (FUNDED, replace(HELD, ended_at=NOW), 5, SessionOver),
        (FUNDED, replace(HELD, over_at=after(124.999)), 5, SessionTooShort),
        (FUNDING, HELD, 5, show.FundingNotOver),
        (PERFORMED, HELD, 5, show.ShowExists),
        (UNFUNDED, HELD, 30.001, show.FundingLapsed),
        (replace(UNFUNDED, lapsed=True), STAGE, 5, show.FundingLapsed),
        (replace(FUNDED, lapsed=True), STAGE, 5, show.FundingLapsed),
    ],
)
def test_what_no_show_follows(goal: Goal | None, stage: Stage, at: float, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        show.create(SHOW, goal, stage, None, after(at))


def test_a_funding_past_its_exp_is_over_although_its_timer_has_not_run() -> None:
    assert show.over_unnoticed(FUNDING, HELD, after(600))
    assert not show.over_unnoticed(FUNDING, HELD, after(599))
    assert not show.over_unnoticed(FUNDED, HELD, after(600))
    assert not show.over_unnoticed(PRIVATE, HELD, after(600))


def test_the_end_of_a_show_frees_the_stage() -> None:
    assert saved(deactivate(ON, DELETED), Stage).holder_id is None


@pytest.mark.parametrize(
    ("goal", "stage", "reason"),
    [
        (UNFUNDED, HELD, "no_show"),
        (UNFUNDED, replace(HELD, ended_at=NOW), "session_ended"),
        (FUNDED, replace(HELD, ended_at=NOW), "session_ended"),
    ],
)
def test_a_funding_without_a_show_lapses(goal: Goal, stage: Stage, reason: str) -> None:
    change = lifecycle.lapse_goal(goal, stage)

    (event,) = change.events
    assert isinstance(event, GoalLapsedV1)
    assert (event.reason, saved(change, Goal).lapsed, saved(change, Stage).holder_id) == (reason, True, None)


@pytest.mark.parametrize("goal", [FUNDED, UNFUNDED])
def test_a_funding_that_has_ended_can_be_given_up(goal: Goal) -> None:
    assert lifecycle.given_up(goal)

    change = lifecycle.give_up(goal, HELD)

    (event,) = change.events
    assert isinstance(event, GoalLapsedV1)
    assert (event.reason, saved(change, Goal).lapsed, saved(change, Stage).holder_id) == ("given_up", True, None)
    assert Cancel(f"lapse-due:{GOAL}") in change.timers
    with pytest.raises(SessionOver):
        lifecycle.give_up(goal, replace(HELD, ended_at=NOW))


@pytest.mark.parametrize("goal", [FUNDING, PERFORMED, replace(FUNDED, lapsed=True), ON, PRIVATE, SONG])
def test_nothing_else_is_given_up(goal: Goal) -> None:
    assert not lifecycle.given_up(goal)


@pytest.mark.parametrize("goal", [FUNDING, PERFORMED, replace(FUNDED, lapsed=True), ON, PRIVATE, SONG])
def test_nothing_else_lapses(goal: Goal) -> None:
    assert lifecycle.lapse_goal(goal, HELD).events == ()


# Private goals


def test_one_private_goal_is_open_in_a_session() -> None:
    change = private.create(GOAL, PRIVATE.levels[0], PRIVATE.exp, STAGE, NOW)

    assert saved(change, Goal) == PRIVATE
    assert saved(change, Stage).private_id == GOAL
    with pytest.raises(private.PrivateGoalOpen):
        private.create(SHOW, PRIVATE.levels[0], PRIVATE.exp, saved(change, Stage), NOW)
    with pytest.raises(SessionOver):
        private.create(GOAL, PRIVATE.levels[0], PRIVATE.exp, replace(STAGE, ended_at=NOW), NOW)


def test_gifts_count_in_diamonds_and_the_one_that_reaches_the_target_completes_it() -> None:
    stage = replace(STAGE, private_id=GOAL)
    near = lifecycle.answer_hold(a_hold(replace(PRIVATE, progress=899), stage))
    there = lifecycle.answer_hold(a_hold(replace(PRIVATE, progress=900), stage, now=7))

    assert [type(event) for event in near.events] == [GoalProgressedV1]
    progressed, ended = there.events
    assert isinstance(progressed, GoalProgressedV1)
    assert isinstance(ended, GoalEndedV1)
    assert (progressed.progress, progressed.reached, ended.progress) == (1_000, True, 1_000)
    assert (ended.outcome, ended.triggerer, ended.ended_at) == ("completed", None, after(7))
    assert saved(there, Stage).private_id is None
    assert saved(there, Stage).private_owed_until == after(67)


@pytest.mark.parametrize("ending", [EXPIRED, DELETED, SESSION_ENDED])
def test_after_a_private_goal_another_may_follow(ending: End) -> None:
    assert saved(deactivate(PRIVATE, ending, replace(STAGE, private_id=GOAL)), Stage).private_id is None


# Karaoke


def test_a_karaoke_gift_with_a_duration_is_a_goal_of_that_length() -> None:
    goal_id = karaoke.goal_id_of(GIFT)
    assert goal_id is not None

    change = karaoke.create(goal_id, GIFT, STAGE, None, NOW)

    assert saved(change, Goal) == replace(SONG, id=goal_id)
    assert [type(event) for event in change.events] == [GoalCreatedV1]


@pytest.mark.parametrize("changes", [{"duration": None}, {"product_id": "flowers"}])
def test_any_other_gift_is_none(changes: dict[str, Any]) -> None:
    assert karaoke.goal_id_of(GIFT.model_copy(update=changes)) is None


def test_a_gift_for_an_ended_session_makes_no_goal() -> None:
    assert karaoke.create(SONG.id, GIFT, replace(STAGE, ended_at=NOW), None, NOW).state == ()


def test_a_song_for_who_cannot_watch_makes_no_goal() -> None:
    assert karaoke.create(SONG.id, GIFT, HELD, SHOW, NOW).state == ()


@pytest.mark.parametrize(("gift", "alone_with"), [
    (GIFT, VIEWER), (GIFT.model_copy(update={"exclusive_to": VIEWER}), None),
])  # fmt: skip
def test_a_song_in_a_1_on_1_is_those_two_peoples_also_if_that_has_just_ended(
    gift: GiftSentV1, alone_with: str | None
) -> None:
    change = karaoke.create(SONG.id, gift, HELD, alone_with, NOW)

    assert saved(change, Goal) == replace(SONG, conditions=Conditions(session_id=STAGE.id, exclusive_to=VIEWER))
