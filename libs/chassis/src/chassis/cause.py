"""Why a transaction runs: carried from HTTP through events, timers and effects, and back."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True)  # not frozen, but never changed: thousands a second are made
class Cause:
    """What happened, and on whose behalf."""

    at: datetime
    """When it happened: an event's `ce_time`, a timer's due time, a command's arrival."""
    correlation_id: str
    """The request that started it all."""
    event_id: str | None = None
    """The event that is handled: the `ce_causationid` of what follows."""
    traceparent: str | None = None
    """W3C trace context."""
    client_id: str | None = None
    """The client of a command (`x-client-id`): the `triggerer` of what follows."""
    origin: str | None = None
    """What the ids of the events that follow derive from: a restored database, which decides once more what it has
    decided before, says so under the same ids. None for a command, which nothing brings again.
    """
