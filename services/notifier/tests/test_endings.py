"""What ends by time alone cuts too: minutes that are used up, the show of a ticket, a pass (SPEC §6)."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from chassis_testing.service import ServiceHarness
from contracts import (
    Event,
    PassActivatedV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.sessions import Remaining, Statuses
from notifier.domain import endings
from notifier.domain.cuts import Cut
from notifier.domain.endings import MinutesOver, PassesOver, TicketsOver
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

S, T, V, W, G, FUNDING = "5" * 24, "6" * 24, "7" * 24, "8" * 24, "9" * 24, "f" * 24
MINUTE = 60.0


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE)


class Broadcasting:
    """S is on air, and what is told of those who watch."""

    def __init__(self, harness: ServiceHarness, an: An) -> None:
        self.harness, self._an = harness, an
        self._began = harness.now

    def _session(self, of: type[Event], **changes: Any) -> Event:
        statuses = Statuses(created=self._began, ended=None)
        plain = {"streamer_id": S, "session_id": G, "exclusive_to": (), "statuses": statuses}
        return self._an(of, **(plain | changes))

    def started(self, **changes: Any) -> Event:
        return self._session(SessionStartedV1, **changes)

    def shows(self, funding_goal_id: str | None, seconds: float = MINUTE) -> Event:
        """Tickets of this funding let watch for so long; None: its show has ended."""
        times = {"ticket_nbf": self.harness.now, "ticket_exp": self.harness.now + timedelta(seconds=seconds)}
        return self._session(
            SessionUpdatedV1, ticket_goal_id=funding_goal_id, **(times if funding_goal_id is not None else {})
        )

    def ended(self) -> Event:
        return self._session(SessionEndedV1, active=False)

    def pays(self, viewer_id: str, seconds: float = MINUTE) -> Event:
        """The viewer may watch for so long from now on."""
        return self._authorized(
            viewer_id, reason="paid", nbf=self.harness.now, exp=self.harness.now + timedelta(seconds=seconds)
        )

    def holds_ticket(self, viewer_id: str) -> Event:
        return self._authorized(viewer_id, reason="ticket", goal_id=FUNDING, nbf=None, exp=None)

    def has_private_right(self, viewer_id: str) -> Event:
        return self._authorized(viewer_id, reason="private", nbf=None, exp=None)

    def has_left(self, viewer_id: str, seconds: float) -> Event:
        exp = self.harness.now + timedelta(seconds=seconds)
        remaining = Remaining(nbf=self.harness.now, exp=exp, ticket=False, private=False)
        of = {"streamer_id": S, "session_id": G, "viewer_id": viewer_id}
        return self._an(SessionViewerRevokedV1, **of, remaining=remaining)

    def has_pass(self, user_id: str, kind: str = "livestream_pass", seconds: float = MINUTE) -> Event:
        times = {"nbf": self.harness.now, "exp": self.harness.now + timedelta(seconds=seconds)}
        return self._an(PassActivatedV1, user_id=user_id, pass_kind=kind, **times)

    def _authorized(self, viewer_id: str, **changes: Any) -> Event:
        of = {"streamer_id": S, "session_id": G, "viewer_id": viewer_id}
        return self._an(SessionViewerAuthorizedV1, **of, **changes)

    async def hears(self, *events: Event) -> None:
        await self.harness.handle(*events)

    async def cut_after(self, seconds: float) -> list[str]:
        """Who is cut by then who was not before."""
        before = await self._cut()
        self.harness.clock.advance(seconds)
        await self.harness.run_timers()
        return (await self._cut())[len(before) :]

    async def _cut(self) -> list[str]:
        return [one.user_id for one in await self.harness.effects() if isinstance(one, Cut)]

    async def set_for(self, *kinds: type) -> int:
        """How many timers of these kinds are set."""
        return sum(isinstance(one, kinds) for one in await self.harness.timers())


@pytest.fixture
async def on_air(harness: ServiceHarness, an: An) -> Broadcasting:
    broadcasting = Broadcasting(harness, an)
    await broadcasting.hears(broadcasting.started())
    return broadcasting


# -- minutes -----------------------------------------------------------------------------------------------------------


async def test_who_has_used_up_their_minutes_is_cut_a_second_or_two_later(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V, 59.2), on_air.pays(W, 60.0))

    assert await on_air.cut_after(60.9) == []
    assert sorted(await on_air.cut_after(0.1)) == [V, W]
    assert await on_air.cut_after(3_600) == []


async def test_minutes_that_were_extended_meanwhile_go_on(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V), on_air.pays(W))
    await on_air.hears(on_air.pays(V, 120))

    assert await on_air.cut_after(61) == [W]
    assert await on_air.cut_after(60) == [V]


async def test_who_buys_more_when_it_is_over_but_before_the_cut_is_not_cut(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V))
    on_air.harness.clock.advance(60.5)
    await on_air.hears(on_air.pays(V))

    assert await on_air.cut_after(1) == []


async def test_what_remains_of_minutes_that_were_taken_back_ends_by_time_too(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V, 600))
    await on_air.hears(on_air.has_left(V, 30))

    assert await on_air.cut_after(31) == [V]


@pytest.mark.parametrize("other", ["ticket", "private", "pass", "pass for this streamer"])
async def test_who_has_something_else_to_listen_by_is_not_cut(on_air: Broadcasting, other: str) -> None:
    remains: dict[str, Sequence[Event]] = {
        "ticket": (on_air.holds_ticket(V), on_air.shows(FUNDING, 600)),
        "private": (on_air.has_private_right(V),),
        "pass": (on_air.has_pass(V, seconds=600),),
        "pass for this streamer": (on_air.has_pass(V, f"livestream_pass_{S}", 600),),
    }
    await on_air.hears(on_air.pays(V), on_air.pays(W), *remains[other])

    assert await on_air.cut_after(61) == [W]


async def test_a_ticket_for_a_show_that_has_not_begun_is_nothing_to_listen_by(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V), on_air.holds_ticket(V))

    assert await on_air.cut_after(61) == [V]


async def test_a_pass_for_another_streamer_is_nothing_to_listen_by(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V), on_air.has_pass(V, f"livestream_pass_{T}", 600))

    assert await on_air.cut_after(61) == [V]


async def test_nobody_is_cut_by_time_of_a_session_that_is_over(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V))
    await on_air.hears(on_air.ended())

    assert await on_air.cut_after(61) == []


async def test_minutes_of_a_session_cut_nobody_from_the_one_that_followed(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.pays(V))
    later = Statuses(created=on_air.harness.now + timedelta(seconds=1), ended=None)
    await on_air.hears(on_air.ended(), on_air.started(session_id="a" * 24, statuses=later))

    assert await on_air.cut_after(61) == []


async def test_many_of_one_second_have_one_timer_which_works_in_slices(on_air: Broadcasting) -> None:
    many = [f"{number:024x}" for number in range(2 * endings.SLICE_MAX + 3)]
    await on_air.hears(*(on_air.pays(viewer) for viewer in many), on_air.pays(W, 61))

    assert await on_air.set_for(MinutesOver) == 2
    assert await on_air.cut_after(61) == many[: endings.SLICE_MAX]
    assert await on_air.cut_after(0.2) == many[endings.SLICE_MAX : -3]
    assert await on_air.cut_after(0.2) == many[-3:]
    assert await on_air.cut_after(0.6) == [W]


async def test_what_was_over_when_a_day_ago_was_told_of_cuts_nobody(on_air: Broadcasting) -> None:
    on_air.harness.clock.advance(86_400)
    old = on_air.pays(V, 0)
    await on_air.harness.handle(old, at=on_air.harness.now - timedelta(days=1))

    assert await on_air.set_for(MinutesOver) == 0


# -- tickets -----------------------------------------------------------------------------------------------------------


async def test_when_the_show_has_ended_its_ticket_holders_are_cut(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.holds_ticket(V), on_air.shows(FUNDING), on_air.holds_ticket(W))
    await on_air.hears(on_air.pays(W, 600))

    assert await on_air.cut_after(60.9) == []
    assert await on_air.cut_after(0.1) == [V]
    await on_air.hears(on_air.shows(None))
    assert await on_air.set_for(TicketsOver) == 0
    assert await on_air.cut_after(600) == [W]  # whose minutes are over, too


@pytest.mark.parametrize("after", [None, "e" * 24], ids=["ended early", "another follows"])
async def test_a_show_that_ends_early_cuts_its_holders_then(on_air: Broadcasting, after: str | None) -> None:
    await on_air.hears(on_air.holds_ticket(V), on_air.shows(FUNDING, 600))
    on_air.harness.clock.advance(10)
    await on_air.hears(on_air.shows(after, 600))

    assert await on_air.cut_after(1) == [V]
    assert await on_air.cut_after(600) == []


async def test_what_else_is_told_of_a_session_cuts_no_ticket_holder(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.holds_ticket(V), on_air.shows(FUNDING, 600))
    await on_air.hears(on_air.shows(FUNDING, 600))

    assert await on_air.set_for(TicketsOver) == 1
    assert await on_air.cut_after(500) == []


async def test_holders_of_tickets_are_cut_in_slices(on_air: Broadcasting) -> None:
    many = [f"{number:024x}" for number in range(endings.SLICE_MAX + 3)]
    await on_air.hears(on_air.shows(FUNDING), *(on_air.holds_ticket(viewer) for viewer in many))

    assert await on_air.cut_after(61) == many[: endings.SLICE_MAX]
    assert await on_air.cut_after(0.2) == many[-3:]


# -- passes ------------------------------------------------------------------------------------------------------------


async def test_who_has_a_pass_that_has_run_out_is_cut(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.has_pass(V), on_air.has_pass(W, f"livestream_pass_{S}", 60.5))

    assert await on_air.cut_after(61) == [V]
    assert await on_air.cut_after(1) == [W]


async def test_a_pass_that_was_renewed_goes_on(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.has_pass(V))
    await on_air.hears(on_air.has_pass(V, seconds=120))

    assert await on_air.cut_after(61) == []
    assert await on_air.cut_after(60) == [V]


async def test_a_pass_for_a_streamer_cuts_nobody_who_has_something_else_there(on_air: Broadcasting) -> None:
    mine = f"livestream_pass_{S}"
    await on_air.hears(on_air.has_pass(V, mine), on_air.has_pass(V, seconds=600))
    await on_air.hears(on_air.has_pass(W, mine), on_air.pays(W, 600))

    assert await on_air.cut_after(61) == []


async def test_a_pass_for_a_streamer_who_is_not_on_air_cuts_nobody(on_air: Broadcasting) -> None:
    await on_air.hears(on_air.has_pass(V, f"livestream_pass_{S}"), on_air.has_pass(W, f"livestream_pass_{T}"))
    await on_air.hears(on_air.ended())

    assert await on_air.cut_after(61) == []


async def test_passes_are_looked_at_in_slices_and_a_pass_told_of_long_ago_ends_too(on_air: Broadcasting) -> None:
    many = [f"{number:024x}" for number in range(endings.SLICE_MAX + 3)]
    passes = [on_air.has_pass(user, seconds=7 * 86_400) for user in many]
    await on_air.harness.handle(*passes, at=on_air.harness.now - timedelta(days=2))

    assert await on_air.set_for(PassesOver) == 1
    assert await on_air.cut_after(7 * 86_400 + 1) == many[: endings.SLICE_MAX]
    assert await on_air.cut_after(0.2) == many[-3:]
