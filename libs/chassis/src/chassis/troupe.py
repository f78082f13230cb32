"""For tests across services: several Solos with one clock, and what each publishes heard by the others.

    troupe = Troupe(goals, sessions, escrow)          # Solos that share a ManualClock
    await troupe.settle()                             # everything is heard, everything due is done
    troupe.stop("escrow")                             # it hears nothing and its timers wait
    await troupe.pass_time(600)                       # as time does it: each timer at its moment
    troupe.go_on("escrow")

Kafka is left out, not imitated, but for what it promises: messages of one topic and key (a *lane*) are heard in order,
between lanes there is none. A test chooses who hears what next (`waiting`, `deliver`), in batches or one by one, has a
service die over it (`crash`), hear it twice (`repeat`), or everything again (`replay`). The inbox is left out, so what
is heard twice is handled twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from chassis.batch import Behind, Work
from chassis.cause import Cause
from chassis.clock import ManualClock
from chassis.errors import NotYet
from chassis.outbox import OUTBOX
from chassis.testing import Solo
from contracts import Event, Meta

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it was published."""

    meta: Meta
    event: Event

    @property
    def lane(self) -> str:
        """What keeps its order: the key within its topic."""
        return f"{self.event.TOPIC}:{self.meta.partition_key}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next `count` messages of a lane, which a service has not heard yet."""

    service: str
    lane: str
    count: int

    def only(self, count: int) -> "Waiting":
        """The first `count` of them."""
        return Waiting(self.service, self.lane, min(count, self.count))


@dataclass(slots=True)
class _Player:
    solo: Solo
    positions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    stopped: bool = False


class Troupe:
    """Several services in this process."""

    def __init__(self, *solos: Solo) -> None:
        """Take Solos that were started with the same ManualClock."""
        self._players = {solo.service.name: _Player(solo) for solo in solos}
        self._lanes: dict[str, list[Message]] = defaultdict(list)
        self._collecting = asyncio.Lock()  # a test may race
        self.told: list[Message] = []
        """All that was ever published, in the order in which it was collected."""

    @property
    def clock(self) -> ManualClock:
        """Everybody's clock."""
        return next(iter(self._players.values())).solo.clock

    @property
    def now(self) -> datetime:
        """What every service takes for now."""
        return next(iter(self._players.values())).solo.now

    def join(self, solo: Solo) -> None:
        """One more, who has heard nothing yet."""
        self._players[solo.service.name] = _Player(solo)

    def events(self, of: type[E]) -> list[E]:
        """The events of this type that were published and collected so far."""
        return [message.event for message in self.told if isinstance(message.event, of)]

    async def clear(self) -> None:
        """Forget everything, on every stage."""
        for player in self._players.values():
            await player.solo.clear()
            player.positions.clear()
            player.stopped = False
        self._lanes.clear()
        self.told.clear()

    # -- hearing ---------------------------------------------------------------------------------------------------

    async def collect(self, *services: str) -> None:
        """Publish what lies in the outboxes of these (default: of all), as relays would; a stopped service's stays."""
        async with self._collecting:
            for name, player in self._players.items():
                bells = player.solo.runtime.bells  # who has told nothing need not be asked
                if not player.stopped and (not services or name in services) and bells.take_rung([OUTBOX.name]):
                    self.publish(Message(meta, event) for meta, event in await player.solo.take_messages())

    def publish(self, messages: Iterable[Message]) -> None:
        """Have these messages heard, behind what was published before."""
        for message in messages:
            self._lanes[message.lane].append(message)
            self.told.append(message)

    def waiting(self, *services: str) -> list[Waiting]:
        """What is to be heard by these services (default: by all) that are not stopped; collect first."""
        return [
            Waiting(name, lane, len(messages) - player.positions[lane])
            for name, player in self._players.items()
            if not player.stopped and (not services or name in services)
            for lane, messages in self._lanes.items()
            if player.positions[lane] < len(messages)
        ]

    def next_message(self, part: Waiting) -> Message:
        """The first of these messages."""
        return self._messages(self._players[part.service], part)[0]

    async def deliver(self, *parts: Waiting) -> int:
        """Have one service handle these lanes' next messages as one batch; returns how many it has done with.

        A message for which the service says `NotYet` waits with those behind it, and comes again.

        Raises:
            Exception: whatever else a handler raised.
        """
        player = self._players[parts[0].service]
        works = [work for part in parts for work in self._works(player, part)]
        failures = dict(zip((work.id for work in works), await player.solo.handle(works), strict=True))
        done = 0
        for part in parts:
            for message in self._messages(player, part):
                failure = failures.get(message.meta.id)
                if isinstance(failure, NotYet | Behind):
                    break
                if failure is not None:
                    raise failure
                player.positions[part.lane] += 1
                done += 1
        await self.collect(player.solo.service.name)
        return done

    async def crash(self, *parts: Waiting) -> None:
        """Have one service die over these messages before its transaction is committed."""
        player = self._players[parts[0].service]
        await player.solo.die_handling([work for part in parts for work in self._works(player, part)])

    async def repeat(self, service: str, count: int) -> None:
        """Have a service hear again, one by one, the last `count` messages of each lane that it has heard."""
        player = self._players[service]
        for lane, position in list(player.positions.items()):
            first = max(0, position - count)
            player.positions[lane] = first
            for _ in range(position - first):
                await self.deliver(Waiting(service, lane, 1))

    def replay(self, service: str, *topics: str) -> None:
        """Let a service begin again at the beginning of these topics (default: of all)."""
        positions = self._players[service].positions
        for lane in positions:
            if not topics or lane.partition(":")[0] in topics:
                positions[lane] = 0

    async def settle(self, choose: Callable[[Sequence[Waiting]], Waiting] | None = None) -> None:
        """Let everything be heard, and everything be done that is due, until nothing is left.

        Without `choose` each service hears all that waits for it as one batch; with it, one by one and in that order.

        Raises:
            RuntimeError: somebody waits for what nobody will ever say.
        """
        stuck: set[tuple[str, str]] = set()
        await self.collect()
        while True:
            waiting = [part for part in self.waiting() if (part.service, part.lane) not in stuck]
            if waiting:
                parts = [choose(waiting).only(1)] if choose else _of_one_service(waiting)
                done = await self.deliver(*parts)
                stuck = set() if done else stuck | {(part.service, part.lane) for part in parts}
            elif await self.run_timers():
                stuck.clear()
            else:
                break
        if stuck and not any(player.stopped for player in self._players.values()):
            raise RuntimeError(f"waits for ever: {stuck}")

    # -- time ------------------------------------------------------------------------------------------------------

    async def run_timers(self, *services: str) -> int:
        """Run what is due by now in these services (default: in all) that are not stopped; returns how many ran."""
        ran = 0
        for name, player in self._players.items():
            if not player.stopped and (not services or name in services):
                done = await player.solo.run_timers()
                if done:
                    await self.collect(name)
                ran += done
        return ran

    async def pass_time(self, seconds: float) -> None:
        """Let time pass as it does: every timer runs at its moment, and what follows is heard at once."""
        await self.pass_until(self.now + timedelta(seconds=seconds))

    async def pass_until(self, end: datetime) -> None:
        """The same, until that moment."""
        await self.settle()
        while (due := await self._next_due()) is not None and due <= end:
            self.clock.advance_to(due)
            await self.settle()
        self.clock.advance_to(end)

    def stop(self, *services: str) -> None:
        """From now on these hear nothing, publish nothing and let their timers wait."""
        for name in services:
            self._players[name].stopped = True

    def go_on(self, *services: str) -> None:
        """They are back, with everything that waited for them."""
        for name in services:
            self._players[name].stopped = False

    async def _next_due(self) -> datetime | None:
        dues = [await player.solo.next_due() for player in self._players.values() if not player.stopped]
        return min((due for due in dues if due is not None), default=None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _messages(self, player: _Player, part: Waiting) -> list[Message]:
        first = player.positions[part.lane]
        return self._lanes[part.lane][first : first + part.count]

    def _works(self, player: _Player, part: Waiting) -> Iterable[Work]:
        for message in self._messages(player, part):
            if player.solo.listens_to(type(message.event)):
                meta = message.meta
                cause = Cause(meta.time, meta.correlation_id, meta.id, meta.traceparent)
                yield player.solo.work(message.event, cause, part.lane)


def _of_one_service(waiting: Sequence[Waiting]) -> list[Waiting]:
    return [part for part in waiting if part.service == waiting[0].service]
