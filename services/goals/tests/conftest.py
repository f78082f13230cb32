"""A session on air, by the goals service: one session, its streamer, and whoever comes."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis.clock import unix
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from chassis_testing.service import ServiceHarness
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    Event,
    GiftSentV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from contracts.sessions import Prices, Statuses
from goals import handlers, store
from goals.domain import exclusive, invitation, lifecycle
from goals.domain.goal import End, Goal
from goals.domain.stage import Stage
from goals.service import SERVICE
from goals.settings import GoalsSettings

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
Round = Callable[["LiveSession"], AsyncGenerator[Any, Any]]

ROUNDS = 48
SIDE_BY_SIDE = 12
AHEAD_SECONDS_MAX = 0.012  # about what one command takes: either deed may come first
ROUNDS_MAX = 816  # until each side has won once
WIDER = (1, 4, 16)  # on some machines one deed takes far longer than the other


async def soon(deed: Awaitable[Any], seconds_max: float = AHEAD_SECONDS_MAX) -> Any:
    """Do it, after a moment that is different each time."""
    await asyncio.sleep(random.random() * seconds_max)
    return await deed


@dataclass
class LiveSession:
    """One session. Facts of other services are made by `started`, `held` and so on, and heard by `handle`."""

    harness: ServiceHarness
    streamer: str = field(default_factory=ids.new_id)
    session_id: str = field(default_factory=ids.new_id)

    # Facts of sessions and escrow

    def started(self, price: int | None = 20) -> SessionStartedV1:
        return SessionStartedV1(**self._session(price, None))

    def updated(self, price: int | None) -> SessionUpdatedV1:
        return SessionUpdatedV1(**self._session(price, None))

    def ended(self, at: datetime | None = None) -> SessionEndedV1:
        return SessionEndedV1(**self._session(20, at or self.harness.now))

    def blocked(self, viewer: str) -> ViewerBlockedV1:
        return ViewerBlockedV1(streamer_id=self.streamer, viewer_id=viewer)

    def unblocked(self, viewer: str) -> ViewerUnblockedV1:
        return ViewerUnblockedV1(streamer_id=self.streamer, viewer_id=viewer)

    def held(self, goal_id: str, viewer: str, **changes: Any) -> EscrowHeldV1:
        facts = {
            "session_id": self.session_id,
            "streamer_id": self.streamer,
            "goal_id": goal_id,
            "escrow_id": f"trigger_exclusive:{goal_id}",
            "earning_id": ids.derived_id("hold", goal_id),
            "buyer_id": viewer,
            "amount_diamonds": 100,
            "count": 1,
            "cause_id": goal_id,
        }
        return EscrowHeldV1.model_validate(facts | changes)

    def ticket(self, funding_id: str, count: int = 1, buyer: str | None = None) -> EscrowHeldV1:
        return self.held(
            funding_id,
            buyer or ids.new_id(),
            escrow_id=f"show_funding:{funding_id}",
            earning_id=ids.new_id(),
            amount_diamonds=7 * count,
            count=count,
            gift_id=ids.new_id(),
        )

    def not_held(self, goal_id: str, viewer: str) -> EscrowRejectedV1:
        return EscrowRejectedV1(
            session_id=self.session_id,
            streamer_id=self.streamer,
            goal_id=goal_id,
            escrow_id=f"trigger_exclusive:{goal_id}",
            buyer_id=viewer,
            amount_diamonds=100,
            cause_id=goal_id,
            reason="insufficient_diamonds",
        )

    def gift(self, goal_id: str, buyer: str, amount_diamonds: int) -> EscrowHeldV1:
        return self.held(
            goal_id,
            buyer,
            escrow_id=f"trigger_private:{goal_id}",
            earning_id=ids.new_id(),
            amount_diamonds=amount_diamonds,
            gift_id=ids.new_id(),
        )

    def given_back(self, held: EscrowHeldV1, reason: str) -> EscrowFailedV1:
        return EscrowFailedV1.model_validate(held.model_dump() | {"reason": reason})

    def kept(self, buyer: str) -> EscrowCompletedV1:
        held = self.ticket(ids.new_id(), buyer=buyer)
        return EscrowCompletedV1.model_validate(held.model_dump() | {"reason": "kept"})

    def spent(self, payer: str) -> PaymentSucceededV1:
        return PaymentSucceededV1(
            session_id=self.session_id,
            streamer_id=self.streamer,
            payment_id=ids.new_id(),
            purpose="minutes",
            payer_id=payer,
            amount_diamonds=5,
        )

    def song(self, sender: str) -> GiftSentV1:
        return GiftSentV1(
            session_id=self.session_id,
            streamer_id=self.streamer,
            gift_id=ids.new_id(),
            sender_id=sender,
            product_id="karaoke-song_60",
            categories=(),
            count=1,
            amount_diamonds=300,
            duration=60,
        )

    def paid(
        self, exclusive_id: str, viewer: str, duration: int | None = 60, **changes: Any
    ) -> SessionViewerAuthorizedV1:
        facts = {
            "session_id": self.session_id,
            "streamer_id": self.streamer,
            "viewer_id": viewer,
            "exclusive_goal_id": exclusive_id,
            "payment_id": ids.new_id(),
            "preset": "sd",
            "nbf": None,
            "duration": duration,
            "exp": None,
            "reason": "paid",
        }
        return SessionViewerAuthorizedV1.model_validate(facts | changes)

    # What people do

    def viewer(self, viewer: str) -> httpx.AsyncClient:
        return self.harness.client(viewer)

    def host(self) -> httpx.AsyncClient:
        return self.harness.client(self.streamer, "CREATOR")

    async def ask(self, viewer: str, duration: int | None = None) -> httpx.Response:
        context = {"session_id": self.session_id} | ({"duration": duration} if duration else {})
        return await self.viewer(viewer).post("/goals?type=trigger-exclusive", json={"context": context})

    async def answer(self, goal_id: str, *, agree: bool | None) -> httpx.Response:
        body = {} if agree is None else {"agree": agree}
        return await self.host().request("DELETE", f"/goals/{goal_id}", json=body)

    async def start(self, invitation_id: str, **more: Any) -> httpx.Response:
        context = {"session_id": self.session_id, "trigger_exclusive_goal_id": invitation_id}
        return await self.host().post("/goals?type=exclusive", json={"context": context} | more)

    async def extend(self, goal_id: str) -> httpx.Response:
        return await self.host().put(f"/goals/{goal_id}/extend")

    async def offer(self, changes: dict[str, Any] | None = None, **context: Any) -> httpx.Response:
        """Sell tickets for a show of a step, for 600 s."""
        body: dict[str, Any] = {
            "levels": [{"title": "A song", "target": 10}],
            "exp": unix(self.harness.now) + 600,
            "context": {
                "session_id": self.session_id,
                "perform_duration": 60,
                "hesitation_countdown": 30,
                "ticket_product_id": "livestream-show-ticket_134",
                "ticket_product_type": "earlybird",
                "discount_percentage": 33,
            }
            | context,
        }
        return await self.host().post("/goals?type=show-funding", json=body | (changes or {}))

    async def perform(self, funding_id: str, **more: Any) -> httpx.Response:
        context = {"session_id": self.session_id, "funding_goal_id": funding_id}
        return await self.host().post("/goals?type=show", json={"context": context} | more)

    # Where a story begins: each in one transaction, the short way

    async def proposal(self, viewer: str) -> str:
        """A proposal that waits for its money."""
        async with self.harness.tx() as tx:
            return await self._propose(viewer, tx)

    async def invitation(self, viewer: str) -> str:
        """An open invitation."""
        async with self.harness.tx() as tx:
            return await self._invite(viewer, tx)

    async def agreement(self, viewer: str) -> str:
        """An agreed invitation."""
        async with self.harness.tx() as tx:
            return await self._agree(viewer, tx)

    async def exclusive(self, viewer: str) -> tuple[str, str]:
        """A running 1-on-1, after its invitation."""
        async with self.harness.tx() as tx:
            invitation_id, exclusive_id = await self._agree(viewer, tx), ids.new_id()
            invited, stage = await tx.get(store.GOALS, invitation_id), await store.stage(tx, self.session_id)
            wanted = exclusive.Wanted(goal_id=exclusive_id, levels=(), nbf=None)
            timing = tx.settings(GoalsSettings).timing
            store.save(tx, exclusive.create(wanted, invited, stage, tx.now, timing))
            return invitation_id, exclusive_id

    async def funding(self) -> str:
        """Tickets are being sold."""
        offered = await self.offer()
        assert offered.status_code == 201, offered.text
        goal_id: str = offered.json()["goal_id"]
        return goal_id

    async def private_goal(self, target: int) -> str:
        """Gifts are asked for."""
        body = {
            "levels": [{"title": "For you", "target": target}],
            "exp": unix(self.harness.now) + 600,
            "context": {"session_id": self.session_id},
        }
        asked = await self.host().post("/goals?type=trigger-private", json=body)
        assert asked.status_code == 201, asked.text
        goal_id: str = asked.json()["goal_id"]
        return goal_id

    async def ended_funding(self, tickets: int) -> str:
        """The streamer has ended the sale after so many tickets; 10 are enough."""
        funding_id = await self.funding()
        if tickets:
            await self.harness.handle(self.ticket(funding_id, tickets))
        assert (await self.answer(funding_id, agree=None)).status_code == 204
        return funding_id

    async def show(self) -> tuple[str, str]:
        """A running show, after its funding."""
        funding_id = await self.ended_funding(tickets=10)
        started = await self.perform(funding_id)
        assert started.status_code == 201, started.text
        return funding_id, started.json()["goal_id"]

    async def _propose(self, viewer: str, tx: Tx) -> str:
        goal_id, timing = ids.new_id(), tx.settings(GoalsSettings).timing
        stage = await store.stage(tx, self.session_id)
        asks = await store.viewer(tx, stage, viewer)
        wish = invitation.Wish(goal_id=goal_id, duration=5 * timing.step_seconds)
        store.save(tx, invitation.propose(wish, asks, stage, tx.now, timing)[1])
        return goal_id

    async def _invite(self, viewer: str, tx: Tx) -> str:
        goal_id = await self._propose(viewer, tx)
        await handlers.answer_hold(self.held(goal_id, viewer), tx)
        return goal_id

    async def _agree(self, viewer: str, tx: Tx) -> str:
        goal_id = await self._invite(viewer, tx)
        goal, stage = await tx.get(store.GOALS, goal_id), await store.stage(tx, self.session_id)
        assert goal is not None
        timing = tx.settings(GoalsSettings).timing
        answer = End(cause="deleted", at=tx.now, triggerer="test-client", agree=True)
        ending = lifecycle.deletion(goal, stage, answer, timing)
        store.save(tx, lifecycle.deactivate_goal(goal, stage, ending, (), timing))
        return goal_id

    async def later(self, seconds: float) -> None:
        """Let time pass, and everything happen that it brings."""
        self.harness.clock.advance(seconds)
        await self.harness.run_timers()

    async def goal(self, goal_id: str) -> Goal:
        goal: Goal = await self._stored(store.GOALS, goal_id)
        return goal

    async def stage(self) -> Stage:
        stage: Stage = await self._stored(store.STAGES, self.session_id)
        return stage

    async def published(self) -> list[str]:
        """The types of what was published since the last time, without their versions."""
        return [event.TYPE.removesuffix(".v1") for event in await self.harness.take()]

    async def published_about(self, goal_id: str) -> list[str]:
        """The same of one goal, and nothing is taken."""
        published: list[Event] = await self.harness.published()
        return [event.TYPE.removesuffix(".v1") for event in published if getattr(event, "goal_id", None) == goal_id]

    async def race(self, one_round: Round, *, brink: float | None = None, at_least: int = ROUNDS) -> Counter[Any]:
        """Play so many rounds, a dozen sessions side by side; returns who won how often.

        A round is a generator: it begins a story, yields deeds that are done at once, gets their results and yields who
        won. With a `brink`, time then stands so many seconds after the beginnings, and passes it during the deeds.
        """
        wins: Counter[Any] = Counter()
        for number in range(ROUNDS_MAX // SIDE_BY_SIDE):
            if wins.total() >= at_least and len(wins) > 1:  # a race that only one side can win shows nothing
                break
            sessions = [self.another() for _ in range(SIDE_BY_SIDE)]
            await self.harness.handle(*(one.started() for one in sessions))
            rounds = [one_round(one) for one in sessions]
            deeds = await asyncio.gather(*(anext(played) for played in rounds))
            within = AHEAD_SECONDS_MAX * WIDER[number % len(WIDER)]
            if brink is not None:
                self.harness.clock.advance(brink - 0.001)
                within = AHEAD_SECONDS_MAX * SIDE_BY_SIDE  # these sessions' timers run one after the other
            *results, _ = await asyncio.gather(
                *(asyncio.gather(*(soon(deed, within) for deed in of_one)) for of_one in deeds),
                self._pass_brink(brink),
            )
            for played, result in zip(rounds, results, strict=True):
                wins[await played.asend(result)] += 1
                await played.aclose()
            await self.harness.clear()  # what is judged must not run on beside the next
        return wins

    async def _pass_brink(self, brink: float | None) -> None:
        if brink is not None:
            await soon(self.later(0.001))

    def another(self) -> "LiveSession":
        """Another session of another streamer, on the same service."""
        return LiveSession(self.harness)

    async def _stored(self, collection: Collection[Any], id_: str) -> Any:
        async with self.harness.tx() as tx:
            found = await tx.get(collection, id_)
        assert found is not None
        return found

    def _session(self, price: int | None, ended: datetime | None) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "streamer_id": self.streamer,
            "active": ended is None,
            "prices": Prices(exclusive=price),
            "preset": "sd",
            "sources": (),
            "statuses": Statuses(created=self.harness.now, ended=ended),
            "exclusive_to": (),
        }


LiveSessionOf = Callable[..., Awaitable[LiveSession]]


@pytest.fixture
def live_session(harness_of: HarnessOf) -> LiveSessionOf:
    """Begin a session on a service of its own, with the settings that are given."""

    async def begin(**env: Any) -> LiveSession:
        live = LiveSession(await harness_of(SERVICE, **env))
        await live.harness.handle(live.started())
        return live

    return begin


@pytest.fixture
async def live(live_session: LiveSessionOf) -> LiveSession:
    """A session that has just started."""
    return await live_session()
