"""Two at once, 200 rounds each, on the real MongoDB: one winner, and money where SPEC says."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from chassis import ids
from goals.domain.goal import OPEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.goals.tests.conftest import Night

ROUNDS = 200
AHEAD_SECONDS_MAX = 0.012  # about what one command takes: either may come first


async def soon(deed: Awaitable[Any]) -> Any:
    """Do it, after a moment that is different each time."""
    await asyncio.sleep(random.random() * AHEAD_SECONDS_MAX)
    return await deed


async def race(night: Night, one_round: Callable[[Night], Awaitable[str]]) -> Counter[str]:
    """Run the rounds, each in a session of its own; returns who won how often, which must be both."""
    wins: Counter[str] = Counter()
    for _ in range(ROUNDS):
        one = night.another()
        await one.solo.hear(one.started())
        wins[await one_round(one)] += 1
        await one.solo.take()
    return wins


async def test_agree_against_time_out(night: Night) -> None:
    async def one_round(one: Night) -> str:
        goal_id = await one.invitation(ids.new_id())
        one.solo.clock.advance(29.999)

        answered, _ = await asyncio.gather(soon(one.answer(goal_id, agree=True)), soon(one.later(0.001)))

        goal = await one.goal(goal_id)
        assert (answered.status_code, goal.outcome) in {(204, "agreed"), (409, "timed_out")}
        assert (await one.told_of(goal_id)).count("goal.ended") == 1
        assert ((await one.stage()).holder_id == goal_id) == (goal.outcome == "agreed")
        return str(goal.outcome)

    assert set(await race(night, one_round)) == {"agreed", "timed_out"}


async def test_two_agrees_on_one_invitation(night: Night) -> None:
    async def one_round(one: Night) -> str:
        goal_id = await one.invitation(ids.new_id())

        answers = await asyncio.gather(*(soon(one.answer(goal_id, agree=True)) for _ in range(2)))

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert (await one.told_of(goal_id)).count("goal.ended") == 1
        assert (await one.stage()).agreements == 1
        return str(answers[0].status_code)

    assert set(await race(night, one_round)) == {"204", "409"}


async def test_two_agrees_on_two_invitations(night: Night) -> None:
    async def one_round(one: Night) -> str:
        goal_ids = [await one.invitation(ids.new_id()) for _ in range(2)]

        answers = await asyncio.gather(*(soon(one.answer(goal_id, agree=True)) for goal_id in goal_ids))

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        winner = goal_ids[0 if answers[0].status_code == 204 else 1]
        stage = await one.stage()
        assert (stage.holder_id, stage.agreements, stage.open_invitations) == (winner, 1, 1)
        await one.later(30)
        assert sorted([str((await one.goal(goal_id)).outcome) for goal_id in goal_ids]) == ["agreed", "timed_out"]
        return str(answers[0].status_code)

    assert set(await race(night, one_round)) == {"204", "409"}


async def test_two_exclusives_on_one_invitation(night: Night) -> None:
    async def one_round(one: Night) -> str:
        invitation_id = await one.agreement(ids.new_id())

        starts = await asyncio.gather(*(soon(one.start(invitation_id)) for _ in range(2)))

        assert sorted(start.status_code for start in starts) == [201, 409]
        (exclusive_id,) = [start.json()["goal_id"] for start in starts if start.status_code == 201]
        assert (await one.goal(invitation_id)).context.exclusive_goal_id == exclusive_id
        told = [event.TYPE for event in await one.solo.published()]
        assert told.count("goal.created.v1") == 2  # the invitation and one exclusive
        return str(starts[0].status_code)

    assert set(await race(night, one_round)) == {"201", "409"}


async def test_an_exclusive_against_its_lapse(night: Night) -> None:
    async def one_round(one: Night) -> str:
        invitation_id = await one.agreement(ids.new_id())
        one.solo.clock.advance(59.999)

        started, _ = await asyncio.gather(soon(one.start(invitation_id)), soon(one.later(0.001)))

        invitation = await one.goal(invitation_id)
        lapsed = (await one.told_of(invitation_id)).count("goal.lapsed")
        assert (started.status_code, invitation.lapsed, lapsed) in {(201, False, 0), (409, True, 1)}
        assert ((await one.stage()).holder_id is None) == invitation.lapsed
        return str(started.status_code)

    assert set(await race(night, one_round)) == {"201", "409"}


async def test_agree_against_the_sessions_end(night: Night) -> None:
    async def one_round(one: Night) -> str:
        goal_id = await one.invitation(ids.new_id())

        answered, _ = await asyncio.gather(soon(one.answer(goal_id, agree=True)), soon(one.solo.hear(one.ended())))

        goal, told = await one.goal(goal_id), await one.told_of(goal_id)
        assert (answered.status_code, goal.outcome, goal.lapsed) in {(204, "agreed", True), (409, "cancelled", False)}
        assert (told.count("goal.ended"), told.count("goal.lapsed")) == (1, int(goal.lapsed))
        assert (await one.stage()).holder_id is None
        return str(goal.outcome)

    assert set(await race(night, one_round)) == {"agreed", "cancelled"}


async def test_invite_against_the_sessions_end(night: Night) -> None:
    async def one_round(one: Night) -> str:
        asked, _ = await asyncio.gather(soon(one.ask(ids.new_id())), soon(one.solo.hear(one.ended())))

        assert asked.status_code in {202, 409}
        if asked.status_code == 202:
            goal_id = asked.json()["goal_id"]
            assert (await one.goal(goal_id)).state == "rejected"
            assert await one.told_of(goal_id) == ["goal.proposed", "goal.rejected"]
        assert (await one.stage()).open_invitations == 0
        return str(asked.status_code)

    assert set(await race(night, one_round)) == {"202", "409"}


async def test_two_invitations_of_one_viewer(night: Night) -> None:
    async def one_round(one: Night) -> str:
        viewer = ids.new_id()

        asked = await asyncio.gather(*(soon(one.ask(viewer)) for _ in range(2)))

        assert sorted(answer.status_code for answer in asked) == [202, 409]
        assert (await one.stage()).open_invitations == 1
        return str(asked[0].status_code)

    assert set(await race(night, one_round)) == {"202", "409"}


async def test_extend_against_exp(night: Night) -> None:
    async def one_round(one: Night) -> str:
        _, exclusive_id = await one.exclusive(ids.new_id())
        exp = (await one.goal(exclusive_id)).exp
        one.solo.clock.advance(359.999)

        extended, _ = await asyncio.gather(soon(one.extend(exclusive_id)), soon(one.later(0.001)))

        goal, told = await one.goal(exclusive_id), await one.told_of(exclusive_id)
        if extended.status_code == 204:
            assert (goal.state, goal.exp > exp, told) == ("active", True, ["goal.created", "goal.extended"])
            await one.later(61)
            goal = await one.goal(exclusive_id)
        else:
            assert (extended.status_code, told) == (409, ["goal.created", "goal.ended"])
        assert goal.state not in OPEN
        assert goal.outcome == "completed"
        assert (await one.told_of(exclusive_id)).count("goal.ended") == 1
        return str(extended.status_code)

    assert set(await race(night, one_round)) == {"204", "409"}


async def test_a_payment_against_the_end(night: Night) -> None:
    """Its part of the time has not begun either way: it is given back, once."""

    async def one_round(one: Night) -> str:
        viewer = ids.new_id()
        _, exclusive_id = await one.exclusive(viewer)
        paid = one.paid(exclusive_id, viewer)

        deleted, _ = await asyncio.gather(soon(one.answer(exclusive_id, agree=None)), soon(one.solo.hear(paid)))

        told = await one.told_of(exclusive_id)
        assert deleted.status_code == 204
        assert (told.count("goal.ended"), told.count("goal.extension_rejected")) == (1, 1)
        return "paid first" if "goal.extended" in told else "ended first"

    assert set(await race(night, one_round)) == {"paid first", "ended first"}


async def test_a_held_price_against_the_proposals_end(night: Night) -> None:
    async def one_round(one: Night) -> str:
        viewer = ids.new_id()
        goal_id = await one.proposal(viewer)
        one.solo.clock.advance(29.999)

        await asyncio.gather(soon(one.solo.hear(one.held(goal_id, viewer))), soon(one.later(0.001)))

        goal, told = await one.goal(goal_id), await one.told_of(goal_id)
        answers = [kind for kind in told if kind in {"goal.progressed", "goal.contribution_rejected"}]
        assert (goal.state, answers) in [("active", ["goal.progressed"]), ("rejected", ["goal.contribution_rejected"])]
        assert told.count("goal.rejected") == (goal.state == "rejected")
        return goal.state

    assert set(await race(night, one_round)) == {"active", "rejected"}
