"""For tests of services: one service alone, in this process, on the real MongoDB, with a clock of its own.

    harness = await harness_of(SERVICE, STEP_SECONDS=60)
    await harness.client(viewer).post("/goals?type=trigger-exclusive", json=...)
    await harness.handle(held)
    harness.clock.advance(31)
    await harness.run_timers()
    assert [event.TYPE for event in await harness.take()] == ["goal.created.v1", "goal.ended.v1"]

Kafka is left out, not imitated: events are handled by the same `BatchRunner` and `run_in_savepoints` as the consumer's,
and read from the real outbox. The inbox is left out too, so hearing an event twice really runs its handlers twice.
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
from chassis.cause import Cause
from chassis.clock import Clock, ManualClock, instant
from chassis.context import Outside, Runtime
from chassis.decision import Effect, Timer
from chassis.effects.model import EFFECTS
from chassis.effects.vendor_client import VendorClient
from chassis.http import create_app
from chassis.outbox.model import OUTBOX
from chassis.runtime.migrate import MIGRATIONS, create_collections
from chassis.runtime.settings import ApiSettings, ChassisSettings
from chassis.runtime.wakeup import WAKEUPS
from chassis.service import Service
from chassis.storage.batch import BatchRunner, WorkItem, run_in_savepoints
from chassis.storage.mongo import Database, Mongo, Raw
from chassis.storage.tx import Tx
from chassis.timers.model import TIMERS, StoredTimer
from contracts import Event, EventAttributes, Message, attributes_of, event_of, to_message

START_TIME = datetime(2086, 1, 31, 20, 0, tzinfo=UTC)  # ahead of MongoDB's clock, whose TTL deletes what is past
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
    "pusher_client_host": "pusher.test",
    "pusher_app_id": "1",
    "pusher_keys": {"demo-key": "demo-secret"},
    "stream_token_keys": {KID: {"alg": "HS256", "key": "another-demo-key-of-at-least-thirty-two-bytes"}},
    "payment_gateways": ["sandbox"],
    "public_origin": "http://service",
    "checkout_state_key": "a-demo-key-of-checkouts-of-at-least-32-bytes",
    "sandbox_origin": "http://127.0.0.1:1",
    "sandbox_secret": "demo-secret-of-the-sandbox-0123456789",
    "sonet_merchant_id": "demo_merchant",
    "sonet_api_origin": "http://127.0.0.1:1",
    "sonet_page_origin": "http://localhost:1",
    "byteplus_app_id": "demo" * 6,
    "byteplus_app_key": "demo-app-key-of-the-tests-0123456789",
    "byteplus_origin": "http://127.0.0.1:1",
    "byteplus_access_key": "demo-access",
    "byteplus_secret_key": "demo-secret",
    "byteplus_snapshot_storage": '{"Type": 2}',
    "byteplus_callback_secrets": ["demo-callback-secret"],
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

    @classmethod
    def of_event(cls, offset: int, event: Event, id_: str | None = None, at: datetime = START_TIME) -> Self:
        """The record of an event that another service has published at that moment."""
        attributes = EventAttributes(id_ or ids.new_id(), event.TYPE, "/tests", event.subject, at, event.key, "c")
        return cls.of(offset, to_message(event, attributes))


class ServiceHarness:
    """One service alone."""

    def __init__(self, service: Service, runtime: Runtime, settings: ApiSettings, clock: Clock) -> None:
        """Use `ServiceHarness.start`."""
        self.service = service
        self.runtime = runtime
        self.settings = settings
        self._clock = clock
        self._runner: BatchRunner[WorkItem] = BatchRunner("tests", lambda: runtime.begin(self.cause()))
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
    ) -> "ServiceHarness":
        """Make collections and indexes in `database` and be ready to hear and be called."""
        given: dict[str, Any] = DEMO | {name.lower(): value for name, value in (env or {}).items()}
        settings = ApiSettings(**given)
        by_type: dict[type[BaseSettings], BaseSettings] = {ChassisSettings: settings}
        by_type |= {of: of(**given) for of in service.settings}
        clock = clock or ManualClock(START_TIME)
        await create_collections(database, service)
        outside = Outside(by_type, VendorClient(), clock)
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
        return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)

    async def handle(self, *events: Event, at: datetime | None = None, apart: bool = False) -> None:
        """Handle `events` as one batch, or one by one; `at` is when they happened (`ce_time`), by default now.

        Raises:
            Exception: whatever a handler raised; nothing of that event is kept.
        """
        failures = await self.try_handle(*events, at=at, apart=apart)
        for failure in failures:
            if failure is not None:
                raise failure

    async def try_handle(
        self, *events: Event, at: datetime | None = None, apart: bool = False
    ) -> list[Exception | None]:
        """As `handle`, but returns what went wrong with each event."""
        works = [self.work(event, self.cause(at, ids.new_id())) for event in events]
        parts = [[work] for work in works] if apart else [works]
        return [failure for part in parts for failure in await self.handle_items(part)]

    def listens_to(self, event: type[Event]) -> bool:
        """Whether the service's table lists this event."""
        return any(row.subject is event for row in self.service.handlers)

    def work(self, event: Event, cause: Cause, ordering_key: str | None = None) -> WorkItem:
        """What the service's table does with `event`; behind one that fails, its `ordering_key` is blocked."""
        return WorkItem(cause.event_id or "", event, self._rows(type(event)), cause, ordering_key)

    async def handle_items(self, works: Sequence[WorkItem]) -> list[Exception | None]:
        """Handle `works` as one batch; what went wrong with each is in its place."""
        failures: list[Exception | None] = []
        kept: list[Exception | None] = []

        async def attempt(tx: Tx, part: Sequence[WorkItem]) -> None:
            kept[:] = await run_in_savepoints(tx, part)

        while len(failures) < len(works):
            await self._runner.run(works[len(failures) :], attempt)
            failures += kept
        return failures

    async def die_handling(self, works: Sequence[WorkItem]) -> None:
        """Handle `works`, but end as a process does that is killed before its transaction is committed."""
        tx = self.runtime.begin(self.cause())
        try:
            await run_in_savepoints(tx, works)
        finally:
            await tx.abort()

    async def take(self) -> list[Event]:
        """The events published since the last take, in order."""
        return [event for _, event in await self.take_messages()]

    async def take_messages(self) -> list[tuple[EventAttributes, Event]]:
        """The same, each with what its message says of it."""
        messages = await self._messages()
        if messages:  # and not those that were told meanwhile
            await self.runtime.database[OUTBOX.name].delete_many(
                {"_id": {"$in": [attributes.id for attributes, _ in messages]}}
            )
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
            await self.run_timer(stored)
            ran += 1
        return ran

    async def run_timer(self, stored: StoredTimer) -> None:
        """Run this one."""
        timer = self._timer(stored)
        cause = Cause(at=stored.due, correlation_id=stored.cause.correlation_id)
        await self._runner.run([WorkItem(stored.id, timer, self._rows(type(timer)), cause)], _run_timer)

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
        names = set(await self.runtime.database.list_collection_names()) - {MIGRATIONS.name, WAKEUPS.name}
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

    async def _messages(self) -> list[tuple[EventAttributes, Event]]:
        rows = await self.runtime.database[OUTBOX.name].find().sort([("_stamp", 1), ("n", 1)]).to_list(None)
        metas = [attributes_of(list(row["headers"].items())) for row in rows]
        return [(attributes, event_of(attributes, row["value"])) for attributes, row in zip(metas, rows, strict=True)]

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


async def _run_timer(tx: Tx, works: Sequence[WorkItem]) -> None:
    """Remove the timer and run its handler, or neither."""
    tx.delete(TIMERS, works[0].id)
    for failure in await run_in_savepoints(tx, works):
        if failure is not None:
            raise failure
