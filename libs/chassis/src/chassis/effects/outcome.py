"""What is to be called, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from chassis.decision import Effect
from chassis.effects.model import EFFECTS, StoredEffect
from chassis.errors import NotYet
from chassis.runtime.logs import reason
from chassis.service import EffectResult
from chassis.storage.collection import UnreadableError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call: an answer, a reason to try again, or neither when its time was over."""

    stored: StoredEffect
    effect: Effect | None = None
    answer: EffectResult[Any] | None = None
    retry: str | None = None
    retry_after_seconds: float | None = None
    failure: Exception | None = None
    """Why it failed here, whatever the vendor said."""

    def answered(self, answer: EffectResult[Any] | None, why: str) -> "Outcome":
        """The same call with the vendor's `answer`; or without one, because of `why`."""
        if answer is None:
            return replace(self, retry=why)
        if answer.retry is not None:
            return replace(self, retry=answer.retry, retry_after_seconds=answer.retry_after_seconds)
        return replace(self, answer=answer)

    def failed_here(self, error: Exception) -> "Outcome":
        """The same call, to be tried again because of `error`. An event that has yet to come is no failure."""
        return replace(self, retry=reason(error), failure=None if isinstance(error, NotYet) else error)


def read_in_turn(effect: type[Effect], batch: Sequence[StoredEffect], now: datetime) -> list[Outcome]:
    """What is to be called, but for what is behind one of its key that cannot be read and whose time is not over."""
    read: list[Outcome] = []
    stuck: set[str] = set()
    for stored in batch:
        if stored.key not in stuck:
            one = _read(effect, stored)
            read.append(one)
            if one.retry is not None and not is_over(stored, now):
                stuck.add(stored.key)
    return read


def _read(effect: type[Effect], stored: StoredEffect) -> Outcome:
    try:
        return Outcome(stored, effect.model_validate(stored.data))
    except ValidationError as error:
        return Outcome(stored).failed_here(UnreadableError(EFFECTS.name, stored.id, error))


def is_over(stored: StoredEffect, now: datetime) -> bool:
    """Whether a call must not be made any more."""
    return stored.not_after is not None and stored.not_after <= now
