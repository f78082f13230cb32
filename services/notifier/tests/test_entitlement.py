"""Who is entitled to paid streaming: what sessions and the shop tell, and the rules."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts import (
    Event,
    PassActivatedV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.sessions import Remaining, Source, Statuses
from notifier.domain import entitlement
from notifier.domain.entitlement import Watcher

An = Callable[..., Event]

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
ALWAYS = datetime(9999, 1, 1, tzinfo=UTC)
S, V, G = "5" * 24, "7" * 24, "9" * 24  # a streamer, a viewer, a session


def broadcast(an: An, of: type[Event] = SessionStartedV1, known: Any = None, **changes: Any) -> entitlement.Broadcast:
    event: Any = an(of, streamer_id=S, **({"session_id": G} | changes))
    return entitlement.broadcast(known, event)


def authorized(an: An, known: Any = None, **changes: Any) -> entitlement.Permit:
    event: Any = an(SessionViewerAuthorizedV1, session_id=G, viewer_id=V, **changes)
    return entitlement.authorized(known, event, NOW)


def may(
    on_air: entitlement.Broadcast,
    permit: entitlement.Permit | None,
    *passes: entitlement.Pass,
    viewer_id: str = V,
    at: datetime = NOW,
) -> bool:
    return until(on_air, permit, *passes, viewer_id=viewer_id, at=at) is not None


def until(
    on_air: entitlement.Broadcast,
    permit: entitlement.Permit | None,
    *passes: entitlement.Pass,
    viewer_id: str = V,
    at: datetime = NOW,
) -> Any:
    """Until when; `ALWAYS` as long as the session is on."""
    grant = entitlement.may_watch_paid(Watcher(viewer_id, on_air, permit, passes), at)
    return None if grant is None else grant.until or ALWAYS


def showing(an: An, funding_goal_id: str, seconds: float = 600, **changes: Any) -> entitlement.Broadcast:
    """A show of this funding is on."""
    times = {"ticket_nbf": NOW, "ticket_exp": NOW + timedelta(seconds=seconds)}
    return broadcast(an, SessionUpdatedV1, exclusive_to=(), ticket_goal_id=funding_goal_id, **times, **changes)


def test_who_paid_is_entitled_from_nbf_by_a_clock_five_seconds_behind_until_before_exp(an: An) -> None:
    permit = authorized(an, reason="paid", nbf=NOW, exp=NOW + timedelta(seconds=60))

    def may_after(seconds: float) -> bool:
        return may(broadcast(an), permit, at=NOW + timedelta(seconds=seconds))

    assert [may_after(-5.001), may_after(-5), may_after(59.999), may_after(60)] == [False, True, True, False]


def test_nobody_is_entitled_without_a_permit_but_the_streamer(an: An) -> None:
    assert not may(broadcast(an), None)
    assert may(broadcast(an), None, viewer_id=S)


def test_nobody_is_entitled_off_air(an: An) -> None:
    permit = authorized(an, reason="private")

    assert not may(broadcast(an, SessionEndedV1, active=False), permit)
    assert not may(broadcast(an, SessionEndedV1, active=False), None, viewer_id=S)


def test_an_exclusive_session_is_its_viewers_alone(an: An) -> None:
    permit = authorized(an, reason="private")

    assert may(broadcast(an, SessionUpdatedV1, exclusive_to=(V,)), permit)
    assert not may(broadcast(an, SessionUpdatedV1, exclusive_to=("8" * 24,)), permit)


def test_a_kept_private_goal_entitles_without_time_and_what_gives_no_time_changes_none(an: An) -> None:
    paid = authorized(an, reason="paid", nbf=NOW, exp=NOW + timedelta(seconds=60))

    private = authorized(an, paid, reason="private", nbf=None, exp=None)
    closed = authorized(an, private, reason="exclusive_ended", nbf=None, exp=None)

    assert private.private
    assert (closed.nbf, closed.exp, closed.private) == (paid.nbf, paid.exp, True)


def revoked(an: An, known: Any, **remaining: Any) -> entitlement.Permit:
    left = Remaining(**{"nbf": None, "exp": None, "ticket": False, "private": False} | remaining)
    event: Any = an(SessionViewerRevokedV1, session_id=G, viewer_id=V, remaining=left)
    return entitlement.revoked(known, event, NOW)


def test_a_ticket_entitles_for_its_show_from_its_beginning_to_its_end(an: An) -> None:
    first, second = "1" * 24, "2" * 24
    ticket = authorized(an, reason="ticket", goal_id=first, nbf=None, exp=None)

    def may_after(seconds: float) -> bool:
        return may(showing(an, first, 60), ticket, at=NOW + timedelta(seconds=seconds))

    assert not may(broadcast(an), ticket)
    assert not may(showing(an, second), ticket)
    assert [may_after(-5.001), may_after(-5), may_after(59.999), may_after(60)] == [False, True, True, False]


def test_a_permission_ends_when_what_it_is_for_does_and_the_session_at_the_latest(an: An) -> None:
    funding, exp = "1" * 24, NOW + timedelta(seconds=60)
    ticket = authorized(an, reason="ticket", goal_id=funding, nbf=None, exp=None)
    paid = authorized(an, reason="paid", nbf=NOW, exp=exp)
    private = authorized(an, reason="private", nbf=None, exp=None)
    short = {"exp": NOW + timedelta(seconds=30)}

    assert until(showing(an, funding, 90), ticket) == NOW + timedelta(seconds=90)
    assert until(broadcast(an), paid) == exp
    assert until(broadcast(an), private) == until(broadcast(an), None, viewer_id=S) == ALWAYS
    for permit, who in ((ticket, V), (paid, V), (private, V), (None, S)):
        assert until(showing(an, funding, 90, **short), permit, viewer_id=who) == short["exp"]
        assert not may(showing(an, funding, 90, **short), permit, viewer_id=who, at=short["exp"])


def test_a_pass_entitles_while_it_runs_of_two_the_longer_one_counts(an: An) -> None:
    def a_pass(seconds: float, exp: float, kind: str = "livestream_pass") -> entitlement.Pass:
        times = {"nbf": NOW + timedelta(seconds=seconds), "exp": NOW + timedelta(seconds=exp)}
        event: Any = an(PassActivatedV1, user_id=V, pass_kind=kind, **times)
        made = entitlement.activated(None, event, NOW)
        assert made is not None
        return made

    assert not may(broadcast(an), None, a_pass(6, 60))
    assert not may(broadcast(an), None, a_pass(-60, 0))
    assert until(broadcast(an), None, a_pass(0, 60), a_pass(0, 90, f"livestream_pass_{S}")) == NOW + timedelta(
        seconds=90
    )
    assert not may(broadcast(an, SessionUpdatedV1, exclusive_to=("8" * 24,)), None, a_pass(0, 60))


def test_what_was_told_of_a_pass_before_the_last_word_changes_nothing(an: An) -> None:
    event: Any = an(PassActivatedV1, user_id=V)
    known = entitlement.activated(None, event, NOW)

    assert entitlement.activated(known, event, NOW - timedelta(seconds=1)) is None
    assert entitlement.activated(known, event, NOW) == known


def test_all_that_is_told_of_the_session_is_another_revision(an: An) -> None:
    on_air = broadcast(an)
    later = broadcast(an, SessionUpdatedV1, on_air)

    assert later.revision > on_air.revision
    touched = entitlement.touched(later, G)
    assert touched is not None
    assert touched.revision > later.revision
    assert entitlement.touched(later, "a" * 24) is None


def test_the_room_of_paid_streaming_is_that_of_its_newest_source(an: An) -> None:
    def source(room_id: str, preset: Any = None) -> Source:
        return Source(room_id=room_id, session_id=G, task_id="t", kind="obs", preset=preset)

    def room(preset: str, *sources: Source) -> str | None:
        return broadcast(an, SessionUpdatedV1, preset=preset, sources=sources).room_id

    assert room("sd", source("a"), source("b"), source("c", "preview")) == "b"
    assert room("preview", source("a"), source("b", "sd")) == "b"
    assert room("preview", source("a")) is None


def test_a_revocation_leaves_what_remains_and_nothing_else(an: An) -> None:
    first, exp = "1" * 24, NOW + timedelta(seconds=60)
    ticket = authorized(an, reason="ticket", goal_id=first, nbf=None, exp=None)
    all_of_it = authorized(an, authorized(an, ticket, reason="private"), reason="paid", nbf=NOW, exp=exp)
    on = showing(an, first)

    assert revoked(an, all_of_it, ticket=True) == ticket
    assert revoked(an, all_of_it, private=True) == entitlement.Permit(ticket.id, NOW, private=True)
    assert revoked(an, all_of_it, nbf=NOW, exp=exp) == entitlement.Permit(ticket.id, NOW, NOW, exp, over_at=exp)
    assert may(on, revoked(an, all_of_it, ticket=True))
    assert not may(on, revoked(an, all_of_it))
    assert not may(on, revoked(an, None, ticket=True))


def test_an_older_session_never_replaces_a_newer_one(an: An) -> None:
    newer = broadcast(an, session_id="a" * 24, statuses=Statuses(created=NOW, ended=None))
    end = Statuses(created=NOW - timedelta(hours=1), ended=NOW)

    assert broadcast(an, SessionEndedV1, newer, active=False, statuses=end) == newer
