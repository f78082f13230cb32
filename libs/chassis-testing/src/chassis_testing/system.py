"""For tests across services: several harnesses with one clock, and what each publishes handled by the others.

    system = ServiceSystem(goals, sessions, escrow)   # they share a ManualClock
    await system.run_until_idle()                     # everything is handled, everything due is done
    system.stop("escrow")                             # it handles nothing and its timers wait
    await system.pass_time(600)                       # as time does it: each timer at its moment
    system.resume("escrow")

Kafka is left out, not imitated, but for what it promises: messages of one topic and key (their
*ordering key*) are handled in order, between keys there is none. A test chooses who handles what next (`waiting`,
`deliver`), in batches or one by one, has a service die over it (`crash`), handle it twice (`repeat`), or everything
again (`replay`). The inbox is left out, so what is delivered twice is handled twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from chassis.cause import Cause
from chassis.clock import ManualClock
from chassis.errors import NotYet
from chassis.outbox.model import OUTBOX
from chassis.storage.batch import BlockedByEarlier, WorkItem
from chassis_testing.service import ServiceHarness
from contracts import Event, EventAttributes

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Message:
    """An event as it was published."""

    attributes: EventAttributes
    event: Event

    @property
    def ordering_key(self) -> str:
        """What keeps its order: the key within its topic."""
        return f"{self.event.TOPIC}:{self.attributes.partition_key}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next `count` messages of an ordering key, which a service has not handled yet."""

    service: str
    ordering_key: str
    count: int

    def only(self, count: int) -> "Waiting":
        """The first `count` of them."""
        return Waiting(self.service, self.ordering_key, min(count, self.count))


@dataclass(frozen=True, slots=True)
class Handled:
    """That a service has handled a message, perhaps not for the first time."""

    service: str
    message: Message
    published_before: int
    """How many messages had been published by then: what follows from this one is published later."""


@dataclass(slots=True)
class _Member:
    harness: ServiceHarness
    positions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    stopped: bool = False


class ServiceSystem:
    """Several services in this process."""

    def __init__(self, *harnesses: ServiceHarness) -> None:
        """Take harnesses that were started with the same ManualClock."""
        self._members = {harness.service.name: _Member(harness) for harness in harnesses}
        self._by_key: dict[str, list[Message]] = defaultdict(list)
        self._collecting = asyncio.Lock()  # a test may race
        self.choose: Callable[[Sequence[Waiting]], Waiting] | None = None
        """Who hears what next, one by one, while everything settles; None: each service all that waits for it."""
        self.published: list[Message] = []
        """All that was ever published, in the order in which it was collected."""
        self.handled: list[Handled] = []
        """All that was ever handled, in the order in which it was."""

    @property
    def services(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._members)

    @property
    def stopped(self) -> bool:
        """Whether any of them is."""
        return any(member.stopped for member in self._members.values())

    @property
    def clock(self) -> ManualClock:
        """Everybody's clock."""
        return next(iter(self._members.values())).harness.clock

    @property
    def now(self) -> datetime:
        """What every service takes for now."""
        return next(iter(self._members.values())).harness.now

    def add(self, harness: ServiceHarness) -> None:
        """One more, who has heard nothing yet."""
        self._members[harness.service.name] = _Member(harness)

    def events(self, of: type[E]) -> list[E]:
        """The events of this type that were published and collected so far."""
        return [message.event for message in self.published if isinstance(message.event, of)]

    async def clear(self) -> None:
        """Forget everything, in every service."""
        for member in self._members.values():
            await member.harness.clear()
            member.positions.clear()
            member.stopped = False
        self._by_key.clear()
        self.published.clear()
        self.handled.clear()

    # -- hearing ---------------------------------------------------------------------------------------------------

    async def collect(self, *services: str) -> None:
        """Publish what lies in the outboxes of these (default: of all), as relays would; a stopped service's stays."""
        async with self._collecting:
            for name, member in self._members.items():
                wakeups = member.harness.runtime.wakeups  # who has told nothing need not be asked
                if not member.stopped and (not services or name in services) and wakeups.take_notified([OUTBOX.name]):
                    self.publish(
                        Message(attributes, event) for attributes, event in await member.harness.take_messages()
                    )

    def publish(self, messages: Iterable[Message]) -> None:
        """Have these messages heard, behind what was published before."""
        for message in messages:
            self._by_key[message.ordering_key].append(message)
            self.published.append(message)

    def waiting(self, *services: str) -> list[Waiting]:
        """What is to be heard by these services (default: by all) that are not stopped; collect first."""
        return [
            Waiting(name, ordering_key, len(messages) - member.positions[ordering_key])
            for name, member in self._members.items()
            if not member.stopped and (not services or name in services)
            for ordering_key, messages in self._by_key.items()
            if member.positions[ordering_key] < len(messages)
        ]

    def next_message(self, part: Waiting) -> Message:
        """The first of these messages."""
        return self._messages(self._members[part.service], part)[0]

    async def deliver(self, *parts: Waiting) -> int:
        """Have one service handle these keys' next messages as one batch; returns how many it has done with.

        A message for which the service says `NotYet` waits with those behind it, and comes again.

        Raises:
            Exception: whatever else a handler raised.
        """
        member, published_before = self._members[parts[0].service], len(self.published)
        works = [work for part in parts for work in self._works(member, part)]
        failures = dict(zip((work.id for work in works), await member.harness.handle_items(works), strict=True))
        done = 0
        for part in parts:
            for message in self._messages(member, part):
                failure = failures.get(message.attributes.id)
                if isinstance(failure, NotYet | BlockedByEarlier):
                    break
                if failure is not None:
                    raise failure
                member.positions[part.ordering_key] += 1
                self.handled.append(Handled(part.service, message, published_before))
                done += 1
        await self.collect(member.harness.service.name)
        return done

    async def crash(self, *parts: Waiting) -> None:
        """Have one service die over these messages before its transaction is committed."""
        member = self._members[parts[0].service]
        await member.harness.die_handling([work for part in parts for work in self._works(member, part)])

    async def repeat(self, service: str, count: int) -> None:
        """Have a service handle again, one by one, the last `count` messages of each key that it has handled."""
        member = self._members[service]
        for ordering_key, position in list(member.positions.items()):
            first = max(0, position - count)
            member.positions[ordering_key] = first
            for _ in range(position - first):
                await self.deliver(Waiting(service, ordering_key, 1))

    def replay(self, service: str, *topics: str) -> None:
        """Let a service begin again at the beginning of these topics (default: of all)."""
        positions = self._members[service].positions
        for ordering_key in positions:
            if not topics or ordering_key.partition(":")[0] in topics:
                positions[ordering_key] = 0

    async def run_until_idle(self, choose: Callable[[Sequence[Waiting]], Waiting] | None = None) -> None:
        """Let everything be heard, and everything be done that is due, until nothing is left.

        Without `choose` each service hears all that waits for it as one batch; with it, one by one and in that order.

        Raises:
            RuntimeError: somebody waits for what nobody will ever say.
        """
        stuck: set[tuple[str, str]] = set()
        choose = choose or self.choose
        await self.collect()
        while True:
            waiting = [part for part in self.waiting() if (part.service, part.ordering_key) not in stuck]
            if waiting:
                parts = [choose(waiting).only(1)] if choose else _of_one_service(waiting)
                done = await self.deliver(*parts)
                stuck = set() if done else stuck | {(part.service, part.ordering_key) for part in parts}
            elif await self.run_timers():
                stuck.clear()
            else:
                break
        if stuck and not self.stopped:
            raise RuntimeError(f"waits for ever: {stuck}")

    # -- time ------------------------------------------------------------------------------------------------------

    async def run_timers(self, *services: str) -> int:
        """Run what is due by now in these services (default: in all) that are not stopped; returns how many ran."""
        ran = 0
        for name, member in self._members.items():
            if not member.stopped and (not services or name in services):
                done = await member.harness.run_timers()
                if done:
                    await self.collect(name)
                ran += done
        return ran

    async def pass_time(self, seconds: float) -> None:
        """Let time pass as it does: every timer runs at its moment, and what follows is heard at once."""
        await self.pass_until(self.now + timedelta(seconds=seconds))

    async def pass_until(self, end: datetime) -> None:
        """The same, until that moment."""
        await self.run_until_idle()
        while (due := await self._next_due()) is not None and due <= end:
            self.clock.advance_to(due)
            await self.run_until_idle()
        self.clock.advance_to(end)

    def stop(self, *services: str) -> None:
        """From now on these hear nothing, publish nothing and let their timers wait."""
        for name in services:
            self._members[name].stopped = True

    def resume(self, *services: str) -> None:
        """They are back, with everything that waited for them."""
        for name in services:
            self._members[name].stopped = False

    async def _next_due(self) -> datetime | None:
        dues = [await member.harness.next_due() for member in self._members.values() if not member.stopped]
        return min((due for due in dues if due is not None), default=None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _messages(self, member: _Member, part: Waiting) -> list[Message]:
        first = member.positions[part.ordering_key]
        return self._by_key[part.ordering_key][first : first + part.count]

    def _works(self, member: _Member, part: Waiting) -> Iterable[WorkItem]:
        for message in self._messages(member, part):
            if member.harness.listens_to(type(message.event)):
                attributes = message.attributes
                cause = Cause(attributes.time, attributes.correlation_id, attributes.id, attributes.traceparent)
                yield member.harness.work(message.event, cause, part.ordering_key)


def _of_one_service(waiting: Sequence[Waiting]) -> list[Waiting]:
    return [part for part in waiting if part.service == waiting[0].service]
