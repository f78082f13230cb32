"""What a pure decision returns: the new state and everything that follows from it."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from contracts import Event

S_co = TypeVar("S_co", covariant=True)


class _Message(BaseModel):
    """A stored message to oneself; its name is a literal, so that moving a class never breaks what is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    NAME: ClassVar[str]

    def __init_subclass__(cls, *, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.NAME = name


class Timer(_Message, name="timer"):
    """Something to look at later: `class FundingRefundDue(Timer, name="funding-refund-due")`."""


class Effect(_Message, name="effect"):
    """A call to a vendor, made after the transaction that decided it: `class Push(Effect, name="push")`."""


@dataclass(frozen=True, slots=True)
class At:
    """Set `timer` for `due`, never earlier. The same id sets it anew; `key` is the session or user it concerns."""

    timer: Timer
    id: str
    due: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Remove the timer with this id, if it is still set."""

    id: str


@dataclass(frozen=True, slots=True)
class Call:
    """Make the vendor call `effect`: one at a time per `key` and in order; `id` is the vendor's idempotency key.

    After `not_after` it is not made any more, and the table's `expired` handler hears of it.
    """

    effect: Effect
    id: str
    key: str
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision(Generic[S_co]):
    """The state to save, the events to publish, the timers to set or cancel and the vendor calls to make, in order.

    `state` is None when nothing is to be saved.
    """

    state: S_co | None
    events: tuple[Event, ...] = ()
    timers: tuple[At | Cancel, ...] = ()
    effects: tuple[Call, ...] = ()

    def then(
        self, *, events: Iterable[Event] = (), timers: Iterable[At | Cancel] = (), effects: Iterable[Call] = ()
    ) -> "Decision[S_co]":
        """The same decision with more following from it."""
        return Decision(self.state, (*self.events, *events), (*self.timers, *timers), (*self.effects, *effects))


def derived_id(*cause: str) -> str:
    """The id that follows from `cause`: the same cause always gives the same id, so nothing happens twice (SPEC §9)."""
    return hashlib.sha256(":".join(cause).encode()).hexdigest()[:24]
