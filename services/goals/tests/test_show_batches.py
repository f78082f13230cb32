"""What is heard of shows, private goals and songs, in one batch or one by one: every pair comes to the same.

Each pair has a session of its own, so that all of them are heard at once: both of a pair together, or first from all
pairs the one and then from all the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

from chassis_testing.service import ServiceHarness
from contracts import Event, GiftSentV1, Level
from goals import handlers, store
from goals.domain import funding, lifecycle, private, show
from goals.domain.goal import End
from goals.service import SERVICE
from goals.settings import GoalsSettings

if TYPE_CHECKING:
    from chassis.storage.tx import Tx
    from services.goals.tests.conftest import LiveSession

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
TIMING = GoalsSettings().timing
TARGET = 3  # two purchases of two tickets reach it
DIAMONDS = 20  # two gifts of 14 reach it


class Session:
    """One session and what is going on in it; all ids follow from its number."""

    def __init__(self, live_session: type[LiveSession], harness: ServiceHarness, state: str, number: int) -> None:
        def id_(n: int) -> str:
            return f"{number:012x}{n:012x}"

        self.live = live_session(harness, streamer=id_(1), session_id=id_(2))
        self.state, self.harness, self.id_ = state, harness, id_
        self.funding_id, self.show_id, self.private_id = id_(3), id_(4), id_(5)

    async def begin(self, tx: Tx) -> None:
        """Tickets are sold, beside a private goal; or the show is on; or nobody wanted one, and the hesitation runs."""
        await handlers.remember_session(self.live.started(), tx)
        offer = funding.Offer(
            goal_id=self.funding_id,
            level=Level(title="A song", target=TARGET),
            exp=tx.now + timedelta(seconds=600),
            perform_duration=60,
            hesitation_countdown=30,
            ticket_product_id="livestream-show-ticket_134",
            ticket_product_type="regular",
            discount_percentage=None,
        )
        stage = await store.stage(tx, self.live.session_id)
        store.save(tx, funding.create(offer, stage, tx.now))
        level = Level(title="A dance", target=DIAMONDS)
        stage = await store.stage(tx, stage.id)
        store.save(tx, private.create(self.private_id, level, tx.now + timedelta(seconds=600), stage, tx.now))
        if self.state == "selling":
            return
        goal = await tx.get(store.GOALS, self.funding_id)
        assert goal is not None
        over = End(cause="deleted", at=tx.now, triggerer="phone")
        store.save(tx, lifecycle.deactivate_goal(goal, await store.stage(tx, stage.id), over, (), TIMING))
        if self.state == "playing":
            goal = await tx.get(store.GOALS, self.funding_id)
            store.save(tx, show.create(self.show_id, goal, await store.stage(tx, stage.id), None, tx.now))

    def events(self) -> list[Event]:
        """Two buyers, of whom one comes twice, and what others tell of the session."""
        rich, other = self.id_(6), self.id_(7)
        return [
            self._held("show_funding", self.funding_id, rich, 10),
            self._held("show_funding", self.funding_id, rich, 11),
            self._held("show_funding", self.funding_id, other, 12),
            self._held("trigger_private", self.private_id, rich, 13),
            self._held("trigger_private", self.private_id, other, 14),
            self._held("trigger_private", self.funding_id, other, 15),
            self._held("show_funding", self.id_(16), other, 16),
            self._song(rich),
            self.live.blocked(rich),
            self.live.updated(30),
            self.live.ended(),
        ]

    def _held(self, kind: str, goal_id: str, buyer: str, n: int) -> Event:
        facts: dict[str, Any] = {"earning_id": self.id_(n), "gift_id": self.id_(100 + n)}
        held = {"escrow_id": f"{kind}:{goal_id}", "amount_diamonds": 14, "count": 2}
        return self.live.held(goal_id, buyer, **held, **facts)

    def _song(self, sender: str) -> Event:
        return GiftSentV1(
            session_id=self.live.session_id,
            streamer_id=self.live.streamer,
            gift_id=self.id_(20),
            sender_id=sender,
            product_id="karaoke-song_60",
            categories=("livestream-gift",),
            count=1,
            amount_diamonds=300,
            duration=60,
        )


async def test_in_one_batch_or_one_by_one_every_pair_of_a_show_night_comes_to_the_same(
    live: LiveSession, harness_of: HarnessOf
) -> None:
    ends = []
    for together in (True, False):
        harness = await harness_of(SERVICE)
        pairs = product(("selling", "playing", "hesitating"), range(11), range(11))
        sessions = [(Session(type(live), harness, state, n), i, j) for n, (state, i, j) in enumerate(pairs)]
        for session, _, _ in sessions:
            async with harness.tx() as tx:  # one for all may last longer than MongoDB lets it on a busy machine
                await session.begin(tx)
        heard = [(session.events()[first], session.events()[second]) for session, first, second in sessions]
        if together:
            await harness.handle(*(event for pair in heard for event in pair))
        else:
            await harness.handle(*(first for first, _ in heard))
            await harness.handle(*(second for _, second in heard))
        told = sorted((event.TYPE, event.subject, event.model_dump_json()) for event in await harness.take())
        timers = sorted((timer.NAME, timer.model_dump_json()) for timer in await harness.timers())
        ends.append((await harness.snapshot(), told, timers))

    assert ends[0] == ends[1]
