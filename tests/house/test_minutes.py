"""Whatever people do, whoever hears it when, and whatever breaks: what was paid by the minute was watched, or is back.

For each viewer *paid = watched steps + paid back*, within one step that had begun each time that somebody's time was
cut (SPEC §4). Both sides are seen from outside: what is paid in the wallets, what can be watched at the token endpoint,
asked whenever time passes. What it says while something is still to be heard may be more or less than what is due: a
viewer who was late to be told has watched for nothing, so such seconds count for one side alone.

    MINUTES_EXAMPLES=500 python -m pytest tests/house/test_minutes.py -s   # a long run, with new scenarios each time
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from chassis.clock import from_unix
from chassis_testing.chance import hear, trouble
from contracts import EscrowCompletedV1, EscrowFailedV1, EscrowHeldV1, SessionViewerAuthorizedV1
from escrow.handlers.recount import recount_all

if TYPE_CHECKING:
    from tests.house.conftest import House

T = TypeVar("T")

EXAMPLES = int(os.environ.get("MINUTES_EXAMPLES", "0"))  # 0: always the same few scenarios
FEW = 10
STEPS = 40
VIEWERS = 3
CREDIT = 2_000
EXCLUSIVE_DIAMONDS = 20  # a step of a 1-on-1
STEP = timedelta(seconds=60)
TENTH_OF_A_STEP = STEP / 10  # what may be missing of a 1-on-1 that was kept
SERVICES = ("goals", "sessions", "escrow", "shop")
PAUSES = (0, 0.1, 7, 23, 41, 61, 90, 133)  # few in step with the minutes
HANDLED = ("nothing", "one", "some", "all", "all", "all")
TROUBLES = (*("no trouble",) * 5, "crash", "repeat", "replay", "stop", *("go on",) * 3)
COMMANDS = (
    *("pay",) * 8, *("invite", "agree", "begin", "alone", "exclusive end") * 2, "broken off", "extend", "block",
    "block", "unblock", "unblock", "session end",
)  # fmt: skip

HAPPENS = (  # what each run must have come through, whatever chance brings
    *("crash", "repeat", "replay", "stop", "pay 202", "agree 204", "begin 201", "extend 204", "exclusive end 204"),
    *(f"back {reason}" for reason in ("blocked", "session_ended", "exclusive_to_another", "extension_rejected")),
    *("proven", "watched"),
)


@dataclass
class Viewer:
    """Somebody, what they paid for, and what they could watch."""

    id: str
    payments: dict[str, int] = field(default_factory=dict)
    """What a step of each payment cost."""
    watched_seconds: float = 0
    """While all was heard."""
    doubtful_seconds: float = 0
    """While something was still to be heard."""
    until: datetime | None = None
    """When the time ends that they have, as the token endpoint said when it last spoke of it."""
    cuts: int = 0
    """How often a step that had begun can have been lost."""

    def left(self, now: datetime) -> timedelta:
        """What they have left, if they can watch it."""
        return max(self.until - now, timedelta()) if self.until else timedelta()

    def is_cut(self, now: datetime) -> None:
        """From now on they can watch no more."""
        self.cuts += bool(self.left(now))


@dataclass
class Scenario:
    """What the machine does, and what must be true."""

    house: House
    viewers: list[Viewer] = field(default_factory=list)
    inviters: dict[str, str] = field(default_factory=dict)
    """Who made which invitation, oldest first."""
    exclusives: list[str] = field(default_factory=list)
    heard: bool = False
    """Whether everybody has heard everything."""
    counted: Counter[str] = field(default_factory=Counter)

    async def begin(self) -> None:
        await self.house.clear()
        await self.house.open()
        self.viewers = [Viewer(await self.house.viewer(CREDIT)) for _ in range(VIEWERS)]
        await self.hear_all()

    async def act(self, what: str, viewer: Viewer, count: int) -> None:
        """One command of somebody's; one that nothing is there for is left out."""
        await self.watch(0.001)  # nobody is as quick as a clock that stands
        self.heard = False
        invitation, exclusive = next(reversed(self.inviters), ""), ["", *self.exclusives][-1]
        match what:
            case "pay" | "invite" | "block" | "unblock":
                await self._ask(what, viewer, count)
            case "alone":  # what is heard between these is the least that lets them be
                await self.act("invite", viewer, 1)
                await self.house.system.run_until_idle()
                await self.act("agree", viewer, 1)
                await self.act("begin", viewer, 1)
                await self.house.system.run_until_idle()
                await self.act("pay", viewer, count)
            case "broken off":  # in the first of four steps that were paid for more of a 1-on-1
                await self.act("alone", viewer, 4)
                await self.hear_all()
                await self.watch(2 * STEP.total_seconds() + 13)
                await self.act("exclusive end", viewer, 1)
            case "agree" | "begin" if invitation:
                await self._answer(what, invitation)
            case "extend" if exclusive:
                self.note(what, await self.house.extend(exclusive))
            case "exclusive end" if exclusive:
                self.note(what, await self.house.delete(exclusive), cuts=self.viewers)
            case "session end":
                self.note(what, await self.house.end(), cuts=self.viewers)
                self.house.system.resume(*SERVICES)
                await self.house.open()
            case _:
                return

    async def _ask(self, what: str, viewer: Viewer, count: int) -> None:
        match what:
            case "pay":
                if paid := self.note(what, await self.house.pay(viewer.id, count)):
                    viewer.payments[paid["payment_id"]] = paid["amount_diamonds"] // count
            case "invite":
                if made := self.note(what, await self.house.invite(viewer.id, count)):
                    self.inviters[made["goal_id"]] = viewer.id
            case "block":
                if count > 2:  # at the moment in which they have paid
                    await self._ask("pay", viewer, count)
                    if waiting := self.house.system.waiting("escrow"):
                        await self.house.system.deliver(*waiting)
                await self.house.block(viewer.id)
                viewer.is_cut(self.house.now)
            case _:
                await self.house.unblock(viewer.id)

    async def _answer(self, what: str, invitation: str) -> None:
        if what == "agree":
            others = [one for one in self.viewers if one.id != self.inviters[invitation]]
            self.note(what, await self.house.delete(invitation, agree=True), cuts=others)
        elif begun := self.note(what, await self.house.begin_exclusive(invitation)):
            self.exclusives.append(begun["goal_id"])

    def note(self, what: str, response: httpx.Response, cuts: Sequence[Viewer] = ()) -> dict[str, Any]:
        """Count how a command was answered; what it made, if it was accepted, which `cuts` the time of these."""
        self.counted[f"{what} {response.status_code}"] += 1
        if response.status_code >= 400:
            return {}
        for viewer in cuts:
            viewer.is_cut(self.house.now)
        made: dict[str, Any] = response.json() if response.content else {}
        return made

    async def hear_all(self) -> None:
        """Everybody is back, and hears everything."""
        self.house.system.resume(*SERVICES)
        await self.house.system.run_until_idle()
        self.heard = True

    async def look(self, viewer: Viewer) -> timedelta:
        """Until when the viewer may watch by time, if they may now."""
        house = self.house
        answer = await house.ask(house.sessions, viewer.id, "GET", f"/sessions/{house.session_id}/token?explain=true")
        if answer.status_code != 200:
            return timedelta()
        paid = next(one for one in answer.json()["explanation"]["rules"] if one["rule"] == "paid")
        viewer.until = from_unix(paid["exp"]) if paid["exp"] else None
        left = viewer.left(house.now)
        assert paid["grants"] == bool(left) == (answer.json()["preset"] == "sd")
        return left

    async def watch(self, seconds: float) -> None:
        """Time passes, and who may watches; nobody else notices."""
        for viewer in self.viewers:
            watched = min(timedelta(seconds=seconds), await self.look(viewer)).total_seconds()
            viewer.doubtful_seconds += 0 if self.heard else watched
            viewer.watched_seconds += watched if self.heard else 0
            self.counted["watched"] += watched > 0
        self.house.system.clock.advance(seconds)

    async def close(self) -> None:
        await self.hear_all()
        await self.act("session end", self.viewers[0], 1)
        await self.house.system.pass_time(600)  # invitations lapse, and what was held for them goes back
        await self.hear_all()

    async def require_books(self) -> None:
        """The ledger holds, and follows from its transfers."""
        await self.house.accounts()
        assert [difference async for difference in recount_all(self.house.escrow.runtime)] == []

    async def require_truth(self) -> None:
        """What each viewer paid for and did not get back was watched, or can still be."""
        accounts = await self.house.accounts()
        for viewer in self.viewers:
            kept = [await self.kept(viewer, payment_id) for payment_id in viewer.payments]
            steps = sum(diamonds // viewer.payments[payment_id] for payment_id, diamonds in kept)
            held, performed, given = self.of_invitations(viewer)
            assert accounts[f"wallet:{viewer.id}"] == CREDIT - sum(diamonds for _, diamonds in kept) - held
            left = await self.look(viewer)
            least = timedelta(seconds=viewer.watched_seconds) + left
            most = least + timedelta(seconds=viewer.doubtful_seconds) + viewer.cuts * STEP
            assert least <= steps * STEP + given, (viewer, least, steps, given)
            assert max(steps * STEP, performed) <= most, (viewer, steps, performed, most)  # minutes run on in a 1-on-1
            self.counted["proven"] += steps > 0

    async def kept(self, viewer: Viewer, payment_id: str) -> tuple[str, int]:
        """What of a payment was charged and is not back."""
        house, price = self.house, viewer.payments[payment_id]
        payment = await house.read(house.sessions, f"/payments/{payment_id}", viewer.id)
        if payment["reason"]:
            self.counted[f"back {payment['reason']}"] += payment["reversed_diamonds"] > 0
        if payment["status"] == "failed":
            return payment_id, 0
        assert payment["reversed_diamonds"] % price == 0, "only whole steps go back"
        return payment_id, payment["amount_diamonds"] - payment["reversed_diamonds"]

    def of_invitations(self, viewer: Viewer) -> tuple[int, timedelta, timedelta]:
        """Diamonds in escrow or spent, what was performed for them at least, and all time that came with them."""
        events = self.house.system.events
        back = {one.earning_id for one in events(EscrowFailedV1)}
        held = [one for one in events(EscrowHeldV1) if one.buyer_id == viewer.id and one.earning_id not in back]
        released = [one.amount_diamonds for one in events(EscrowCompletedV1) if one.buyer_id == viewer.id]
        given = sum(
            one.duration
            for one in events(SessionViewerAuthorizedV1)
            if one.viewer_id == viewer.id and one.reason != "paid" and one.duration
        )
        performed = sum(released) // EXCLUSIVE_DIAMONDS * STEP - len(released) * TENTH_OF_A_STEP
        return sum(one.amount_diamonds for one in held), performed, timedelta(seconds=given)


@dataclass
class Playing:
    """The house, and the loop of its connection to the database: Hypothesis runs in a thread of its own."""

    house: House
    loop: asyncio.AbstractEventLoop
    counted: Counter[str] = field(default_factory=Counter)

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(120)


class Machine(RuleBasedStateMachine):
    """One rule, which leaves to chance all it does: as in test_money.py, a scenario needs everything."""

    playing: ClassVar[Playing]

    def __init__(self) -> None:
        super().__init__()
        self.run = self.playing.run
        self.scenario = Scenario(self.playing.house, counted=self.playing.counted)
        self.seeds: Counter[int] = Counter()
        self.run(self.scenario.begin())
        self.scenario.counted["scenarios"] += 1

    @rule(seed=st.integers(0, 2**32))
    def live(self, seed: int) -> None:
        """Somebody asks for something, some hear of it, some watch, something breaks."""
        chance = random.Random(f"{seed}, {self.seeds[seed]} times before")
        self.seeds[seed] += 1
        self.run(self._live(chance))

    async def _live(self, chance: random.Random) -> None:
        scenario, system = self.scenario, self.scenario.house.system
        await scenario.act(chance.choice(COMMANDS), chance.choice(scenario.viewers), chance.randint(1, 4))
        how = chance.choice(HANDLED)
        await (scenario.hear_all() if how == "all" else hear(system, how, chance))
        if scenario.heard:
            await scenario.require_truth()
        await scenario.watch(chance.choice(PAUSES))
        broken = chance.choice(TROUBLES)
        await trouble(system, broken, chance.choice(SERVICES), chance)
        scenario.counted[broken] += 1
        scenario.heard &= broken == "no trouble"

    @invariant()
    def the_books_are_right(self) -> None:
        self.run(self.scenario.require_books())

    def teardown(self) -> None:
        self.run(self.scenario.close())
        self.run(self.scenario.require_truth())


async def test_what_was_paid_by_the_minute_was_watched_or_is_back(house: House) -> None:
    playing = Playing(house, asyncio.get_running_loop())
    machine = cast("type[Machine]", type("OfThisHouse", (Machine,), {"playing": playing}))
    profile = settings(
        max_examples=EXAMPLES or FEW,
        derandomize=not EXAMPLES,
        print_blob=True,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=profile)
    finally:
        print(dict(sorted(playing.counted.items())))  # noqa: T201 - how much was proven

    assert EXAMPLES or not [what for what in HAPPENS if not playing.counted[what]]
