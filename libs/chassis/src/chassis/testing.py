"""For tests of services: one service alone, in this process, on the real MongoDB, with a clock of its own.

    solo = await solo_of(SERVICE, STEP_SECONDS=60)
    await solo.client(viewer).post("/goals?type=trigger-exclusive", json=...)
    await solo.hear(held)
    solo.clock.advance(31)
    await solo.run_timers()
    assert [event.TYPE for event in await solo.take()] == ["goal.created.v1", "goal.ended.v1"]

Kafka is left out, not imitated: events are heard through the same `Lane` and `run_each` as the consumer's, and read
from the real outbox. The inbox is left out too, so hearing an event twice really runs its handlers twice.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Self, cast

import httpx
import jwt
from pydantic_settings import BaseSettings

from chassis import ids
from chassis.batch import Lane, Work, run_each
from chassis.bell import KNOCKS
from chassis.cause import Cause
from chassis.clock import Clock, ManualClock, instant
from chassis.decision import Effect, Timer
from chassis.http import create_app
from chassis.migrate import MIGRATIONS, create_collections
from chassis.mongo import Database, Mongo, Raw
from chassis.outbox import OUTBOX
from chassis.pending import EFFECTS, TIMERS, StoredTimer
from chassis.runtime import Outside, Runtime
from chassis.service import Service
from chassis.settings import ChassisSettings
from chassis.tx import Tx
from contracts import Event, Message, Meta, event_of, meta_of

NIGHT = datetime(2086, 1, 31, 20, 0, tzinfo=UTC)  # ahead of MongoDB's own clock, whose TTL would delete what is past
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # knows no certificates: reading them takes 40 ms for each client
KID, KEY = "demo-test", "a-demo-key-of-at-least-thirty-two-bytes"
DEMO: dict[str, Any] = {
    "mongo_url": "mongodb://unused",
    "devstack": True,
    "unknown_wait_seconds": 0,
    "access_token_seconds_max": 10**10,  # tests own the clock
    "jwt_keys": {KID: {"alg": "HS256", "key": KEY}},
    "pusher_scheme": "http",
    "pusher_host": "127.0.0.1",
    "pusher_port": 1,
    "pusher_app_id": "1",
    "pusher_keys": {"demo-key": "demo-secret"},
}


def access_token(user_id: str, *scopes: str) -> str:
    """An access token that every service under test accepts (claims of SPEC §2)."""
    claims = {
        "sub": user_id,
        "scopes": list(scopes),
        "jti": ids.new_id(),
        "iss": "footlights",
        "aud": "footlights",
        "nbf": 0,
        "iat": 0,
        "exp": int(datetime(2099, 1, 1, tzinfo=UTC).timestamp()),
        "version": 1,
        "metadata": {"fingerprint": "test", "flavor": "test", "original": {"iat": 0, "method": "test"}},
    }
    return jwt.encode(claims, KEY, algorithm="HS256", headers={"kid": KID})


@dataclass
class KafkaRecord:
    """What a poll brings of one message."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]

    @classmethod
    def of(cls, offset: int, message: Message) -> Self:
        """The record of a message at an offset."""
        return cls(offset, message.key, message.value, tuple(message.headers))


class Solo:
    """One service alone."""

    def __init__(self, service: Service, runtime: Runtime, settings: ChassisSettings, clock: Clock) -> None:
        """Use `Solo.start`."""
        self.service = service
        self.runtime = runtime
        self.settings = settings
        self._clock = clock
        self._lane: Lane[Work] = Lane("tests", lambda: runtime.begin(self.cause()))
        self._app = create_app(service, runtime, settings)

    @classmethod
    async def start(
        cls,
        service: Service,
        mongo: Mongo,
        database: Database,
        *,
        clock: Clock | None = None,
        env: Mapping[str, Any] | None = None,
    ) -> "Solo":
        """Make collections and indexes in `database` and be ready to hear and be called."""
        given: dict[str, Any] = DEMO | {name.lower(): value for name, value in (env or {}).items()}
        settings = ChassisSettings(**given)
        by_type: dict[type[BaseSettings], BaseSettings] = {ChassisSettings: settings}
        by_type |= {of: of(**given) for of in service.settings}
        clock = clock or ManualClock(NIGHT)
        await create_collections(database, service)
        outside = Outside(by_type, httpx.AsyncClient(verify=NO_TLS), clock)
        return cls(service, Runtime(service.name, mongo, database, clock, outside), settings, clock)

    @property
    def clock(self) -> ManualClock:
        """The clock of this service; stands at a winter's night until it is advanced."""
        return cast("ManualClock", self._clock)

    @property
    def now(self) -> datetime:
        """What the service takes for now."""
        return instant(self._clock.micros())

    def cause(self, at: datetime | None = None, event_id: str | None = None) -> Cause:
        """A cause for whatever a test does itself."""
        return Cause(at=at or self.now, correlation_id=ids.new_id(), event_id=event_id, client_id="test-client")

    def client(self, user_id: str | None = None, *scopes: str) -> httpx.AsyncClient:
        """An HTTP client of the service, as `user_id`, or without a token."""
        headers = {"authorization": f"Bearer {access_token(user_id, *scopes)}"} if user_id else {}
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://solo", headers=headers)

    async def hear(self, *events: Event, at: datetime | None = None, apart: bool = False) -> None:
        """Handle `events` as one batch, or one by one; `at` is when they happened (`ce_time`), by default now.

        Raises:
            Exception: whatever a handler raised; nothing of that event is kept.
        """
        failures = await self.try_to_hear(*events, at=at, apart=apart)
        for failure in failures:
            if failure is not None:
                raise failure

    async def try_to_hear(
        self, *events: Event, at: datetime | None = None, apart: bool = False
    ) -> list[Exception | None]:
        """As `hear`, but returns what went wrong with each event."""
        works = [self.work(event, self.cause(at, ids.new_id())) for event in events]
        parts = [[work] for work in works] if apart else [works]
        return [failure for part in parts for failure in await self.handle(part)]

    def listens_to(self, event: type[Event]) -> bool:
        """Whether the service's table lists this event."""
        return any(row.subject is event for row in self.service.handlers)

    def work(self, event: Event, cause: Cause, lane: str | None = None) -> Work:
        """What the service's table does with `event`; behind one that fails, nothing of its `lane` is handled."""
        return Work(cause.event_id or "", event, self._rows(type(event)), cause, lane)

    async def handle(self, works: Sequence[Work]) -> list[Exception | None]:
        """Handle `works` as one batch; what went wrong with each is in its place."""
        failures: list[Exception | None] = []
        kept: list[Exception | None] = []

        async def attempt(tx: Tx, part: Sequence[Work]) -> None:
            kept[:] = await run_each(tx, part)

        while len(failures) < len(works):
            await self._lane.run(works[len(failures) :], attempt)
            failures += kept
        return failures

    async def die_handling(self, works: Sequence[Work]) -> None:
        """Handle `works`, but end as a process does that is killed before its transaction is committed."""
        tx = self.runtime.begin(self.cause())
        try:
            await run_each(tx, works)
        finally:
            await tx.abort()

    async def take(self) -> list[Event]:
        """The events published since the last take, in order."""
        return [event for _, event in await self.take_messages()]

    async def take_messages(self) -> list[tuple[Meta, Event]]:
        """The same, each with what its message says of it."""
        messages = await self._messages()
        if messages:  # and not those that were told meanwhile
            await self.runtime.database[OUTBOX.name].delete_many({"_id": {"$in": [meta.id for meta, _ in messages]}})
        return messages

    async def published(self) -> list[Event]:
        """The events published since the last take, in order; they stay."""
        return [event for _, event in await self._messages()]

    async def timers(self) -> list[Timer]:
        """The timers that are set, the first due first."""
        rows = await self.runtime.database[TIMERS.name].find().sort("due", 1).to_list(None)
        return [self._timer(TIMERS.from_raw(row)) for row in rows]

    async def run_timers(self) -> int:
        """Run every timer that is due by now, also those that running ones set; returns how many ran."""
        ran = 0
        while stored := await self._first_due():
            timer = self._timer(stored)
            cause = Cause(at=stored.due, correlation_id=stored.cause.correlation_id)
            await self._lane.run([Work(stored.id, timer, self._rows(type(timer)), cause)], _run_timer)
            ran += 1
        return ran

    async def effects(self) -> list[Effect]:
        """The vendor calls that wait, in order."""
        rows = await self.runtime.database[EFFECTS.name].find().sort([("_stamp", 1), ("n", 1)]).to_list(None)
        kinds = {row.effect.NAME: row.effect for row in self.service.effects}
        return [kinds[row["name"]].model_validate(row["data"]) for row in rows]

    @asynccontextmanager
    async def tx(self) -> AsyncIterator[Tx]:
        """A Tx for looking at state or preparing it; commits at the end."""
        tx = self.runtime.begin(self.cause())
        try:
            yield tx
            await tx.commit()
        finally:
            await tx.abort()

    async def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """All documents by collection, without what differs between equal histories: stamps and event ids."""
        found = await self.contents(*(collection.name for collection in self.service.collections))
        return {
            name: [{key: value for key, value in row.items() if key != "_stamp"} for row in rows]
            for name, rows in found.items()
        }

    async def contents(self, *names: str) -> dict[str, list[dict[str, Any]]]:
        """All documents of these collections, as they are stored, by id."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for one in await self._of_each(names, []):
            found[one["of"]].append(one["row"])
        return {name: sorted(rows, key=itemgetter("_id")) for name, rows in found.items()}

    async def clear(self) -> None:
        """Forget everything."""
        names = set(await self.runtime.database.list_collection_names()) - {MIGRATIONS.name, KNOCKS.name}
        used = [one["of"] for one in await self._of_each(sorted(names), [{"$limit": 1}])]
        await asyncio.gather(*(self.runtime.database[name].delete_many({}) for name in used))

    async def _of_each(self, names: Sequence[str], stages: Sequence[Raw]) -> list[Raw]:
        """What `stages` leave of each of these collections, and whose it is: one question costs as much as twenty."""
        parts = [[*stages, {"$project": {"_id": 0, "of": {"$literal": name}, "row": "$$ROOT"}}] for name in names]
        others = zip(names[1:], parts[1:], strict=True)
        union = [{"$unionWith": {"coll": name, "pipeline": part}} for name, part in others]
        return await self.runtime.mongo.aggregate(self.runtime.database[names[0]], [*parts[0], *union])

    async def next_due(self) -> datetime | None:
        """When the first of the timers that are set is due."""
        timers = await self.runtime.database[TIMERS.name].find().sort("due", 1).limit(1).to_list(None)
        return TIMERS.from_raw(timers[0]).due if timers else None

    async def _messages(self) -> list[tuple[Meta, Event]]:
        rows = await self.runtime.database[OUTBOX.name].find().sort([("_stamp", 1), ("n", 1)]).to_list(None)
        metas = [meta_of(list(row["headers"].items())) for row in rows]
        return [(meta, event_of(meta, row["value"])) for meta, row in zip(metas, rows, strict=True)]

    async def _first_due(self) -> StoredTimer | None:
        due = self.runtime.database[TIMERS.name].find({"due": {"$lte": self.now}}).sort("due", 1).limit(1)
        rows = await due.to_list(None)
        return TIMERS.from_raw(rows[0]) if rows else None

    def _rows(self, subject: type[Event] | type[Timer]) -> tuple[Any, ...]:
        rows = tuple(row for row in (*self.service.handlers, *self.service.timers) if row.subject is subject)
        if not rows:
            raise LookupError(f"{self.service.name} has no row for {subject.__name__}")
        return rows

    def _timer(self, stored: StoredTimer) -> Timer:
        kinds = {cast("type[Timer]", row.subject).NAME: cast("type[Timer]", row.subject) for row in self.service.timers}
        return kinds[stored.name].model_validate(stored.data)


async def _run_timer(tx: Tx, works: Sequence[Work]) -> None:
    """Remove the timer and run its handler, or neither."""
    tx.delete(TIMERS, works[0].id)
    for failure in await run_each(tx, works):
        if failure is not None:
            raise failure
