"""Whatever people do, whoever hears it when, and whatever breaks: who must end with how much (SPEC §5).

A state machine asks for anything anybody can ask for, and has the services hear of it in any order that Kafka allows:
late, in batches, twice, from the beginning, with a death before the commit, with timers that run late. After each step
the ledger is proven; in the end everything is heard and all time has passed, and `Books`, a model of the money that
knows only prices and the owners' facts, says what must lie in every account.

    MONEY_EXAMPLES=500 python -m pytest tests/house/test_money.py -s       # a long run, with new evenings each time
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from chassis.collection import Collection, Document
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    Event,
    GiftFailedV1,
    GiftSentV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    SessionGoalClosedV1,
    SessionPaymentReversedV1,
)
from contracts.escrow import RefundReason, Verdict
from escrow.domain import settlement
from escrow.domain.blocks import Block
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.ledger import LedgerBroken
from sessions import store as of_sessions
from shop import store as of_shop

if TYPE_CHECKING:
    from chassis.testing import Solo
    from chassis.troupe import Waiting
    from tests.house.conftest import House

T = TypeVar("T")
D = TypeVar("D", bound=Document)
Todo = tuple[Verdict, RefundReason | None] | None
Rule = Callable[[Earning, Escrow, Block | None], Todo]

EXAMPLES = int(os.environ.get("MONEY_EXAMPLES", "0"))  # 0: always the same few evenings
FEW = 16
STEPS = 40
CREDIT = 500  # soon spent, so that money is missing too
TICKET, TICKET_DIAMONDS = "livestream-show-ticket_134", 134
PRICES = {"livestream-gift_rose": 10, "livestream-gift_cake": 99, "karaoke-song_60": 300}
SERVICES = ("goals", "sessions", "escrow", "shop")
PAUSES = (0, 0, 0, 0, 0, 0, 0.1, 1, 5, 10, 31, 61)
TROUBLES = ("no trouble", "no trouble", "no trouble", "crash", "repeat", "replay", "stop", "go on", "go on")
COMMANDS = (  # what is asked for most stands twice
    *("fund", "fund", "fund ticket", "fund ticket", "fund perform", "fund perform", "fund end", "fund rush"),
    *("show ticket", "show end", "show rush"),
    *("private", "private rose", "private rose", "private end", "private rush", "gift"),
    *("invite", "invite", "invite agree", "invite agree", "invite refuse", "invite begin", "invite begin"),
    *("pay", "pay", "exclusive extend", "exclusive end", "session end"),
)

STORIES = {
    "funding": ("fund", "fund ticket"),
    "show": ("fund", "fund ticket", "fund end", "fund perform"),
    "exclusive": ("invite", "invite agree", "invite begin"),
    "private": ("private",),
}

HEARD = ("nothing", "one", "some", "all", "all")

# Facts that are told once, each with what it is told of.
ONCE: dict[type[Event], str] = {
    EscrowHeldV1: "earning_id",
    GoalCreatedV1: "goal_id",
    GoalEndedV1: "goal_id",
    GoalLapsedV1: "goal_id",
    SessionGoalClosedV1: "goal_id",
    PaymentSucceededV1: "payment_id",
}


# What each run must have come through, whatever chance brings.
HAPPENS = (
    *("crash", "repeat", "replay", "stop", "ticket 202", "fund end 204", "show 201", "exclusive 201"),
    *("goal.lapsed.v1", "goal.contribution_rejected.v1", "escrow.completed.v1", "escrow.failed.v1"),
)

# Bugs to plant: escrow's rule what is to be done with an earning, made wrong.


def released_instead_of_refunded(right: Rule, earning: Earning, escrow: Escrow, block: Block | None) -> Todo:
    return ("release", None) if right(earning, escrow, block) else None


def settled_again(right: Rule, earning: Earning, escrow: Escrow, block: Block | None) -> Todo:
    return right(replace(earning, status="held") if earning.status == "refunded" else earning, escrow, block)


def kept_when_rejected(right: Rule, earning: Earning, escrow: Escrow, block: Block | None) -> Todo:
    return right(earning, escrow, block) if earning.accepted else None


def ignored_when_settled(right: Rule, earning: Earning, escrow: Escrow, block: Block | None) -> Todo:
    return None if escrow.settled else right(earning, escrow, block)


BUGS = (released_instead_of_refunded, settled_again, kept_when_rejected, ignored_when_settled)


@dataclass
class Books:
    """The model: what was asked for at which price, and from the owners' facts, whose money it is in the end."""

    credited: dict[str, int] = field(default_factory=dict)
    asked: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Who pays how much, by the gift, the invitation or the payment it is for."""

    def spent(self, told: Sequence[Event]) -> dict[str, int]:
        """What each viewer must have spent, once everything is over."""
        spent = dict.fromkeys(self.credited, 0)
        for cause, (viewer, diamonds) in self.asked.items():
            spent[viewer] += self._due_diamonds(cause, diamonds, told)
        return spent

    def _due_diamonds(self, cause: str, diamonds: int, told: Sequence[Event]) -> int:
        """What was paid for and given: counted and kept, or paid, less the parts that were reversed."""
        held = next((one for one in told if isinstance(one, EscrowHeldV1) and one.cause_id == cause), None)
        if held is not None:
            counted = any(isinstance(one, GoalProgressedV1) and one.earning_id == held.earning_id for one in told)
            return diamonds if counted and held.escrow_id in kept_promises(told) else 0
        paid = {
            one.payment_id
            for one in told
            if isinstance(one, PaymentSucceededV1) and cause in (one.payment_id, one.gift_id)
        }
        return sum(diamonds - back_of(told, SessionPaymentReversedV1)[payment_id] for payment_id in paid)


def back_of(told: Sequence[Event], kind: type[SessionPaymentReversedV1 | PaymentReversedV1]) -> Counter[str]:
    """How many diamonds of each payment went back, in all its parts: as sessions asked for it, or escrow did it."""
    back: Counter[str] = Counter()
    for one in told:
        if isinstance(one, kind):
            back[one.payment_id] += one.amount_diamonds
    return back


def kept_promises(told: Sequence[Event]) -> set[str]:
    """The escrows whose promise sessions has called kept, by their names in SPEC §5."""
    kept = [one for one in told if isinstance(one, SessionGoalClosedV1) and one.kept]
    return (
        {f"show_funding:{one.funding_goal_id}" for one in kept if one.kind == "ShowGoal"}
        | {f"trigger_exclusive:{one.trigger_exclusive_goal_id}" for one in kept if one.kind == "ExclusiveGoal"}
        | {f"trigger_private:{one.goal_id}" for one in kept if one.kind == "TriggerPrivateGoal"}
    )


@dataclass
class Evening:
    """What the machine's rules do, and what must be true."""

    house: House
    books: Books = field(default_factory=Books)
    viewers: list[str] = field(default_factory=list)
    goals: dict[str, list[str]] = field(default_factory=dict)
    """The goals of each type, oldest first."""
    answers: Counter[str] = field(default_factory=Counter)

    async def begin(self) -> None:
        await self.house.troupe.clear()
        await self.house.open()
        for _ in range(3):
            viewer = await self.house.viewer(CREDIT)
            self.viewers.append(viewer)
            self.books.credited[viewer] = CREDIT

    def latest(self, kind: str) -> str | None:
        return next(reversed(self.goals.get(kind, [])), None)

    def note(self, what: str, response: httpx.Response) -> dict[str, Any]:
        """Count how a command was answered; what it made, if it was accepted."""
        self.answers[f"{what} {response.status_code}"] += 1
        made: dict[str, Any] = response.json() if response.status_code in (201, 202) else {}
        if "goal_id" in made:
            self.goals.setdefault(what, []).append(made["goal_id"])
        return made

    async def act(self, what: str, person: int, count: int) -> None:
        """One command of somebody's; one that nothing is there for is left out."""
        self.house.troupe.clock.advance(0.001)  # nobody is as quick as a clock that stands
        viewer, house = self.viewers[person], self.house
        kind, _, _ = what.partition(" ")
        goal_id = self.latest(kind)
        match what:
            case "fund":
                self.note("fund", await house.fund(count, 60 * 10 ** (person % 2)))
            case "private":
                self.note("private", await house.ask_for_gifts(10 if count == 1 else 100))
            case "invite":
                self.paid_for(viewer, 20 * count, self.note("invite", await house.invite(viewer, count)), "goal_id")
            case "gift":
                product = sorted(PRICES)[person]
                gift = self.note("gift", await house.give(viewer, None, product))
                self.paid_for(viewer, PRICES[product], gift, "gift_id")
            case "pay":
                payment = self.note("pay", await house.pay(viewer, count))
                assert payment.get("amount_diamonds", 5 * count) in (5 * count, 20 * count)
                self.paid_for(viewer, payment.get("amount_diamonds", 0), payment, "payment_id")
            case "session end":
                self.note("session", await house.end())
                if (person, count) != (0, 1):  # else it was the last of this evening
                    await house.open()
            case _ if goal_id is not None:
                await self._act_on(what, goal_id, viewer, count)
            case _:
                return

    async def _act_on(self, what: str, goal_id: str, viewer: str, count: int) -> None:
        """One command about a goal."""
        house, (kind, _, _) = self.house, what.partition(" ")
        match what:
            case "fund ticket" | "show ticket":
                ticket = self.note("ticket", await house.give(viewer, goal_id, TICKET, count))
                self.paid_for(viewer, TICKET_DIAMONDS * count, ticket, "gift_id")
            case "private rose":
                rose = self.note("rose", await house.give(viewer, goal_id, "livestream-gift_rose", count))
                self.paid_for(viewer, 10 * count, rose, "gift_id")
            case "fund perform":
                self.note("show", await house.perform(goal_id))
            case "invite agree" | "invite refuse":
                self.note(what, await house.delete(goal_id, agree=what == "invite agree"))
            case "invite begin":
                self.note("exclusive", await house.begin_exclusive(goal_id))
            case "exclusive extend":
                self.note(what, await house.extend(goal_id))
            case "fund rush" | "show rush" | "private rush":  # somebody gives at the moment in which it ends
                if count > 1:  # and nobody is told of it before shop is back
                    house.troupe.stop("shop")
                await self._act_on(f"{kind} rose" if kind == "private" else f"{kind} ticket", goal_id, viewer, count)
                self.note(what, await house.delete(goal_id))
            case _:
                self.note(what, await house.delete(goal_id))

    def paid_for(self, viewer: str, diamonds: int, made: dict[str, Any], name: str) -> None:
        """The books note what was asked for, at our own price."""
        if made:
            assert made.get("amount_diamonds", diamonds) == diamonds
            self.books.asked[made[name]] = (viewer, diamonds)

    async def pass_time(self, seconds: float, chance: random.Random) -> None:
        """As time does it; or nobody notices, and then one looks at what is due."""
        if chance.random() < 0.5:
            await self.house.troupe.pass_time(seconds)
        else:
            self.house.troupe.clock.advance(seconds)
            await self.house.troupe.run_timers(chance.choice(SERVICES))

    async def trouble(self, what: str, service: str, chance: random.Random) -> None:
        """Something that happens to processes."""
        troupe = self.house.troupe
        match what:
            case "crash":
                if waiting := troupe.waiting():
                    await troupe.crash(*some_of(waiting, chance))
            case "repeat":
                await troupe.repeat(service, chance.randint(1, 3))
            case "replay":
                troupe.replay(service)
            case "stop":
                troupe.stop(service)
            case "go on":
                troupe.go_on(*SERVICES)
            case _:
                return

    async def hear(self, how: str, chance: random.Random) -> None:
        """Let nobody, somebody or everybody hear what was said."""
        troupe = self.house.troupe
        if how == "all":
            await troupe.settle()
        for _ in range({"one": 1, "some": 8}.get(how, 0)):
            waiting = troupe.waiting()
            if waiting:
                await troupe.deliver(*some_of(waiting, chance))

    async def close(self) -> None:
        """The session ends, all is heard and all time passes."""
        self.house.troupe.go_on(*SERVICES)
        await self.house.troupe.settle()
        await self.house.end()
        await self.house.troupe.pass_time(4 * 3_600)
        await self.house.troupe.settle()

    async def require_truth(self) -> None:
        """Everybody's money is where the books say, and everybody agrees on why."""
        told = [message.event for message in self.house.troupe.told]
        spent = self.books.spent(told)
        accounts = await self.house.accounts()
        wallets = {viewer: accounts[f"wallet:{viewer}"] for viewer in self.viewers}
        assert wallets == {viewer: CREDIT - diamonds for viewer, diamonds in spent.items()}
        assert accounts.get(f"earnings:{self.house.streamer}", 0) == sum(spent.values())
        assert not {name for name, diamonds in accounts.items() if name.startswith("escrow:") and diamonds}
        require_told_once(told)
        await self._require_agreement(told)

    async def _require_agreement(self, told: Sequence[Event]) -> None:
        """Shop and sessions know of the same ends as escrow and goals."""
        refunded = {one.earning_id for one in told if isinstance(one, EscrowFailedV1)}
        for ticket in await everything(self.house.sessions, of_sessions.TICKETS):
            assert ticket.void == (ticket.id in refunded)
        back = back_of(told, PaymentReversedV1)
        for payment in await everything(self.house.sessions, of_sessions.PAYMENTS):
            assert payment.status != "requested"
            assert payment.reversed_diamonds == back[payment.id] <= payment.amount_diamonds
            assert (payment.status == "reversed") == (back[payment.id] == payment.amount_diamonds)
        sent = {one.gift_id for one in told if isinstance(one, GiftSentV1)}
        for gift in await everything(self.house.shop, of_shop.GIFTS):
            assert gift.status == ("sent" if gift.id in sent else "failed")


async def everything(solo: Solo, collection: Collection[D]) -> list[D]:
    async with solo.tx() as tx:
        return await tx.find(collection, {})


def require_told_once(told: Sequence[Event]) -> None:
    """Every hold is asked for, answered and settled once; so is everything else that is told once."""
    for kind, name in ONCE.items():
        require_single(getattr(one, name) for one in told if isinstance(one, kind))
    assert back_of(told, PaymentReversedV1) == back_of(told, SessionPaymentReversedV1)
    held = {one.earning_id for one in told if isinstance(one, EscrowHeldV1)}
    answered = [one.earning_id for one in told if isinstance(one, GoalProgressedV1 | GoalContributionRejectedV1)]
    settled = [one.earning_id for one in told if isinstance(one, EscrowCompletedV1 | EscrowFailedV1)]
    gifts = [one.gift_id for one in told if isinstance(one, GiftSentV1 | GiftFailedV1)]
    for answers in (answered, settled, gifts):
        require_single(answers)
    assert held == set(answered) == set(settled)
    ended = {one.goal_id for one in told if isinstance(one, GoalEndedV1)}
    assert ended == {one.goal_id for one in told if isinstance(one, GoalCreatedV1)}


def require_single(ids_: Any) -> None:
    doubled = [id_ for id_, times in Counter(ids_).items() if times > 1]
    assert not doubled, doubled


def some_of(waiting: Sequence[Waiting], chance: random.Random) -> list[Waiting]:
    """One service's next messages: of some of its lanes, in some order, some of each."""
    service = chance.choice(sorted({part.service for part in waiting}))
    lanes = sorted((part for part in waiting if part.service == service), key=lambda part: part.lane)
    chosen = chance.sample(lanes, chance.randint(1, len(lanes)))
    return [part.only(chance.randint(1, part.count)) for part in chosen]


@dataclass
class Playing:
    """The house, and the loop of its connection to the database: Hypothesis runs in a thread of its own."""

    house: House
    loop: asyncio.AbstractEventLoop
    counted: Counter[str] = field(default_factory=Counter)

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(120)


class Machine(RuleBasedStateMachine):
    """One rule, which leaves to chance all it does: Hypothesis turns rules off to find more, and likes to draw the same
    again, but an evening needs everything. What it does well, leaving out steps until only the bug is left, remains.
    """

    playing: ClassVar[Playing]

    def __init__(self) -> None:
        super().__init__()
        self.house, self.run, self.counted = self.playing.house, self.playing.run, self.playing.counted
        self.evening = Evening(self.house)
        self.seeds: Counter[int] = Counter()
        self.run(self.evening.begin())
        self.counted["evenings"] += 1

    @initialize(story=st.sampled_from(sorted(STORIES)))
    def begin(self, story: str) -> None:
        """Every evening begins with something that everybody has heard of."""
        for what in STORIES[story]:
            self.run(self.evening.act(what, 0, 1))
            self.run(self.house.troupe.settle())

    @rule(seed=st.integers(0, 2**32))
    def live(self, seed: int) -> None:
        """Somebody asks for something, some hear of it, time passes, something breaks."""
        chance = random.Random(f"{seed}, {self.seeds[seed]} times before")
        self.seeds[seed] += 1
        what, trouble, service = chance.choice(COMMANDS), chance.choice(TROUBLES), chance.choice(SERVICES)
        self.run(self.evening.act(what, chance.randrange(3), chance.randint(1, 2)))
        self.run(self.evening.hear(chance.choice(HEARD), chance))
        self.run(self.evening.pass_time(chance.choice(PAUSES), chance))
        self.run(self.evening.trouble(trouble, service, chance))
        self.counted[trouble] += 1

    @invariant()
    def the_ledger_holds(self) -> None:
        self.run(self.house.accounts())
        self.counted["steps"] += 1

    def teardown(self) -> None:
        self.run(self.evening.close())
        self.run(self.evening.require_truth())
        self.counted.update(self.evening.answers)
        self.counted.update(label(message.event) for message in self.house.troupe.told)


def label(event: Event) -> str:
    """For the count of what was proven: `goal.ended.v1 ShowGoal completed`."""
    return f"{event.TYPE} {event.kind} {event.outcome}" if isinstance(event, GoalEndedV1) else event.TYPE


async def play(house: House, **how: Any) -> Counter[str]:
    """Let the machine play in this house; what happened, counted."""
    playing = Playing(house, asyncio.get_running_loop())
    machine = cast("type[Machine]", type("OfThisHouse", (Machine,), {"playing": playing}))
    profile = settings(
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **how,
    )
    try:
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=profile)
    finally:
        counted = playing.counted
        print(f"{counted['evenings']} evenings, {counted['steps']} steps:", dict(sorted(counted.items())))  # noqa: T201 - how much was proven
    return counted


async def test_everybodys_money_ends_where_it_belongs(house: House) -> None:
    counted = await play(house, max_examples=EXAMPLES or FEW, derandomize=not EXAMPLES, print_blob=True)
    assert not [what for what in HAPPENS if not counted[what]]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
async def test_a_planted_bug_is_found(house: House, monkeypatch: pytest.MonkeyPatch, bug: Callable[..., Todo]) -> None:
    right = settlement.verdict_on
    monkeypatch.setattr(settlement, "verdict_on", lambda *of: bug(right, *of))
    with pytest.raises((AssertionError, LedgerBroken)):  # seen from outside, or by the ledger itself
        await play(house, max_examples=FEW, derandomize=True, phases=[Phase.generate])  # it need not be made small
