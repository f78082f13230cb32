"""Lists: cursor-paged, at most 100 items, in a total order (SPEC §2: by time of writing, newest last or first)."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import structlog
from fastapi import Depends, Query

from chassis.clock import from_unix, unix
from chassis.http.problems import InvalidRequest, invalid
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
    str | None, Query(max_length=512, pattern="^[A-Za-z0-9_-]+$", description="`next`, or `last`, of the page before")
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
    writing already. Needs an index on the fields of each `where`, `by` and `_id`. What this release cannot read is left
    out: one document must not take a list from everybody.

    Raises:
        InvalidRequest: the cursor is not one of this list.
        UnreadableError: nothing of a whole page can be read.
    """
    direction = -1 if wanted.newest_first else 1
    sort = {"_id": direction} if by == "id" else {by: direction, "_id": direction}
    beyond = _beyond(wanted.after, by, "$lt" if wanted.newest_first else "$gt") if wanted.after else [{}]
    # Each alternative whole: MongoDB then walks one index for each, and merges them in order.
    either = [{**one, **later} for one in ([where] if isinstance(where, Mapping) else where) for later in beyond]
    query = either[0] if len(either) == 1 else {"$or": either}
    unreadable: dict[str, UnreadableError] = {}
    found = await tx.find(collection, query, sort=sort, limit=wanted.limit + 1, unreadable=unreadable)
    for error in unreadable.values():
        _log.error("left out of a list", error=reason(error))
        if not found and len(unreadable) > wanted.limit:
            raise error  # nobody knows where the next page begins
    shown = found[: wanted.limit]
    last = _cursor(shown[-1], by) if shown else wanted.after
    is_more = len(found) + len(unreadable) > wanted.limit
    return Page(items=[item(document) for document in shown], next=last if is_more else None, last=last)


def _cursor(last: Any, by: str) -> str:
    value = getattr(last, by)
    place = [unix(value), last.id, "t"] if isinstance(value, datetime) else [value, last.id]
    return urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def _beyond(cursor: str, by: str, later: str) -> Sequence[Mapping[str, Any]]:
    """The conditions of which one holds for what comes after `cursor`; scalars only, whatever it was made of."""
    value, id_ = _place(cursor)
    if by == "id":
        return [{"_id": {later: id_}}]
    return [{by: {later: value}}, {by: value, "_id": {later: id_}}]


def _place(cursor: str) -> tuple[str | int | datetime, str]:
    try:
        place = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        match place:
            case [str() | int() as value, str() as id_]:
                return _scalar(value), _text(id_)
            case [int() | float() as seconds, str() as id_, "t"]:
                return from_unix(seconds), _text(id_)
            case _:
                raise _not_ours()
    except (ValueError, OverflowError, RecursionError):
        raise _not_ours() from None


def _scalar(value: str | int) -> str | int:
    """MongoDB's integers have 64 bits."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value.bit_length() >= 64:  # noqa: PLR2004 - an int64 has so many bits
        raise _not_ours()
    return value


def _text(value: str) -> str:
    """MongoDB's strings are UTF-8, which half of a surrogate pair is not; JSON lets it pass. Raises ValueError."""
    value.encode()
    return value


def _not_ours() -> InvalidRequest:
    return invalid("after", "is not a cursor of this list")
