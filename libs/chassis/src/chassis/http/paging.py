"""Lists: cursor-paged, at most 100 items, in a total order (SPEC §2: by time of writing, newest last or first)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import structlog
from fastapi import Depends, Query

from chassis.http.cursors import CURSOR_LENGTH_MAX, Cursor, NotACursorError, Place
from chassis.http.problems import invalid
from chassis.runtime.logs import reason
from chassis.storage.collection import Collection, D, UnreadableError
from chassis.storage.tx import Tx

I = TypeVar("I")  # noqa: E741 - an item

LIMIT_MAX = 100  # SPEC §2
LIMIT_DEFAULT = 50

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Page(Generic[I]):
    """One page of a list.

    `next` is the `after` of the following page, null on the last; `last` is the cursor of the last item shown, of an
    empty page the `after` that was given: with it a client asks for what comes later.
    """

    items: list[I]
    next: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Slice:
    """Which page is asked for."""

    limit: int
    after: str | None
    newest_first: bool = False


Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items at most")]
After = Annotated[
    str | None,
    Query(
        max_length=CURSOR_LENGTH_MAX, pattern="^[A-Za-z0-9_-]+$", description="`next`, or `last`, of the page before"
    ),
]
Order = Annotated[Literal["asc", "desc"], Query(description="`desc`: the newest first")]


def _slice(limit: Limit = LIMIT_DEFAULT, after: After = None, order: Order = "asc") -> Slice:
    return Slice(limit, after, order == "desc")


def _ranked_slice(limit: Limit = LIMIT_DEFAULT, after: After = None) -> Slice:
    return Slice(limit, after)


PageDep = Annotated[Slice, Depends(_slice)]
"""Adds `limit`, `after` and `order` to an endpoint whose list is in the order of time."""

RankedPageDep = Annotated[Slice, Depends(_ranked_slice)]
"""Adds `limit` and `after` to an endpoint whose list has an order of its own."""


async def paged(
    tx: Tx,
    collection: Collection[D],
    where: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    wanted: Slice,
    item: Callable[[D], I],
    *,
    by: str = "id",
) -> Page[I]:
    """One page of the documents that match, each shown as `item`, in the order of the field `by` and then of ids.

    `where` names values of fields, or is alternatives of such: with an operator in it, MongoDB would sort all that
    match anew for each page. `by` is a field of strings, integers or datetimes; ids made by `new_id` are in order of
    writing already. From `last` on, oldest first, nothing is skipped and nothing shown twice, also of what commits late
    (`cursors`). Needs an index on the fields of each `where`, `by` and `_id`. What this release cannot read is left
    out: one document must not take a list from everybody.

    Raises:
        InvalidRequest: the cursor is not one of this list.
        UnreadableError: nothing of a whole page can be read.
    """
    cursor = _cursor(wanted)
    direction = -1 if wanted.newest_first else 1
    sort = {"_id": direction} if by == "id" else {by: direction, "_id": direction}
    beyond = cursor.place.beyond(by, newest_first=wanted.newest_first) if cursor.place else [{}]
    # Each alternative whole: MongoDB then walks one index for each, and merges them in order.
    either = [{**one, **later} for one in ([where] if isinstance(where, Mapping) else where) for later in beyond]
    query = either[0] if len(either) == 1 else {"$or": either}
    unreadable: dict[str, UnreadableError] = {}
    limit = wanted.limit + 1 + len(cursor.shown)
    found = await tx.find(collection, query, sort=sort, limit=limit, unreadable=unreadable)
    for error in unreadable.values():
        _log.error("left out of a list", error=reason(error))
        if not found and len(unreadable) > wanted.limit:
            raise error  # nobody knows where the next page begins
    places = [Place.of(document, by) for document in found]
    fresh = [document for document, place in zip(found, places, strict=True) if place.id not in cursor.shown]
    shown = fresh[: wanted.limit]
    last = wanted.after
    if shown:
        end = Place.of(shown[-1], by)
        all_seen = len(found) + len(unreadable) < limit
        read = Cursor(end) if wanted.newest_first else cursor.after(places, end.id, tx.now, all_seen=all_seen)
        last = read.text()
    is_more = len(fresh) + len(unreadable) > wanted.limit
    return Page(items=[item(document) for document in shown], next=last if is_more else None, last=last)


def _cursor(wanted: Slice) -> Cursor:
    """Where the page begins. Whoever reads backwards has seen nothing of what lies before it."""
    if wanted.after is None:
        return Cursor()
    try:
        cursor = Cursor.parsed(wanted.after)
    except NotACursorError:
        raise invalid("after", "is not a cursor of this list") from None
    return Cursor(cursor.place) if wanted.newest_first else cursor
