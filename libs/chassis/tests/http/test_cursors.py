"""A client that polls sees each item once, however late what it is sorted by became visible."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.http.cursors import CURSOR_LENGTH_MAX, SETTLED_AFTER, SHOWN_MAX, Cursor, NotACursorError, Place

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATE_SECONDS_MAX = 60


def id_of(number: int, seconds: float = 0) -> str:
    """An id as `new_id` makes them."""
    return f"{int((NOON + timedelta(seconds=seconds)).timestamp()):08x}{number:016x}"


@dataclass(frozen=True)
class Row:
    """One that is sorted by when its transaction began, and there once that has committed."""

    number: int
    began: float
    late: float

    @property
    def place(self) -> Place:
        return Place(NOON + timedelta(seconds=self.began), id_of(self.number, self.began))


def page(rows: list[Row], cursor: Cursor, now: float, limit: int) -> tuple[list[int], Cursor]:
    """What a list shows of the rows that are there by now, as `paged` does."""
    there = sorted((row for row in rows if row.began + row.late <= now), key=lambda row: (row.began, row.place.id))
    after = cursor.place
    beyond = [row for row in there if after is None or (row.place.value, row.place.id) > (after.value, after.id)]
    window = limit + 1 + len(cursor.shown)
    found = beyond[:window]
    shown = [row for row in found if row.place.id not in cursor.shown][:limit]
    if not shown:
        return [], cursor
    places = [row.place for row in found]
    moved = cursor.after(places, shown[-1].place.id, NOON + timedelta(seconds=now), all_seen=len(found) < window)
    return [row.number for row in shown], Cursor.parsed(moved.text())


@given(
    began=st.lists(st.integers(0, 200), min_size=1, max_size=40),
    late=st.lists(st.integers(0, LATE_SECONDS_MAX), min_size=40, max_size=40),
    polls=st.lists(st.integers(0, 300), max_size=60),
    limit=st.integers(1, 5),
)
def test_whoever_polls_sees_each_row_once_however_late_it_commits(
    began: list[int], late: list[int], polls: list[int], limit: int
) -> None:
    rows = [Row(number, at, after) for number, (at, after) in enumerate(zip(began, late, strict=False))]
    seen: list[int] = []
    cursor = Cursor()
    for now in [*sorted(polls), *([400] * 41)]:
        shown, cursor = page(rows, cursor, now, limit)
        seen += shown

    assert sorted(seen) == [row.number for row in rows]


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=200))
def test_a_cursor_stays_short_enough_for_a_url_and_forgets_what_is_settled(began: list[int]) -> None:
    rows = [Row(number, at, 0) for number, at in enumerate(began)]
    cursor = Cursor()
    for now in range(0, 1_001, 100):
        shown = [0]
        while shown:
            shown, cursor = page(rows, cursor, now, 100)
            assert len(cursor.text()) <= CURSOR_LENGTH_MAX
            assert len(cursor.shown) <= SHOWN_MAX
    settled = max(began) + SETTLED_AFTER.total_seconds() + 1
    later = [*rows, Row(len(rows), settled, 0)]

    _, cursor = page(later, cursor, settled, 100)

    assert cursor.shown == (later[-1].place.id,)


def test_what_is_sorted_by_no_time_is_settled_at_once() -> None:
    for place in (Place(7, "a"), Place("wallet:x", "wallet:x"), Place("z" * 24, "z" * 24)):
        assert place.is_settled(NOON)
    assert not Place(id_of(1), id_of(1)).is_settled(NOON + timedelta(seconds=64))
    assert Place(id_of(1), id_of(1)).is_settled(NOON + timedelta(seconds=66))


def test_a_cursor_of_an_older_release_is_read() -> None:
    assert Cursor.parsed("WyJhIiwgImIiXQ") == Cursor(Place("a", "b"))
    assert Cursor.parsed("WzE3OTU4NjgwMDAuMCwgImIiLCAidCJd").place is not None


@pytest.mark.parametrize("shown", [[1], [["x"]], [None], ["x"] * (SHOWN_MAX + 1), ["\ud800"]])
def test_what_was_shown_are_ids_and_not_too_many(shown: list[object]) -> None:
    forged = Cursor(Place("a", "b"), tuple(shown))  # type: ignore[arg-type]  # it is forged

    with pytest.raises(NotACursorError):
        Cursor.parsed(forged.text())
