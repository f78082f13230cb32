"""What a decision of this service changes: whole documents, in the order in which their events are told."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from chassis.decision import At, Cancel, Decision
from contracts import Event

Changes = Decision[tuple[Any, ...]]
"""The documents to save, each of a class that `store` has a collection for, and what follows from them."""

NOTHING: Changes = Decision(())


def changed(*documents: Any, events: Iterable[Event] = (), timers: Iterable[At | Cancel] = ()) -> Changes:
    """Save `documents`, then tell `events` and set or cancel `timers`."""
    return Decision(documents, tuple(events), tuple(timers))


def joined(*parts: Changes) -> Changes:
    """All `parts` as one, in their order. The later state of a document wins."""
    return Decision(
        tuple(chain.from_iterable(part.state or () for part in parts)),
        tuple(chain.from_iterable(part.events for part in parts)),
        tuple(chain.from_iterable(part.timers for part in parts)),
    )
