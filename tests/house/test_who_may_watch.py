"""Who may watch what, as a table: every kind of user in every state of a session (SPEC §4).

The table is `who_may_watch.txt`, to be read: a paragraph for each state, a line for each user. Some scenarios go
through the real services; in each state everybody asks where they may listen, and for a token. A reader of the table is
a column: `COLUMNS` says how it is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.clock import from_unix, unix
from chassis_testing.service import ServiceHarness
from contracts import PassActivatedV1
from notifier.service import SERVICE as NOTIFIER

if TYPE_CHECKING:
    from datetime import datetime

    from tests.house.conftest import House

    HouseAt = Callable[[datetime], Awaitable[House]]

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

FILE = Path(__file__).with_name("who_may_watch.txt")
ROWS_MIN = 200
HOURS = 60  # steps of a minute each
ROSE = "livestream-gift_rose"
USER_WIDTH, COLUMN_WIDTH = 52, 9


async def token(scenario: Scenario, user_id: str) -> list[str]:
    """What the token is for, and by which rule; or no token, and why."""
    house = scenario.house
    path = f"/sessions/{house.session_id}/token?explain=true"
    answer = await house.ask(house.sessions, user_id, "GET", path)
    body = answer.json()
    if answer.status_code != 200:
        return [str(answer.status_code), body["type"].removeprefix("/problems/")]
    return [body["preset"], body["explanation"]["granted_by"] or "everybody"]


async def channels(scenario: Scenario, user_id: str) -> list[str]:
    """Which of the streamer's channels a user may listen to: all, the free ones, or none."""
    streamer, viewer = scenario.house.streamer, f"presence-stream-viewer@{scenario.house.streamer}"
    free = {f"private-stream@{streamer}", f"presence-stream@{streamer}", f"{viewer}.preview.{user_id}"}
    paid = {f"{viewer}.sd.{user_id}", f"presence-enc-stream-viewer@{streamer}.sd.{user_id}"}
    form = {"socket_id": "1.2", "channel_name[]": [*free, *paid]}
    answer = await scenario.notifier.client(user_id).post("/pusher/batch-authenticate", data=form)
    allowed = {name for name, one in answer.json().items() if one["status"] == 200}
    return [{frozenset(free | paid): "all", frozenset(free): "free", frozenset(): "none"}[frozenset(allowed)]]


COLUMNS: tuple[Callable[[Scenario, str], Awaitable[list[str]]], ...] = (channels, token)


@dataclass
class Scenario:
    """A session, its people by what they have, and what was seen of it."""

    house: House
    notifier: ServiceHarness
    people: dict[str, str] = field(default_factory=dict)
    paragraphs: list[str] = field(default_factory=list)

    async def comes(self, who: str, diamonds: int = 100_000) -> str:
        self.people[who] = await self.house.viewer(diamonds)
        return self.people[who]

    async def done(self, asking: Awaitable[Any]) -> str:
        """One command, and all that follows at once."""
        answer = await asking
        assert answer is None or answer.status_code < 400, answer.text
        await self.house.system.run_until_idle()
        made = answer.json() if answer is not None and answer.content else {}
        return str(next((made[name] for name in ("goal_id", "gift_id", "payment_id") if name in made), ""))

    async def looks(self, state: str) -> None:
        """Everybody asks."""
        lines = [f"## {state}"]
        for who, user_id in self.people.items():
            cells = [cell for column in COLUMNS for cell in await column(self, user_id)]
            lines.append(f"{who:{USER_WIDTH}}{''.join(f'{cell:{COLUMN_WIDTH}}' for cell in cells)}".rstrip())
        self.paragraphs.append("\n".join(lines))

    # Who comes

    async def gather(self) -> None:
        """All kinds of people, with all that one can have before the state that is looked at."""
        self.people = {"the streamer": self.house.streamer, "has nothing": ids.new_id()}
        await self.buy_minutes()
        await self.buy_passes()
        await self.give_privately()
        await self.see_a_show()
        await self.are_blocked()

    async def buy_minutes(self) -> None:
        house = self.house
        await self.done(house.pay(await self.comes("has paid, and time left"), HOURS))
        await self.done(house.pay(await self.comes("has paid, and used it up")))
        await self.done(house.pay(await self.comes("could not pay", diamonds=0)))
        await house.system.pass_time(61)

    async def buy_passes(self) -> None:
        everywhere, here = "livestream_pass", f"livestream_pass_{self.house.streamer}"
        elsewhere = f"livestream_pass_{ids.new_id()}"
        day = 86_400
        await self.has_pass("has a pass for every streamer", everywhere, -60, day)
        await self.has_pass("has a pass for this streamer", here, -60, day)
        await self.has_pass("has a pass for another streamer", elsewhere, -60, day)
        await self.has_pass("has a pass that is not valid yet", everywhere, day, 2 * day)
        await self.has_pass("has a pass that is not valid any more", everywhere, -60, -1)

    async def has_pass(self, who: str, kind: str, begins: float, ends: float) -> None:
        house = self.house
        nbf, exp = (from_unix(unix(house.now) + seconds) for seconds in (begins, ends))
        activated = PassActivatedV1(user_id=await self.comes(who, 0), pass_kind=kind, nbf=nbf, exp=exp)
        await house.sessions.handle(activated)
        await self.notifier.handle(activated)

    async def give_privately(self) -> None:
        house = self.house
        giver, late = await self.comes("gave to a private goal that was reached"), await self.comes("gave in vain")
        reached = await self.done(house.ask_for_gifts(target=1))
        await self.done(house.give(giver, reached, ROSE))
        await house.system.pass_time(61)
        never = await self.done(house.ask_for_gifts(target=10**6, seconds=60))
        await self.done(house.give(late, never, ROSE))
        await house.system.pass_time(61)

    async def see_a_show(self) -> None:
        house = self.house
        fan = await self.comes("has a ticket of an earlier show")
        await self.perform(await self.sell([fan]))
        await house.system.pass_time(61)

    async def are_blocked(self) -> None:
        house = self.house
        await self.done(house.block(await self.comes("is blocked", 0)))
        rich = await self.comes("is blocked, and has paid")
        await self.done(house.pay(rich, HOURS))
        await self.done(house.block(rich))
        pass_kind = f"livestream_pass_{house.streamer}"
        await self.has_pass("is blocked, and has a pass", pass_kind, -60, 86_400)
        await self.done(house.block(self.people["is blocked, and has a pass"]))
        back = await self.comes("was blocked, and is not any more")
        await self.done(house.pay(back, HOURS))
        await self.done(house.block(back))
        await self.done(house.unblock(back))

    # What they do

    async def sell(self, buyers: list[str]) -> str:
        funding = await self.done(self.house.fund(target=1))
        for buyer in buyers:
            await self.done(self.house.give(buyer, funding))
        return funding

    async def perform(self, funding: str, **more: Any) -> str:
        await self.done(self.house.delete(funding))
        return await self.done(self.house.perform(funding, **more))


async def shows(scenario: Scenario) -> None:
    house, system = scenario.house, scenario.house.system
    await scenario.looks("On air, and nothing is on")
    fan, refunded = await scenario.comes("has a ticket"), await scenario.comes("has a ticket that was paid back")
    both = await scenario.comes("has a ticket, and has paid")
    await scenario.done(house.pay(both, HOURS))
    funding = await scenario.sell([fan, refunded, both])
    await scenario.done(house.block(refunded))
    await scenario.done(house.unblock(refunded))
    await scenario.looks("Tickets are sold")
    await scenario.done(house.delete(funding))
    await scenario.looks("The show is funded, and has not been announced")
    show = await scenario.done(house.perform(funding, nbf=unix(house.now) + 120))
    await scenario.looks("The show is announced, and begins in two minutes")
    await system.pass_time(120)
    await scenario.looks("The show is on")
    await scenario.done(house.delete(show))
    await scenario.looks("The show was broken off")
    await scenario.perform(await scenario.sell([fan]))
    await scenario.looks("Another show is on, for which one of them has a ticket")
    await system.pass_time(61)
    await scenario.looks("The show is over")


async def alone(scenario: Scenario) -> None:
    house, system = scenario.house, scenario.house.system
    viewer = await scenario.comes("has invited the streamer to a 1-on-1")
    other = await scenario.comes("has invited the streamer too")
    invitation = await scenario.done(house.invite(viewer, 2))
    await scenario.done(house.invite(other))
    await scenario.looks("Two invitations are open")
    await scenario.done(house.delete(invitation, agree=True))
    await scenario.looks("The streamer has agreed to one of them")
    await system.pass_time(5)
    exclusive = await scenario.done(house.begin_exclusive(invitation))
    await scenario.looks("The 1-on-1 is on")
    await scenario.done(house.block(viewer))
    await scenario.looks("The 1-on-1 is on, and its viewer is blocked")
    await scenario.done(house.unblock(viewer))
    await scenario.done(house.delete(exclusive))
    await scenario.looks("The 1-on-1 was broken off")


async def lapses_and_ends(scenario: Scenario) -> None:
    house, system = scenario.house, scenario.house.system
    viewer = await scenario.comes("has invited the streamer to a 1-on-1")
    fan = await scenario.comes("has a ticket")
    invitation = await scenario.done(house.invite(viewer))
    await scenario.done(house.delete(invitation, agree=True))
    await system.pass_time(70)
    await scenario.looks("The streamer agreed to a 1-on-1, and did not come")
    await system.pass_time(120)
    await scenario.perform(await scenario.sell([fan]))
    await scenario.looks("A show is on, after all")
    await scenario.done(house.end())
    await scenario.looks("The session has ended")


async def lasts_too_long(scenario: Scenario) -> None:
    await scenario.looks("On air again")
    scenario.house.system.clock.advance(43_200)  # and no timer has run
    await scenario.looks("The session has reached its maximum, and nobody has said so yet")


def paragraphs() -> dict[str, str]:
    """The table, by state."""
    _, *parts = FILE.read_text(encoding="utf-8").strip().split("\n\n## ")
    return {part.partition("\n")[0]: f"## {part}" for part in parts}


EVENINGS: dict[Callable[[Scenario], Awaitable[None]], tuple[str, ...]] = {
    shows: (
        "On air, and nothing is on",
        "Tickets are sold",
        "The show is funded, and has not been announced",
        "The show is announced, and begins in two minutes",
        "The show is on",
        "The show was broken off",
        "Another show is on, for which one of them has a ticket",
        "The show is over",
    ),
    alone: (
        "Two invitations are open",
        "The streamer has agreed to one of them",
        "The 1-on-1 is on",
        "The 1-on-1 is on, and its viewer is blocked",
        "The 1-on-1 was broken off",
    ),
    lapses_and_ends: (
        "The streamer agreed to a 1-on-1, and did not come",
        "A show is on, after all",
        "The session has ended",
    ),
    lasts_too_long: ("On air again", "The session has reached its maximum, and nobody has said so yet"),
}


@pytest.mark.parametrize("play", EVENINGS, ids=lambda play: play.__name__)
async def test_who_may_watch_stands_in_the_table(
    house: House, harness_of: HarnessOf, play: Callable[[Scenario], Awaitable[None]]
) -> None:
    notifier = await harness_of(NOTIFIER, clock=house.system.clock)
    house.system.add(notifier)
    await house.system.run_until_idle()
    scenario = Scenario(house, notifier)
    await scenario.gather()
    await play(scenario)

    told = paragraphs()
    assert "\n\n".join(scenario.paragraphs) == "\n\n".join(told.get(state, "") for state in EVENINGS[play])


def test_the_table_is_whole() -> None:
    told = paragraphs()

    assert list(told) == [state for states in EVENINGS.values() for state in states]
    assert sum(len(one.splitlines()) - 1 for one in told.values()) > ROWS_MIN
