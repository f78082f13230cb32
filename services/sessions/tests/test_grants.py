"""The arithmetic of time: exact, and the same in whatever order grants come."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import Prices, Remaining, SessionViewerAuthorizedV1, SessionViewerRevokedV1
from sessions.domain.changes import NOTHING, Changes
from sessions.domain.grants import Grant, Holder, Reason, folded, give, refolded, take_back
from sessions.domain.session import Session
from sessions.domain.viewer import Permission, Viewer

BEGIN = datetime(2026, 1, 31, 20, 0, tzinfo=UTC)
SESSION = Session(id="5" * 24, streamer_id="6" * 24, created=BEGIN, preset="sd", prices=Prices())
NOBODY_YET = Viewer("1" * 24, "5" * 24, "7" * 24)


class Books:
    """A viewer and grants as they are stored, and loaded as a handler does."""

    def __init__(self, grants: list[Grant]) -> None:
        self.viewer = NOBODY_YET
        self.grants: dict[str, Grant] = {}
        for one in grants:
            self.save(give(SESSION, self.holder(one), one))

    def holder(self, one: Grant) -> Holder:
        known = self.grants.get(one.id)
        latest = self.viewer.latest
        if latest is None or one.nbf > latest[0]:
            return Holder(self.viewer, (), known)
        return Holder(self.viewer, tuple(later for later in self.standing() if later.nbf >= one.nbf), known)

    def standing(self) -> list[Grant]:
        return sorted((one for one in self.grants.values() if one.stands), key=lambda one: one.place)

    def save(self, changes: Changes) -> None:
        for document in changes.state or ():
            if isinstance(document, Viewer):
                self.viewer = document
            elif isinstance(document, Grant):
                self.grants[document.id] = document

    def take_back(self, one: Grant, seconds: int) -> None:
        self.save(take_back(SESSION, self.holder(one), {one.id: seconds}, revoked))

    def add_up(self) -> bool:
        """Whether the viewer and every grant keep what those before them add up to."""
        viewer, placed = refolded(self.viewer, Permission(), self.standing())
        return (viewer, list(placed)) == (self.viewer, self.standing())


def grant(id_: str, at_seconds: float, duration: int, reason: Reason = "paid") -> Grant:
    nbf = BEGIN + timedelta(seconds=at_seconds)
    return Grant(id_, NOBODY_YET.session_id, NOBODY_YET.viewer_id, reason, nbf, duration)


def revoked(remaining: Remaining) -> SessionViewerRevokedV1:
    return SessionViewerRevokedV1(
        session_id=SESSION.id,
        streamer_id=SESSION.streamer_id,
        viewer_id=NOBODY_YET.viewer_id,
        reason="reversed",
        remaining=remaining,
    )


@pytest.mark.parametrize(
    ("grants", "nbf", "duration", "exp"),
    [
        ([], None, 0, None),
        ([grant("a" * 24, 0, 360)], 0, 360, 360),
        ([grant("a" * 24, 0, 360), grant("b" * 24, 300, 60)], 0, 420, 420),
        ([grant("a" * 24, 0, 60), grant("b" * 24, 100, 60)], 0, 120, 160),
        ([grant("b" * 24, 0, 60), grant("a" * 24, 0, 120)], 0, 180, 180),
        ([grant("a" * 24, 0, 60), replace(grant("b" * 24, 10, 60), stands=False)], 0, 60, 60),
    ],
    ids=["none", "one", "while it runs", "after a gap", "at once", "one taken back"],
)
def test_time_adds_up_as_specified(grants: list[Grant], nbf: int | None, duration: int, exp: int | None) -> None:
    viewer = folded(grants)

    assert viewer.nbf == (None if nbf is None else BEGIN + timedelta(seconds=nbf))
    assert viewer.duration == duration
    assert viewer.exp == (None if exp is None else BEGIN + timedelta(seconds=exp))


some_grants = st.lists(
    st.builds(grant, st.uuids().map(lambda uuid: uuid.hex[:24]), st.integers(0, 1_000), st.integers(0, 3_600)),
    max_size=8,
    unique_by=lambda one: one.id,
)


@given(some_grants.flatmap(lambda grants: st.tuples(st.just(grants), st.permutations(grants))))
def test_grants_give_the_same_time_in_whatever_order_they_come(orders: tuple[list[Grant], list[Grant]]) -> None:
    one, other = orders

    assert folded(one) == folded(other)


@given(some_grants)
def test_nobody_has_less_than_was_paid_for(grants: list[Grant]) -> None:
    viewer = folded(grants)

    assert viewer.duration == sum(one.duration for one in grants)
    if viewer.nbf is not None and viewer.exp is not None:
        assert viewer.exp - viewer.nbf >= timedelta(seconds=viewer.duration)


@given(some_grants)
def test_giving_one_by_one_is_folding_all(grants: list[Grant]) -> None:
    books = Books(grants)

    assert books.viewer.permission == folded(grants)
    assert books.add_up()


@given(some_grants, st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3_601)), min_size=8, max_size=8))
def test_whatever_is_given_and_taken_back_the_permission_is_the_fold_of_what_stands(
    grants: list[Grant], taken: list[tuple[int, int]]
) -> None:
    books = Books([])
    for one, (which, seconds) in zip(grants, taken, strict=False):
        books.save(give(SESSION, books.holder(one), one))
        if which < len(books.standing()):
            books.take_back(books.standing()[which], seconds)

        assert books.viewer.permission == folded(books.grants.values())
        assert books.add_up()


@given(some_grants, st.integers(0, 8))
def test_taking_back_leaves_what_the_others_give(grants: list[Grant], count: int) -> None:
    gone = {one.id: one.duration for one in grants[:count]}
    books = Books(grants)

    taken = take_back(SESSION, Holder(books.viewer, tuple(books.standing())), gone, revoked)

    if not gone:
        assert taken == NOTHING
        return
    books.save(taken)
    assert books.viewer.permission == folded(grants[count:])
    (event,) = taken.events
    assert isinstance(event, SessionViewerRevokedV1)
    assert (event.remaining.nbf, event.remaining.exp) == (books.viewer.nbf, books.viewer.exp)


@given(some_grants)
def test_what_comes_last_needs_no_grant_before_it(grants: list[Grant]) -> None:
    in_order = sorted(grants, key=lambda one: one.place)
    viewer = NOBODY_YET
    for one in in_order:
        _, viewer, *_ = give(SESSION, Holder(viewer), one).state or ()

    assert viewer.permission == folded(grants)


def test_a_cause_gives_once() -> None:
    one = grant("a" * 24, 0, 60)

    assert give(SESSION, Books([one]).holder(one), one) == NOTHING


def test_a_cause_that_was_taken_back_gives_nothing_again() -> None:
    fallen = replace(grant("a" * 24, 0, 60), stands=False)

    assert give(SESSION, Holder(NOBODY_YET, (), fallen), grant("a" * 24, 0, 60)) == NOTHING


def test_what_was_taken_back_is_not_taken_again() -> None:
    fallen = replace(grant("a" * 24, 0, 60), stands=False)

    assert take_back(SESSION, Holder(NOBODY_YET, (), fallen), {fallen.id: 60}, revoked) == NOTHING


def test_who_is_given_time_is_told_the_whole_of_it() -> None:
    books = Books([grant("a" * 24, 0, 60)])
    late = grant("b" * 24, 30, 120)

    (event,) = give(SESSION, books.holder(late), late).events

    assert isinstance(event, SessionViewerAuthorizedV1)
    assert (event.nbf, event.duration, event.exp) == (BEGIN, 120, BEGIN + timedelta(seconds=180))
    assert (event.payment_id, event.reason) == ("b" * 24, "paid")
