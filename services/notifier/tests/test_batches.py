"""What is heard of a show night, in one batch or one by one: every pair leaves the same pushes and the same state.

Each pair is of a show of its own, so that all of them are heard at once: both of a pair together, or first from all
pairs the one and then from all the other.
"""

from collections.abc import Awaitable, Callable, Iterable
from itertools import product
from typing import Any

from chassis_testing.service import ServiceHarness
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    Event,
    GiftSentV1,
    GoalEndedV1,
    GoalProgressedV1,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.goals import Conditions, Context
from contracts.sessions import Remaining
from notifier.domain.pushes import Push
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]


def scenario(an: An, number: int) -> list[Event]:
    """What is told of one show, its tickets and their money; all ids follow from the number."""

    def id_(n: int) -> str:
        return f"{number:012x}{n:012x}"

    streamer, session, funding, show, viewer, friend = map(id_, range(1, 7))
    of = {"streamer_id": streamer, "session_id": session}
    for_all = {"conditions": Conditions(session_id=session)}
    selling = {"kind": "ShowFundingGoal", "goal_id": funding}
    playing = {"kind": "ShowGoal", "goal_id": show}
    ticket = {"goal_id": funding, "reason": "ticket", "nbf": None, "duration": None, "exp": None}
    nothing = Remaining(nbf=None, exp=None, ticket=False, private=False)
    return [
        an(SessionStartedV1, **of, exclusive_to=()),
        an(SessionEndedV1, **of, active=False, exclusive_to=()),
        an(SessionGoalAddedV1, **of, **selling, **for_all, context=Context(type="show-funding", session_id=session)),
        an(
            SessionGoalAddedV1,
            **of,
            **playing,
            **for_all,
            context=Context(type="show", session_id=session, funding_goal_id=funding),
        ),
        an(GoalProgressedV1, **of, **selling, progress=1),
        an(GoalProgressedV1, **of, **selling, progress=2),
        an(GoalEndedV1, **of, **selling, **for_all),
        an(GoalEndedV1, **of, **playing, **for_all),
        an(SessionViewerAuthorizedV1, **of, **ticket, viewer_id=viewer),
        an(SessionViewerAuthorizedV1, **of, **ticket, viewer_id=friend),
        an(SessionViewerRevokedV1, **of, viewer_id=viewer, goal_id=funding, reason="refunded", remaining=nothing),
        an(EscrowFailedV1, **of, goal_id=funding, buyer_id=viewer),
        an(EscrowCompletedV1, **of, goal_id=funding, buyer_id=viewer),
        an(GiftSentV1, **of, goal_id=funding, sender_id=viewer),
    ]


async def hear(harness: ServiceHarness, events: Iterable[tuple[str, Event]]) -> None:
    """Hear events, each with its id, as one batch."""
    assert not any(
        await harness.handle_items([harness.work(event, harness.cause(event_id=id_)) for id_, event in events])
    )


async def left(harness: ServiceHarness) -> tuple[Any, ...]:
    """All that it keeps; what waits on each channel, in order; and its timers."""
    pushes = [effect for effect in await harness.effects() if isinstance(effect, Push)]
    channels = {push.channel for push in pushes}
    waiting = {name: [(push.name, push.data) for push in pushes if push.channel == name] for name in channels}
    return await harness.snapshot(), waiting, sorted(timer.model_dump_json() for timer in await harness.timers())


async def test_in_one_batch_or_one_by_one_every_pair_of_a_show_night_comes_to_the_same(
    harness_of: HarnessOf, an: An
) -> None:
    pairs = list(product(range(len(scenario(an, 0))), repeat=2))
    firsts = [(f"{number} first", scenario(an, number)[first]) for number, (first, _) in enumerate(pairs)]
    seconds = [(f"{number} second", scenario(an, number)[second]) for number, (_, second) in enumerate(pairs)]
    ends = []
    for together in (True, False):
        harness = await harness_of(SERVICE)
        if together:
            await hear(harness, (event for pair in zip(firsts, seconds, strict=True) for event in pair))
        else:
            await hear(harness, firsts)
            await hear(harness, seconds)
        heard = await left(harness)
        harness.clock.advance(1)
        await harness.run_timers()
        ends.append((heard, await left(harness)))

    assert ends[0] == ends[1]
