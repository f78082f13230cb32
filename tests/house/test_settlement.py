"""Who has the money in the end: every line of SPEC §5's settlement table, whoever is late and whatever is read first.

Each line is played through all services; again with escrow, goals or sessions away during each of its steps; and its
facts are read by an escrow that hears the answer to the hold last. The money ends at the same place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chassis.clock import ManualClock
from chassis_testing.service import START_TIME, ServiceHarness
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowSettledV1,
    Event,
    GoalContributionRejectedV1,
    GoalProgressedV1,
)
from contracts.escrow import Verdict
from escrow.service import SERVICE as ESCROW

if TYPE_CHECKING:
    import httpx

    from tests.house.conftest import House

TICKET_DIAMONDS, ROSE_DIAMONDS, STEP_DIAMONDS = 134, 10, 20
CREDIT = 1_000

Steps = AsyncIterator[Any]  # what is yielded does not matter
Play = Callable[["House", str], Steps]
HarnessOf = Callable[..., Awaitable[ServiceHarness]]


@dataclass(frozen=True)
class Line:
    """One line of the table: what is played, what it costs the buyer, and why."""

    play: Play
    spent: int
    reason: str
    verdict: Verdict | None = None
    """On the promise, where its one buyer did not get what it says."""
    or_reason: str | None = None
    """What escrow says where it reads another owner's event first that ends the same."""


async def goal_of(asking: Awaitable[httpx.Response]) -> str:
    """The goal that was asked for."""
    response = await asking
    assert response.status_code in (201, 202), response.text
    goal_id: str = response.json()["goal_id"]
    return goal_id


# The plays. At each `yield` everybody has time to hear what was said.


async def sell_one_ticket(house: House, buyer: str, of: int) -> AsyncIterator[str]:
    """A show of so many tickets, one of them sold."""
    funding_id = await goal_of(house.fund(target=of))
    yield funding_id
    assert (await house.give(buyer, funding_id)).status_code == 202
    yield funding_id


async def unfunded_and_nothing_came(house: House, buyer: str) -> Steps:
    async for _ in sell_one_ticket(house, buyer, of=2):
        yield
    await house.system.pass_time(600)
    yield
    await house.system.pass_time(36)


async def unfunded_but_performed(house: House, buyer: str) -> Steps:
    async for funding_id in sell_one_ticket(house, buyer, of=2):
        yield funding_id
    await house.system.pass_time(610)
    yield
    await goal_of(house.perform(funding_id))
    yield
    await house.system.pass_time(61)


async def funded_and_performed(house: House, buyer: str) -> Steps:
    async for funding_id in sell_one_ticket(house, buyer, of=1):
        yield funding_id
    await house.system.pass_time(1_000)
    yield
    await goal_of(house.perform(funding_id))
    yield
    await house.system.pass_time(61)


async def funded_and_never_performed(house: House, buyer: str) -> Steps:
    async for _ in sell_one_ticket(house, buyer, of=1):
        yield
    await house.system.pass_time(1_000)
    yield
    await house.end()


async def unfunded_and_the_session_ended(house: House, buyer: str) -> Steps:
    async for _ in sell_one_ticket(house, buyer, of=2):
        yield
    await house.end()


async def show_broken_off(house: House, buyer: str) -> Steps:
    async for funding_id in sell_one_ticket(house, buyer, of=1):
        yield funding_id
    assert (await house.delete(funding_id)).status_code == 204
    yield
    show_id = await goal_of(house.perform(funding_id))
    yield
    await house.system.pass_time(30)
    assert (await house.delete(show_id)).status_code == 204


async def show_cut_by_the_session(house: House, buyer: str) -> Steps:
    async for funding_id in sell_one_ticket(house, buyer, of=1):
        yield funding_id
    assert (await house.delete(funding_id)).status_code == 204
    yield
    await goal_of(house.perform(funding_id))
    yield
    await house.system.pass_time(30)
    await house.end()


async def agree(house: House, invitation_id: str) -> None:
    assert (await house.delete(invitation_id, agree=True)).status_code == 204


async def agreed_and_nothing_came(house: House, buyer: str) -> Steps:
    invitation_id = await goal_of(house.invite(buyer))
    yield
    await agree(house, invitation_id)
    yield
    await house.system.pass_time(66)


async def agreed_and_the_session_ended(house: House, buyer: str) -> Steps:
    invitation_id = await goal_of(house.invite(buyer))
    yield
    await agree(house, invitation_id)
    yield
    await house.end()


async def refused(house: House, buyer: str) -> Steps:
    invitation_id = await goal_of(house.invite(buyer))
    yield
    assert (await house.delete(invitation_id, agree=False)).status_code == 204


async def timed_out(house: House, buyer: str) -> Steps:
    await goal_of(house.invite(buyer))
    yield
    await house.system.pass_time(31)


async def invitation_cancelled(house: House, buyer: str) -> Steps:
    await goal_of(house.invite(buyer))
    yield
    await house.end()


async def exclusive_kept(house: House, buyer: str) -> Steps:
    invitation_id = await goal_of(house.invite(buyer))
    yield
    await agree(house, invitation_id)
    yield
    house.system.clock.advance(1)
    await goal_of(house.begin_exclusive(invitation_id))
    yield
    await house.system.pass_time(121)


async def exclusive_broken_off(house: House, buyer: str) -> Steps:
    invitation_id = await goal_of(house.invite(buyer))
    yield
    await agree(house, invitation_id)
    yield
    house.system.clock.advance(1)
    exclusive_id = await goal_of(house.begin_exclusive(invitation_id))
    yield
    await house.system.pass_time(30)
    assert (await house.delete(exclusive_id)).status_code == 204


async def give_one_rose(house: House, buyer: str, of: int) -> AsyncIterator[str]:
    """A private goal of so many diamonds, to which one rose is given."""
    goal_id = await goal_of(house.ask_for_gifts(target=of))
    yield goal_id
    assert (await house.give(buyer, goal_id, "livestream-gift_rose")).status_code == 202
    yield goal_id


async def private_timed_out(house: House, buyer: str) -> Steps:
    async for _ in give_one_rose(house, buyer, of=100):
        yield
    await house.system.pass_time(601)


async def private_deleted(house: House, buyer: str) -> Steps:
    async for goal_id in give_one_rose(house, buyer, of=100):
        yield goal_id
    assert (await house.delete(goal_id)).status_code == 204


async def private_kept(house: House, buyer: str) -> Steps:
    async for _ in give_one_rose(house, buyer, of=10):
        yield
    await house.system.pass_time(61)


async def private_not_kept(house: House, buyer: str) -> Steps:
    async for _ in give_one_rose(house, buyer, of=10):
        yield
    await house.system.pass_time(30)
    await house.end()


async def performed_for_somebody_who_was_blocked(house: House, buyer: str) -> Steps:
    async for funding_id in sell_one_ticket(house, buyer, of=1):
        yield funding_id
    await house.system.pass_time(601)  # funded, whoever is blocked after that
    yield
    await house.block(buyer)
    yield
    await goal_of(house.perform(funding_id))
    yield
    await house.system.pass_time(61)


async def invited_and_blocked(house: House, buyer: str) -> Steps:
    await goal_of(house.invite(buyer))
    yield
    await house.block(buyer)
    yield
    await house.unblock(buyer)
    yield
    await house.system.pass_time(31)


async def private_and_blocked(house: House, buyer: str) -> Steps:
    async for _ in give_one_rose(house, buyer, of=10):
        yield
    await house.block(buyer)
    yield
    await house.system.pass_time(61)


LINES = {
    "show: unfunded, goal.lapsed after the hesitation": Line(unfunded_and_nothing_came, 0, "no_show"),
    "show: unfunded, a show came": Line(unfunded_but_performed, TICKET_DIAMONDS, "kept"),
    "show: unfunded, the session ended": Line(unfunded_and_the_session_ended, 0, "session_ended"),
    "show: funded, performed": Line(funded_and_performed, TICKET_DIAMONDS, "kept"),
    "show: funded, the session ended": Line(funded_and_never_performed, 0, "session_ended"),
    "show: broken off": Line(show_broken_off, 0, "cancelled"),
    "show: cut by the end of the session": Line(show_cut_by_the_session, 0, "cancelled"),
    "invitation: agreed, goal.lapsed after the window": Line(agreed_and_nothing_came, 0, "no_exclusive"),
    "invitation: agreed, the session ended": Line(agreed_and_the_session_ended, 0, "session_ended"),
    "invitation: refused": Line(refused, 0, "refused"),
    "invitation: timed out": Line(timed_out, 0, "timed_out"),
    "invitation: the session ended": Line(invitation_cancelled, 0, "cancelled"),
    "exclusive: kept": Line(exclusive_kept, STEP_DIAMONDS, "kept"),
    "exclusive: broken off": Line(exclusive_broken_off, 0, "cancelled"),
    "private goal: timed out": Line(private_timed_out, 0, "timed_out"),
    "private goal: deleted": Line(private_deleted, 0, "cancelled"),
    "private goal: kept": Line(private_kept, ROSE_DIAMONDS, "kept"),
    "private goal: not kept": Line(private_not_kept, 0, "not_kept"),
    "show: performed, its buyer blocked": Line(performed_for_somebody_who_was_blocked, 0, "blocked", "release"),
    "invitation: its viewer blocked, and unblocked": Line(invited_and_blocked, 0, "blocked", or_reason="cancelled"),
    "private goal: kept, its buyer blocked": Line(private_and_blocked, 0, "blocked", "release"),
}
every_line = pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())


def require_settled(line: Line, told: list[Event]) -> None:
    """Escrow has told the line's end, and told it once."""
    ends = [event for event in told if isinstance(event, EscrowCompletedV1 | EscrowFailedV1)]
    assert [event.reason for event in ends] in ([line.reason], [line.or_reason])
    [over] = [event for event in told if isinstance(event, EscrowSettledV1)]
    verdict = line.verdict or ("release" if line.spent else "refund")
    expected = (verdict, 1, 0) if line.spent else (verdict, 0, 1)
    assert (over.verdict, over.released, over.refunded) == expected


@every_line
async def test_the_money_ends_where_the_table_says(house: House, harness_of: HarnessOf, line: Line) -> None:
    buyer = await house.viewer(CREDIT)
    async for _ in line.play(house, buyer):
        await house.system.run_until_idle()
    await house.system.run_until_idle()
    assert (await house.spent(buyer, CREDIT), await house.earned()) == (line.spent, line.spent)
    require_settled(line, [message.event for message in house.system.published])

    late = await harness_of(ESCROW, clock=ManualClock(START_TIME))
    await hear_the_answer_last(late, house, buyer, line)


async def hear_the_answer_last(late: ServiceHarness, house: House, buyer: str, line: Line) -> None:
    """An escrow that reads the same facts, each at its time, but the answer to the hold after the verdict."""
    path, body = f"/wallets/{buyer}/credit", {"amount_diamonds": CREDIT}
    await late.client(house.streamer, "OPS").post(path, json=body)
    heard = [message for message in house.system.published if late.listens_to(type(message.event))]
    answers = [one.event for one in heard if isinstance(one.event, GoalProgressedV1 | GoalContributionRejectedV1)]
    for message in heard:
        late.clock.advance_to(message.attributes.time)
        await late.run_timers()
        if message.event not in answers:
            await late.handle(message.event, at=message.attributes.time)
    late.clock.advance_to(house.now)
    await late.run_timers()
    settled = [event for event in await late.published() if isinstance(event, EscrowCompletedV1 | EscrowFailedV1)]
    assert len(settled) == (line.reason == "blocked")  # whatever the answer
    await late.handle(*answers)
    require_settled(line, await late.published())
    wallet = (await late.client(buyer).get("/wallets/me")).json()
    assert CREDIT - wallet["balance_diamonds"] == line.spent


@pytest.mark.parametrize("away", ["escrow", "goals", "sessions"])
@every_line
async def test_the_money_ends_there_whoever_is_away_for_a_while_at_each_step(
    house: House, line: Line, away: str
) -> None:
    buyer = await house.viewer(CREDIT)
    house.system.stop(away)
    async for _ in line.play(house, buyer):
        await house.system.run_until_idle()
        house.system.resume(away)
        await house.system.run_until_idle()
        house.system.stop(away)
    house.system.resume(away)
    await house.system.run_until_idle()
    assert (await house.spent(buyer, CREDIT), await house.earned()) == (line.spent, line.spent)
    require_settled(line, [message.event for message in house.system.published])


@pytest.mark.parametrize("first", ["goals", "sessions"])
@pytest.mark.parametrize(
    ("play", "spent"),
    [(unfunded_but_performed, TICKET_DIAMONDS), (exclusive_kept, STEP_DIAMONDS)],
    ids=["show", "exclusive"],
)
async def test_a_slow_escrow_never_refunds_what_was_begun_in_time(
    house: House, play: Play, spent: int, first: str
) -> None:
    buyer = await house.viewer(CREDIT)
    async for _ in play(house, buyer):
        await house.system.run_until_idle()
        if house.system.events(GoalProgressedV1):
            house.system.stop("escrow")  # from the moment the money counts, past every deadline
    await house.system.pass_time(7_200)
    house.system.resume("escrow")
    await house.system.collect()
    while waiting := sorted(house.system.waiting("escrow"), key=lambda part: not part.ordering_key.startswith(first)):
        await house.system.deliver(waiting[0].only(1))
        await house.system.run_timers("escrow")  # whose timers are long due, at the worst of moments
    await house.system.run_until_idle()
    assert not house.system.events(EscrowFailedV1)
    assert (await house.spent(buyer, CREDIT), await house.earned()) == (spent, spent)
