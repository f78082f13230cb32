"""What a newer release has written into the parts of a document stays there when an older one saves the document.

A part stays what it was under its own name: in a field, or in a map under its key. Of a list's parts, that is the same
one which is unchanged, or which alone has the same first field: the first field of such a part is its name, as `id` is
a document's. What is not there any more takes with it what it had.
"""

from collections.abc import Sequence
from typing import Any


def keep_unknown(new: Any, stored: Any, known: Any) -> Any:
    """`new`, with what `stored` has beyond `known`, which is all that was read of it."""
    if isinstance(new, dict) and isinstance(stored, dict) and isinstance(known, dict):
        unknown = {name: value for name, value in stored.items() if name not in known}
        kept = {name: keep_unknown(value, stored.get(name), known.get(name)) for name, value in new.items()}
        return unknown | kept
    if _are_lists(new, stored, known) and len(stored) == len(known):
        places = [_place(part, known) for part in new]
        return [
            part if place is None else keep_unknown(part, stored[place], known[place])
            for part, place in zip(new, places, strict=True)
        ]
    return new


def has_unknown(stored: Any, known: Any) -> bool:
    """Whether there is anything to keep; quick, for there seldom is."""
    if isinstance(stored, dict) and isinstance(known, dict):
        return any(
            name not in known or (isinstance(value, dict | list) and has_unknown(value, known[name]))
            for name, value in stored.items()
        )
    if isinstance(stored, list) and isinstance(known, list | tuple):
        return any(map(has_unknown, stored, known))
    return False


def _are_lists(*values: Any) -> bool:
    return all(isinstance(value, list | tuple) for value in values)


def _place(part: Any, known: Sequence[Any]) -> int | None:
    """Where `part` was, if it is certain."""
    if not isinstance(part, dict) or not part:
        return None
    if part in known:
        return known.index(part)
    name = next(iter(part.items()))
    places = [place for place, one in enumerate(known) if isinstance(one, dict) and name in one.items()]
    return places[0] if len(places) == 1 else None
