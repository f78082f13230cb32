"""Places in a list, as clients carry them from page to page, and what was shown beyond such a place already.

What a list is sorted by, a moment or an id with a moment in it, is decided when a transaction begins; it is seen when
that has committed. So in between an item may appear before others that were shown. A place therefore never goes beyond
what can still change: of the items after it that were shown a cursor carries the ids.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chassis.clock import from_unix, unix

CURSOR_LENGTH_MAX: Final = 4_096  # characters; a URL may have twice as many
SETTLED_AFTER: Final = timedelta(seconds=65)  # a transaction ends within 60 s, and clocks differ by less than 5
SHOWN_MAX: Final = 100  # ids in a cursor. Who writes more than that within a minute is followed less far back

_ID_LENGTH: Final = 24  # of an id that `new_id` made: its first 8 digits are the seconds since the epoch
_INT_BITS = 64  # MongoDB's integers

Value = str | int | datetime


class NotACursorError(Exception):
    """It was not made here."""


@dataclass(frozen=True, slots=True)
class Place:
    """Behind one item: what it is sorted by, and its id."""

    value: Value
    id: str

    @classmethod
    def of(cls, document: Any, by: str) -> "Place":
        """That of a document in a list which is sorted by this field."""
        return cls(getattr(document, by), document.id)

    def is_settled(self, now: datetime) -> bool:
        """Whether nothing can appear before it any more; of what is not sorted by time nobody can say, so it is."""
        moment = self.value if isinstance(self.value, datetime) else _made_at(self.value)
        return moment is None or moment < now - SETTLED_AFTER

    def beyond(self, by: str, *, newest_first: bool) -> Sequence[Mapping[str, Any]]:
        """The conditions of which one holds for what comes after it; scalars only, whatever the cursor was made of."""
        later = "$lt" if newest_first else "$gt"
        if by == "id":
            return [{"_id": {later: self.id}}]
        return [{by: {later: self.value}}, {by: self.value, "_id": {later: self.id}}]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a client has read."""

    place: Place | None = None
    """Everything up to here was shown; None: nothing is settled yet."""
    shown: tuple[str, ...] = ()
    """The ids of what was shown beyond it, the oldest first."""

    def after(self, found: Sequence[Place], last: str, now: datetime, *, all_seen: bool) -> "Cursor":
        """Once what was `found` beyond the place is shown as far as the id `last`, and nothing after it but what was.

        `all_seen` says that there is nothing more: of what was shown and is not there any more nothing need be kept.
        """
        ids = [one.id for one in found]
        read = ids.index(last) + 1
        there = [*ids[:read], *(id_ for id_ in ids[read:] if id_ in self.shown)]
        elsewhere = [] if all_seen else [id_ for id_ in self.shown if id_ not in ids]
        settled = next((n for n, one in enumerate(found[:read]) if not one.is_settled(now)), read)
        settled = max(settled, min(read, len(there) + len(elsewhere) - SHOWN_MAX))
        place = found[settled - 1] if settled else self.place
        return Cursor(place, (*there[settled:], *elsewhere))

    def text(self) -> str:
        """For a URL."""
        where: list[Any] = ["", "", "none"]
        if self.place is not None:
            value, id_ = self.place.value, self.place.id
            where = [unix(value), id_, "t"] if isinstance(value, datetime) else [value, id_, "v"]
        return (
            urlsafe_b64encode(json.dumps([*where, *self.shown], separators=(",", ":")).encode()).rstrip(b"=").decode()
        )

    @classmethod
    def parsed(cls, text: str) -> "Cursor":
        """The inverse of `text`; of a cursor of an older release, too.

        Raises:
            NotACursorError: it is none.
        """
        try:
            parts = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            match parts:
                case ["", "", "none", *shown]:
                    return cls(None, _texts(shown))
                case [int() | float() as seconds, str() as id_, "t", *shown] if not isinstance(seconds, bool):
                    return cls(Place(from_unix(seconds), _text(id_)), _texts(shown))
                case [str() | int() as value, str() as id_, "v", *shown]:
                    return cls(Place(_scalar(value), _text(id_)), _texts(shown))
                case [str() | int() as value, str() as id_]:
                    return cls(Place(_scalar(value), _text(id_)))
                case _:
                    raise NotACursorError
        except (ValueError, OverflowError, RecursionError):
            raise NotACursorError from None


def _made_at(id_: str | int) -> datetime | None:
    """When an id was made, if it says so."""
    if not isinstance(id_, str) or len(id_) != _ID_LENGTH:
        return None
    try:
        return datetime.fromtimestamp(int(id_[:8], 16), UTC)
    except ValueError:
        return None


def _scalar(value: str | int) -> str | int:
    """MongoDB's integers have 64 bits."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value.bit_length() >= _INT_BITS:
        raise NotACursorError
    return value


def _texts(values: Collection[Any]) -> tuple[str, ...]:
    if len(values) > SHOWN_MAX or not all(isinstance(one, str) for one in values):
        raise NotACursorError
    return tuple(map(_text, values))


def _text(value: str) -> str:
    """MongoDB's strings are UTF-8, which half of a surrogate pair is not; JSON lets it pass. Raises ValueError."""
    value.encode()
    return value
