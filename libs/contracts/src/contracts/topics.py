"""The topics: one per owner, and what a broker must know of them. A topic's partition count is for ever."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from contracts.event import Topic

DAY_MILLISECONDS: Final = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """Partitions decide how many workers can share a topic; `keep_days` None keeps its messages for ever."""

    partitions: int = 12
    keep_days: int | None = 30

    @property
    def retention_ms(self) -> int:
        """How long messages are kept, in milliseconds; -1 is for ever."""
        return -1 if self.keep_days is None else self.keep_days * DAY_MILLISECONDS


TOPICS: Final[Mapping[Topic, TopicSpec]] = {
    "goals": TopicSpec(keep_days=None),
    "sessions": TopicSpec(),
    "escrow": TopicSpec(keep_days=None),
    "notifier": TopicSpec(),
    "rtc-control": TopicSpec(partitions=3),
    "shop": TopicSpec(keep_days=None),
}

DEAD_LETTERS: Final = TopicSpec(partitions=3)
"""The topic `<service>.dlq` of every service: copies of what it parked, for people."""


def spec_of(topic: str) -> TopicSpec | None:
    """What is known of a topic by its name without namespace."""
    return DEAD_LETTERS if topic.endswith(".dlq") else TOPICS.get(cast("Topic", topic))
