"""Two at once, again and again, on the real MongoDB: one winner, and money where SPEC says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chassis import ids

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from services.goals.tests.conftest import LiveSession

    Played = AsyncGenerator[Any, Any]

ROUNDS_OF_THE_STORY = 200  # of the races that the invitation stands and falls with


async def test_agree_against_time_out(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_id = await one.invitation(ids.new_id())

        (answered,) = yield [one.answer(goal_id, agree=True)]

        goal = await one.goal(goal_id)
        assert (answered.status_code, goal.outcome) in {(204, "agreed"), (409, "timed_out")}
        assert (await one.published_about(goal_id)).count("goal.ended") == 1
        assert ((await one.stage()).holder_id == goal_id) == (goal.outcome == "agreed")
        yield goal.outcome

    assert set(await live.race(one_round, brink=30, at_least=ROUNDS_OF_THE_STORY)) == {"agreed", "timed_out"}


async def test_agree_against_withdrawing(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_id = await one.invitation(viewer := ids.new_id())

        answers = yield [one.answer(goal_id, agree=True), one.viewer(viewer).delete(f"/goals/{goal_id}")]

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        goal = await one.goal(goal_id)
        assert goal.outcome == ("agreed" if answers[0].status_code == 204 else "cancelled")
        assert ((await one.stage()).holder_id == goal_id) == (goal.outcome == "agreed")
        assert (await one.published_about(goal_id)).count("goal.ended") == 1
        yield goal.outcome

    assert set(await live.race(one_round)) == {"agreed", "cancelled"}


async def test_agree_against_a_block(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_id = await one.invitation(viewer := ids.new_id())

        answered, _ = yield [one.answer(goal_id, agree=True), one.harness.handle(one.blocked(viewer))]

        goal = await one.goal(goal_id)
        assert (answered.status_code, goal.outcome) in {(204, "agreed"), (409, "cancelled")}
        assert (await one.published_about(goal_id)).count("goal.ended") == 1
        yield goal.outcome

    assert set(await live.race(one_round)) == {"agreed", "cancelled"}


async def test_giving_up_against_the_show(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        funding_id = await one.ended_funding(tickets=10)

        given_up, performed = yield [one.host().delete(f"/goals/{funding_id}"), one.perform(funding_id)]

        lapsed = (await one.published_about(funding_id)).count("goal.lapsed")
        assert (given_up.status_code, performed.status_code, lapsed) in {(204, 409, 1), (409, 201, 0)}
        yield lapsed

    assert set(await live.race(one_round)) == {0, 1}


async def test_agree_against_the_gift_that_reaches_a_private_goal(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_id, private_id = await one.invitation(ids.new_id()), await one.private_goal(10)

        answered, _ = yield [
            one.answer(goal_id, agree=True),
            one.harness.handle(one.gift(private_id, ids.new_id(), 10)),
        ]

        published = [
            event.TYPE
            for event in await one.harness.published()
            if getattr(event, "goal_id", "") in (goal_id, private_id)
        ]
        assert answered.status_code in (204, 409)
        assert published.count("goal.ended.v1") == (2 if answered.status_code == 204 else 1)
        yield answered.status_code

    assert set(await live.race(one_round)) == {204, 409}


async def test_two_agrees_on_one_invitation(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_id = await one.invitation(ids.new_id())

        answers = yield [one.answer(goal_id, agree=True) for _ in range(2)]

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert (await one.published_about(goal_id)).count("goal.ended") == 1
        assert (await one.stage()).agreements == 1
        yield answers[0].status_code

    assert set(await live.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {204, 409}


async def test_two_agrees_on_two_invitations(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_ids = [await one.invitation(ids.new_id()) for _ in range(2)]

        answers = yield [one.answer(goal_id, agree=True) for goal_id in goal_ids]

        assert sorted(answer.status_code for answer in answers) == [204, 409]
        winner, loser = goal_ids if answers[0].status_code == 204 else reversed(goal_ids)
        stage = await one.stage()
        assert (stage.holder_id, stage.agreements, stage.open_invitations) == (winner, 1, 1)
        assert (await one.goal(loser)).active
        yield answers[0].status_code

    assert set(await live.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {204, 409}


async def test_two_exclusives_on_one_invitation(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        invitation_id = await one.agreement(ids.new_id())

        starts = yield [one.start(invitation_id) for _ in range(2)]

        assert sorted(start.status_code for start in starts) == [201, 409]
        (exclusive_id,) = [start.json()["goal_id"] for start in starts if start.status_code == 201]
        assert (await one.goal(invitation_id)).context.exclusive_goal_id == exclusive_id
        published = [event.TYPE for event in await one.harness.published() if event.key == one.session_id]
        assert published.count("goal.created.v1") == 2  # the invitation and one exclusive
        yield starts[0].status_code

    assert set(await live.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {201, 409}


async def test_an_exclusive_against_its_lapse(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        invitation_id = await one.agreement(ids.new_id())

        (started,) = yield [one.start(invitation_id)]

        invitation = await one.goal(invitation_id)
        lapsed = (await one.published_about(invitation_id)).count("goal.lapsed")
        assert (started.status_code, invitation.lapsed, lapsed) in {(201, False, 0), (409, True, 1)}
        assert ((await one.stage()).holder_id is None) == invitation.lapsed
        yield started.status_code

    assert set(await live.race(one_round, brink=60)) == {201, 409}


async def test_agree_against_the_sessions_end(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_id = await one.invitation(ids.new_id())

        answered, _ = yield [one.answer(goal_id, agree=True), one.harness.handle(one.ended())]

        goal, published = await one.goal(goal_id), await one.published_about(goal_id)
        assert (answered.status_code, goal.outcome, goal.lapsed) in {(204, "agreed", True), (409, "cancelled", False)}
        assert (published.count("goal.ended"), published.count("goal.lapsed")) == (1, int(goal.lapsed))
        assert (await one.stage()).holder_id is None
        yield goal.outcome

    assert set(await live.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {"agreed", "cancelled"}


async def test_invite_against_the_sessions_end(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        asked, _ = yield [one.ask(ids.new_id()), one.harness.handle(one.ended())]

        assert asked.status_code in {202, 409}
        if asked.status_code == 202:
            goal_id = asked.json()["goal_id"]
            assert (await one.goal(goal_id)).state == "rejected"
            assert await one.published_about(goal_id) == ["goal.proposed", "goal.rejected"]
        assert (await one.stage()).open_invitations == 0
        yield asked.status_code

    assert set(await live.race(one_round, at_least=ROUNDS_OF_THE_STORY)) == {202, 409}


async def test_two_invitations_of_one_viewer(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        viewer = ids.new_id()

        asked = yield [one.ask(viewer) for _ in range(2)]

        assert sorted(answer.status_code for answer in asked) == [202, 409]
        assert (await one.stage()).open_invitations == 1
        yield asked[0].status_code

    assert set(await live.race(one_round)) == {202, 409}


async def test_extend_against_exp(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        _, exclusive_id = await one.exclusive(ids.new_id())
        exp = (await one.goal(exclusive_id)).exp

        (extended,) = yield [one.extend(exclusive_id)]

        goal, published = await one.goal(exclusive_id), await one.published_about(exclusive_id)
        if extended.status_code == 204:
            assert (goal.state, goal.exp > exp, published) == ("active", True, ["goal.created", "goal.extended"])
        else:
            assert (extended.status_code, goal.outcome, goal.exp) == (409, "completed", exp)
            assert published == ["goal.created", "goal.ended"]
        yield extended.status_code

    assert set(await live.race(one_round, brink=360, at_least=ROUNDS_OF_THE_STORY)) == {204, 409}


async def test_a_payment_against_the_end(live: LiveSession) -> None:
    """Its part of the time has not begun either way: it is given back, once."""

    async def one_round(one: LiveSession) -> Played:
        viewer = ids.new_id()
        _, exclusive_id = await one.exclusive(viewer)
        paid = one.paid(exclusive_id, viewer)

        deleted, _ = yield [one.answer(exclusive_id, agree=None), one.harness.handle(paid)]

        published = await one.published_about(exclusive_id)
        assert deleted.status_code == 204
        assert (published.count("goal.ended"), published.count("goal.extension_rejected")) == (1, 1)
        yield "paid first" if "goal.extended" in published else "ended first"

    assert set(await live.race(one_round)) == {"paid first", "ended first"}


async def test_a_held_price_against_the_proposals_end(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        viewer = ids.new_id()
        goal_id = await one.proposal(viewer)

        yield [one.harness.handle(one.held(goal_id, viewer))]

        goal, published = await one.goal(goal_id), await one.published_about(goal_id)
        answers = [kind for kind in published if kind in {"goal.progressed", "goal.contribution_rejected"}]
        assert (goal.state, answers) in [("active", ["goal.progressed"]), ("rejected", ["goal.contribution_rejected"])]
        assert published.count("goal.rejected") == (goal.state == "rejected")
        yield goal.state

    assert set(await live.race(one_round, brink=30)) == {"active", "rejected"}


# Shows


async def test_buying_for_a_show_that_ends_at_that_moment_counts_or_comes_back(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        funding_id, show_id = await one.show()
        bought = one.ticket(funding_id)

        deleted, _ = yield [one.answer(show_id, agree=None), one.harness.handle(bought)]

        assert deleted.status_code == 204
        of_ticket = {"goal.progressed", "goal.contribution_rejected"}
        answers = [
            event.TYPE.removesuffix(".v1")
            for event in await one.harness.published()
            if getattr(event, "earning_id", None) == bought.earning_id
        ]
        assert len(answers) == 1
        assert answers[0] in of_ticket
        assert (await one.published_about(show_id)).count("goal.ended") == 1
        yield answers[0]

    assert set(await live.race(one_round)) == {"goal.progressed", "goal.contribution_rejected"}


async def test_a_show_against_its_lapse(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        funding_id = await one.ended_funding(tickets=0)

        (started,) = yield [one.perform(funding_id)]

        funding = await one.goal(funding_id)
        lapsed = (await one.published_about(funding_id)).count("goal.lapsed")
        assert (started.status_code, funding.lapsed, lapsed) in {(201, False, 0), (409, True, 1)}
        assert ((await one.stage()).holder_id is None) == funding.lapsed
        yield started.status_code

    assert set(await live.race(one_round, brink=30)) == {201, 409}


async def test_two_shows_of_one_funding(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        funding_id = await one.ended_funding(tickets=10)

        starts = yield [one.perform(funding_id) for _ in range(2)]

        assert sorted(start.status_code for start in starts) == [201, 409]
        published = [event.TYPE for event in await one.harness.published() if event.key == one.session_id]
        assert published.count("goal.created.v1") == 2  # the funding and one show
        yield starts[0].status_code

    assert set(await live.race(one_round)) == {201, 409}


async def test_a_funding_against_an_agreement(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        goal_id = await one.invitation(ids.new_id())

        answered, created = yield [one.answer(goal_id, agree=True), one.offer()]

        assert (answered.status_code, created.status_code) in {(204, 409), (409, 201)}
        holder = goal_id if answered.status_code == 204 else created.json()["goal_id"]
        assert (await one.stage()).holder_id == holder
        yield created.status_code

    assert set(await live.race(one_round)) == {201, 409}


async def test_a_funding_against_the_sessions_end(live: LiveSession) -> None:
    async def one_round(one: LiveSession) -> Played:
        created, _ = yield [one.offer(), one.harness.handle(one.ended())]

        published = [event.TYPE for event in await one.harness.published() if event.key == one.session_id]
        expected = {201: ["goal.created.v1", "goal.ended.v1", "goal.lapsed.v1"], 409: []}
        assert published == expected[created.status_code]
        assert (await one.stage()).holder_id is None
        yield created.status_code

    assert set(await live.race(one_round)) == {201, 409}
