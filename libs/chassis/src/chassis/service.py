"""The table of a service: what it listens to and what it does then. Nothing registers itself."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import APIRouter
from pydantic_settings import BaseSettings

from chassis.context import Outside, Runtime
from chassis.decision import Effect, Timer
from chassis.storage.collection import Collection, Ref
from chassis.storage.mongo import Database
from chassis.storage.tx import Tx
from contracts import Event

E = TypeVar("E", bound=Event)
T = TypeVar("T", bound=Timer)
F = TypeVar("F", bound=Effect)

Handler = Callable[[Any, Tx], Awaitable[None]]
Needs = Callable[[Any], Iterable[Ref]]


@dataclass(frozen=True, slots=True)
class On:
    """One row of the table: when `subject` (an event or a timer) comes, do `handler`, which loads what `needs` says."""

    subject: type[Event] | type[Timer] | type[Effect]
    handler: Handler
    needs: Needs | None
    processed_marker: Collection[Any] | None = None
    """Where a document with the event's own id may be, which `handler` loads, too."""


def on(
    event: type[E],
    handler: Callable[[E, Tx], Awaitable[None]],
    *,
    needs: Callable[[E], Iterable[Ref]] | None = None,
    processed_marker: Collection[Any] | None = None,
) -> On:
    """When `event` arrives, do `handler`. Several rows of one event run in the table's order, in one savepoint."""
    return On(event, handler, needs, processed_marker)


def when(
    timer: type[T], handler: Callable[[T, Tx], Awaitable[None]], *, needs: Callable[[T], Iterable[Ref]] | None = None
) -> On:
    """When `timer` is due, do `handler`. The timer is removed in the same transaction; the handler may set it anew."""
    return On(timer, handler, needs)


@dataclass(frozen=True, slots=True)
class EffectRequest(Generic[F]):
    """A vendor call that is due now; `id` is the vendor's idempotency key, `attempt` counts from 1."""

    id: str
    key: str
    effect: F
    attempt: int


@dataclass(frozen=True, slots=True)
class EffectResult(Generic[F]):
    """What the vendor said to a call: `result` is for the `done` handler; with a `retry` reason it is made again."""

    effect: F
    id: str
    key: str
    result: Any = None
    retry: str | None = None
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class EffectHandler:
    """One row of the table: how vendor calls of one kind are made, and what is done with the answers."""

    effect: type[Effect]
    execute: Callable[[Sequence[EffectRequest[Any]], Outside], Awaitable[Sequence[EffectResult[Any]]]]
    done: Callable[[EffectResult[Any], Tx], Awaitable[None]] | None
    expired: Callable[[Any, Tx], Awaitable[None]] | None
    deadline_seconds: float
    batch: int
    max_per_key: int
    every_answer: bool


def effect(  # noqa: PLR0913 - a row of the table is these facts
    effect: type[F],
    execute: Callable[[Sequence[EffectRequest[F]], Outside], Awaitable[Sequence[EffectResult[F]]]],
    *,
    done: Callable[[EffectResult[F], Tx], Awaitable[None]] | None = None,
    expired: Callable[[F, Tx], Awaitable[None]] | None = None,
    deadline_seconds: float = 5.0,
    batch: int = 100,
    max_per_key: int = 1,
    every_answer: bool = False,
) -> EffectHandler:
    """Make vendor calls of this kind with `perform`, then do `done` in a Tx with each answer.

    `perform` gets at most `batch` calls, each at the head of its key, and returns an Answer for each, in any order;
    a call without an Answer, an exception and a time-out are retried with back-off. Calls past their `not_after` go to
    `expired`. With `max_per_key`, up to so many of one key come together, in order: then it is for `perform` that none
    overtakes another, and that what follows a call that is to be made again is made again too.

    A call that is decided anew while it is made is made anew, and the answer to the one before is passed over; with
    `every_answer` it is done with that, too: a vendor that says a thing once may not say it again.
    """
    return EffectHandler(effect, execute, done, expired, deadline_seconds, batch, max_per_key, every_answer)


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of what is stored, made once by `migrate`; if interrupted, it runs again from its start."""

    number: int
    name: str
    run: Callable[[Database], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a service's own: `python -m <service> <name>`, with any of its `options`."""

    name: str
    does: str
    """In a few words, for the usage."""
    run: Callable[[Runtime, Sequence[str]], Awaitable[int]]
    """Gets the options that were given; returns the exit code."""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """A service on one page. Two rows may name the same event; a timer or an effect has one."""

    name: str
    router: APIRouter
    handlers: tuple[On, ...] = ()
    timers: tuple[On, ...] = ()
    effects: tuple[EffectHandler, ...] = ()
    collections: tuple[Collection[Any], ...] = ()
    settings: tuple[type[BaseSettings], ...] = ()
    migrations: tuple[Migration, ...] = ()
    commands: tuple[Command, ...] = ()
    remembers: tuple[On, ...] = ()
    """What `remember` does with the service's own events after a restore: it publishes nothing."""

    @property
    def package(self) -> str:
        """The import package, which also names the database: `rtc-control` is `rtc_control`."""
        return self.name.replace("-", "_")
