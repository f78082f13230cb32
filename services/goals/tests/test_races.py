"""Two at once, again and again, on the real MongoDB: one winner, and money where SPEC says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chassis import ids

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.goals.tests.conftest import Night

    Played = AsyncGenerator[Any, Any]

ROUNDS_OF_THE_STORY = 200  # of the races that the invitation night stands and falls with


async def test_agree_against_time_out(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_id = await one.invitation(ids.new_id())

        (answered,) = yield [one.answer(goal_id, agree=True)]

        goal = await one.goal(goal_id)
        assert (answered.status_code, goal.outcome) in {(204, "agreed"), (409, "timed_out")}
        assert (await one.told_of(goal_id)).count("goal.ended") == 1
        assert ((await one.stage()).holder_id == goal_id) == (goal.outcome == "agreed")
        yield goal.outcome

    assert set(await night.race(one_round, brink=30, at_least=ROUNDS_OF_THE_STORY)) == {"agreed", "timed_out"}


async def test_agree_against_withdrawing(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_id = await one.invitation(viewer := ids.new_id())

        answers = yield [one.answer(goal_id, agree=True), one.viewer(viewer).delete(f"/goals/{goal_id}")]

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        goal = await one.goal(goal_id)
        assert goal.outcome == ("agreed" if answers[0].status_code == 204 else "cancelled")
        assert ((await one.stage()).holder_id == goal_id) == (goal.outcome == "agreed")
        assert (await one.told_of(goal_id)).count("goal.ended") == 1
        yield goal.outcome

    assert set(await night.race(one_round)) == {"agreed", "cancelled"}


async def test_agree_against_a_block(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_id = await one.invitation(viewer := ids.new_id())

        answered, _ = yield [one.answer(goal_id, agree=True), one.solo.hear(one.blocked(viewer))]

        goal = await one.goal(goal_id)
        assert (answered.status_code, goal.outcome) in {(204, "agreed"), (409, "cancelled")}
        assert (await one.told_of(goal_id)).count("goal.ended") == 1
        yield goal.outcome

    assert set(await night.race(one_round)) == {"agreed", "cancelled"}


async def test_giving_up_against_the_show(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        funding_id = await one.ended_funding(tickets=10)

        given_up, performed = yield [one.host().delete(f"/goals/{funding_id}"), one.perform(funding_id)]

        lapsed = (await one.told_of(funding_id)).count("goal.lapsed")
        assert (given_up.status_code, performed.status_code, lapsed) in {(204, 409, 1), (409, 201, 0)}
        yield lapsed

    assert set(await night.race(one_round)) == {0, 1}


async def test_agree_against_the_gift_that_reaches_a_private_goal(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_id, private_id = await one.invitation(ids.new_id()), await one.private_goal(10)

        answered, _ = yield [one.answer(goal_id, agree=True), one.solo.hear(one.gift(private_id, ids.new_id(), 10))]

        told = [
            event.TYPE for event in await one.solo.published() if getattr(event, "goal_id", "") in (goal_id, private_id)
        ]
        assert answered.status_code in (204, 409)
        assert told.count("goal.ended.v1") == (2 if answered.status_code == 204 else 1)
        yield answered.status_code

    assert set(await night.race(one_round)) == {204, 409}


async def test_two_agrees_on_one_invitation(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_id = await one.invitation(ids.new_id())

        answers = yield [one.answer(goal_id, agree=True) for _ in range(2)]

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert (await one.told_of(goal_id)).count("goal.ended") == 1
        assert (await one.stage()).agreements == 1
        yield answers[0].status_code

    assert set(await night.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {204, 409}


async def test_two_agrees_on_two_invitations(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_ids = [await one.invitation(ids.new_id()) for _ in range(2)]

        answers = yield [one.answer(goal_id, agree=True) for goal_id in goal_ids]

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        winner, loser = goal_ids if answers[0].status_code == 204 else reversed(goal_ids)
        stage = await one.stage()
        assert (stage.holder_id, stage.agreements, stage.open_invitations) == (winner, 1, 1)
        assert (await one.goal(loser)).active
        yield answers[0].status_code

    assert set(await night.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {204, 409}


async def test_two_exclusives_on_one_invitation(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        invitation_id = await one.agreement(ids.new_id())

        starts = yield [one.start(invitation_id) for _ in range(2)]

        assert sorted(start.status_code for start in starts) == [201, 409]
        (exclusive_id,) = [start.json()["goal_id"] for start in starts if start.status_code == 201]
        assert (await one.goal(invitation_id)).context.exclusive_goal_id == exclusive_id
        told = [event.TYPE for event in await one.solo.published() if event.key == one.session_id]
        assert told.count("goal.created.v1") == 2  # the invitation and one exclusive
        yield starts[0].status_code

    assert set(await night.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {201, 409}


async def test_an_exclusive_against_its_lapse(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        invitation_id = await one.agreement(ids.new_id())

        (started,) = yield [one.start(invitation_id)]

        invitation = await one.goal(invitation_id)
        lapsed = (await one.told_of(invitation_id)).count("goal.lapsed")
        assert (started.status_code, invitation.lapsed, lapsed) in {(201, False, 0), (409, True, 1)}
        assert ((await one.stage()).holder_id is None) == invitation.lapsed
        yield started.status_code

    assert set(await night.race(one_round, brink=60)) == {201, 409}


async def test_agree_against_the_sessions_end(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_id = await one.invitation(ids.new_id())

        answered, _ = yield [one.answer(goal_id, agree=True), one.solo.hear(one.ended())]

        goal, told = await one.goal(goal_id), await one.told_of(goal_id)
        assert (answered.status_code, goal.outcome, goal.lapsed) in {(204, "agreed", True), (409, "cancelled", False)}
        assert (told.count("goal.ended"), told.count("goal.lapsed")) == (1, int(goal.lapsed))
        assert (await one.stage()).holder_id is None
        yield goal.outcome

    assert set(await night.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {"agreed", "cancelled"}


async def test_invite_against_the_sessions_end(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        asked, _ = yield [one.ask(ids.new_id()), one.solo.hear(one.ended())]

        assert asked.status_code in {202, 409}
        if asked.status_code == 202:
            goal_id = asked.json()["goal_id"]
            assert (await one.goal(goal_id)).state == "rejected"
            assert await one.told_of(goal_id) == ["goal.proposed", "goal.rejected"]
        assert (await one.stage()).open_invitations == 0
        yield asked.status_code

    assert set(await night.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {202, 409}


async def test_two_invitations_of_one_viewer(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        viewer = ids.new_id()

        asked = yield [one.ask(viewer) for _ in range(2)]

        assert sorted(answer.status_code for answer in asked) == [202, 409]
        assert (await one.stage()).open_invitations == 1
        yield asked[0].status_code

    assert set(await night.race(one_round)) == {202, 409}


async def test_extend_against_exp(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        _, exclusive_id = await one.exclusive(ids.new_id())
        exp = (await one.goal(exclusive_id)).exp

        (extended,) = yield [one.extend(exclusive_id)]

        goal, told = await one.goal(exclusive_id), await one.told_of(exclusive_id)
        if extended.status_code == 204:
            assert (goal.state, goal.exp > exp, told) == ("active", True, ["goal.created", "goal.extended"])
        else:
            assert (extended.status_code, goal.outcome, goal.exp) == (409, "completed", exp)
            assert told == ["goal.created", "goal.ended"]
        yield extended.status_code

    assert set(await night.race(one_round, brink=360, at_least=ROUNDS_OF_THE_STORY)) == {204, 409}


async def test_a_payment_against_the_end(night: Night) -> None:
    """Its part of the time has not begun either way: it is given back, once."""

    async def one_round(one: Night) -> Played:
        viewer = ids.new_id()
        _, exclusive_id = await one.exclusive(viewer)
        paid = one.paid(exclusive_id, viewer)

        deleted, _ = yield [one.answer(exclusive_id, agree=None), one.solo.hear(paid)]

        told = await one.told_of(exclusive_id)
        assert deleted.status_code == 204
        assert (told.count("goal.ended"), told.count("goal.extension_rejected")) == (1, 1)
        yield "paid first" if "goal.extended" in told else "ended first"

    assert set(await night.race(one_round)) == {"paid first", "ended first"}


async def test_a_held_price_against_the_proposals_end(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        viewer = ids.new_id()
        goal_id = await one.proposal(viewer)

        yield [one.solo.hear(one.held(goal_id, viewer))]

        goal, told = await one.goal(goal_id), await one.told_of(goal_id)
        answers = [kind for kind in told if kind in {"goal.progressed", "goal.contribution_rejected"}]
        assert (goal.state, answers) in [("active", ["goal.progressed"]), ("rejected", ["goal.contribution_rejected"])]
        assert told.count("goal.rejected") == (goal.state == "rejected")
        yield goal.state

    assert set(await night.race(one_round, brink=30)) == {"active", "rejected"}


# Shows


async def test_buying_for_a_show_that_ends_at_that_moment_counts_or_comes_back(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        funding_id, show_id = await one.show()
        bought = one.ticket(funding_id)

        deleted, _ = yield [one.answer(show_id, agree=None), one.solo.hear(bought)]

        assert deleted.status_code == 204
        of_ticket = {"goal.progressed", "goal.contribution_rejected"}
        answers = [
            event.TYPE.removesuffix(".v1")
            for event in await one.solo.published()
            if getattr(event, "earning_id", None) == bought.earning_id
        ]
        assert len(answers) == 1
        assert answers[0] in of_ticket
        assert (await one.told_of(show_id)).count("goal.ended") == 1
        yield answers[0]

    assert set(await night.race(one_round)) == {"goal.progressed", "goal.contribution_rejected"}


async def test_a_show_against_its_lapse(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        funding_id = await one.ended_funding(tickets=0)

        (started,) = yield [one.perform(funding_id)]

        funding = await one.goal(funding_id)
        lapsed = (await one.told_of(funding_id)).count("goal.lapsed")
        assert (started.status_code, funding.lapsed, lapsed) in {(201, False, 0), (409, True, 1)}
        assert ((await one.stage()).holder_id is None) == funding.lapsed
        yield started.status_code

    assert set(await night.race(one_round, brink=30)) == {201, 409}


async def test_two_shows_of_one_funding(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        funding_id = await one.ended_funding(tickets=10)

        starts = yield [one.perform(funding_id) for _ in range(2)]

        assert sorted(start.status_code for start in starts) == [201, 409]
        told = [event.TYPE for event in await one.solo.published() if event.key == one.session_id]
        assert told.count("goal.created.v1") == 2  # the funding and one show
        yield starts[0].status_code

    assert set(await night.race(one_round)) == {201, 409}


async def test_a_funding_against_an_agreement(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        goal_id = await one.invitation(ids.new_id())

        answered, created = yield [one.answer(goal_id, agree=True), one.offer()]

        assert (answered.status_code, created.status_code) in {(204, 409), (409, 201)}
        holder = goal_id if answered.status_code == 204 else created.json()["goal_id"]
        assert (await one.stage()).holder_id == holder
        yield created.status_code

    assert set(await night.race(one_round)) == {201, 409}


async def test_a_funding_against_the_sessions_end(night: Night) -> None:
    async def one_round(one: Night) -> Played:
        created, _ = yield [one.offer(), one.solo.hear(one.ended())]

        told = [event.TYPE for event in await one.solo.published() if event.key == one.session_id]
        expected = {201: ["goal.created.v1", "goal.ended.v1", "goal.lapsed.v1"], 409: []}
        assert told == expected[created.status_code]
        assert (await one.stage()).holder_id is None
        yield created.status_code

    assert set(await night.race(one_round)) == {201, 409}
