"""SPEC §10, who acts on what, as it stands there: every cell of the services that exist, acting (`A`) or not (`·`).

One long scenario is played in which every event of these tables happens, each goal with each outcome. Each event is
handled alone, and what it did then (documents, timers, events, pushes) is noted; the tables are drawn from these notes.
The tables below are the page's, with a column for each outcome that makes a difference, and again for goals that end
with their session. Some of its cells are missing: escrow needs no projection of sessions, as each event that it settles
by names its streamer.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import contracts
from chassis.effects.model import EFFECTS
from chassis.timers.model import TIMERS
from chassis_testing.service import ServiceHarness
from chassis_testing.system import ServiceSystem, Waiting
from contracts import (
    Event,
    GoalCreatedV1,
    GoalEndedV1,
    OrderPaidV1,
    OrderRefundedV1,
    PassActivatedV1,
    PresenceCountedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
)
from contracts.escrow_ids import parse_escrow_id
from contracts.versions import parse_type
from notifier.domain.pushes import Push
from notifier.service import SERVICE as NOTIFIER
from rtc_control.service import SERVICE as RTC_CONTROL

if TYPE_CHECKING:
    import httpx

    from tests.house.conftest import House

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
RECORDED = Path(contracts.__file__).parents[2] / "tests" / "recorded"
ROSE, CAKE, SONG = "livestream-gift_rose", "livestream-gift_cake", "karaoke-song_60"

CREATED = """
| receiver (service)                                       | ShowFunding    | Show           | TriggerExclusive | Exclusive      | TriggerPrivate | Karaoke        |
|----------------------------------------------------------|----------------|----------------|------------------|----------------|----------------|----------------|
| bind_show_goals_to_session (sessions)                    | A + goal_added | A + goal_added | ·                | ·              | ·              | ·              |
| bind_show_goal_to_funding_goal (goals)                   | ·              | A              | ·                | ·              | ·              | ·              |
| bind_trigger_exclusive_goal_to_session (sessions)        | ·              | ·              | A + goal_added   | ·              | ·              | ·              |
| bind_exclusive_goals_to_session (sessions)               | ·              | ·              | ·                | A + goal_added | ·              | ·              |
| bind_exclusive_goal_to_trigger_exclusive_goal (goals)    | ·              | ·              | ·                | A              | ·              | ·              |
| bind_trigger_private_goal_to_session (sessions)          | ·              | ·              | ·                | ·              | A + goal_added | ·              |
| bind_karaoke_goal_to_session (sessions)                  | ·              | ·              | ·                | ·              | ·              | A + goal_added |
| schedule_lifecycle_tasks (goals)                         | A              | A              | A                | A              | A              | A              |
| remember the promise (escrow)                            | A              | A              | A                | A              | A              | ·              |
| projection (shop)                                        | A              | A              | A                | A              | A              | A              |
| snapshot_rtc_sources (rtc-control)                       | ·              | ·              | ·                | A              | ·              | ·              |
"""  # noqa: E501 - a table is as wide as the page's

ENDED = """
| receiver (service)                                     | ShowFunding funded | ShowFunding unfunded | Show completed | Show cancelled | TriggerExclusive agreed | TriggerExclusive refused | TriggerExclusive timed_out | Exclusive completed | Exclusive cancelled | TriggerPrivate completed | TriggerPrivate timed_out | TriggerPrivate cancelled | Karaoke completed |
|--------------------------------------------------------|---|---|---|---|---|---|---|---|---|---|---|---|---|
| set_embedded_goal_ended: show pairs (sessions)         | A | A | A | A | · | · | · | · | · | · | · | · | · |
| set_embedded_goal_ended: exclusive pairs (sessions)    | · | · | · | · | A | A | A | A | A | · | · | · | · |
| set_embedded_goal_ended: exclusive_to (sessions)       | · | · | · | · | A | · | · | A | A | · | · | · | · |
| set_embedded_goal_ended: private goals (sessions)      | · | · | · | · | · | · | · | · | · | A | A | A | · |
| set_embedded_goal_ended: karaoke goals (sessions)      | · | · | · | · | · | · | · | · | · | · | · | · | A |
| session.goal_closed (sessions)                         | · | · | A | A | · | · | · | A | A | · | · | · | · |
| session.goal_closed, 60 s later (sessions)             | · | · | · | · | · | · | · | · | · | A | · | · | · |
| cleanup_expired_exclusive_goal_pairs (sessions)        | · | · | · | · | A | · | · | · | · | · | · | · | · |
| sync_trigger_goal_session_viewer (sessions)            | · | · | · | · | A | · | · | · | · | · | · | · | · |
| pay_back_overtaken_minutes (sessions)                  | · | · | · | · | A | · | · | · | · | · | · | · | · |
| give_private_right (sessions)                          | · | · | · | · | · | · | · | · | · | A | · | · | · |
| notify_goal_ended (notifier)                           | A | A | A | A | A | A | A | A | A | A | A | A | A |
| notify_stream_authorized_for_agreed_trigger_goal, through viewer_authorized (sessions)  | · | · | · | · | A | · | · | · | · | · | · | · | · |
| notify_stream_authorized_for_ended_exclusive_goal, through viewer_authorized (sessions) | · | · | · | · | · | · | · | A | A | · | · | · | · |
| trigger_exclusive_on_close_notification (notifier)     | · | · | · | · | · | · | · | A | A | · | · | · | · |
| trigger_show_escrow_refund, its timer (escrow)         | · | A | · | · | · | · | · | · | · | · | · | · | · |
| trigger_show_escrow_refund (escrow)                    | · | · | · | A | · | · | · | · | · | · | · | · | · |
| trigger_exclusive_goal_escrow_refund, its timer (escrow) | · | · | · | · | A | · | · | · | · | · | · | · | · |
| trigger_exclusive_goal_escrow_refund (escrow)          | · | · | · | · | · | A | A | · | A | · | · | · | · |
| handle_trigger_private_goal_escrow (escrow)            | · | · | · | · | · | · | · | · | · | · | A | A | · |
| projection (shop)                                      | A | A | A | A | A | A | A | A | A | A | A | A | A |
| snapshot_rtc_sources (rtc-control)                     | · | · | · | · | · | · | · | A | A | · | · | · | · |
| invalidate_cached_pusher_channel_data (notifier)       | A | A | A | A | A | A | A | A | A | A | A | A | A |
"""  # noqa: E501 - a table is as wide as the page's

OVER = """
| receiver (service)                                     | ShowFunding unfunded | Show cancelled | TriggerExclusive cancelled | Exclusive cancelled | TriggerPrivate cancelled | Karaoke cancelled |
|--------------------------------------------------------|---|---|---|---|---|---|
| set_embedded_goal_ended: show pairs (sessions)         | A | A | · | · | · | · |
| set_embedded_goal_ended: exclusive pairs (sessions)    | · | · | A | A | · | · |
| set_embedded_goal_ended: exclusive_to (sessions)       | · | · | · | · | · | · |
| set_embedded_goal_ended: private goals (sessions)      | · | · | · | · | A | · |
| set_embedded_goal_ended: karaoke goals (sessions)      | · | · | · | · | · | A |
| session.goal_closed (sessions)                         | · | A | · | A | · | · |
| session.goal_closed, 60 s later (sessions)             | · | · | · | · | · | · |
| cleanup_expired_exclusive_goal_pairs (sessions)        | · | · | · | · | · | · |
| sync_trigger_goal_session_viewer (sessions)            | · | · | · | · | · | · |
| pay_back_overtaken_minutes (sessions)                  | · | · | · | · | · | · |
| give_private_right (sessions)                          | · | · | · | · | · | · |
| notify_goal_ended (notifier)                           | A | A | A | A | A | A |
| notify_stream_authorized_for_agreed_trigger_goal, through viewer_authorized (sessions)  | · | · | · | · | · | · |
| notify_stream_authorized_for_ended_exclusive_goal, through viewer_authorized (sessions) | · | · | · | · | · | · |
| trigger_exclusive_on_close_notification (notifier)     | · | · | · | A | · | · |
| trigger_show_escrow_refund, its timer (escrow)         | A | · | · | · | · | · |
| trigger_show_escrow_refund (escrow)                    | · | A | · | · | · | · |
| trigger_exclusive_goal_escrow_refund (escrow)          | · | · | A | A | · | · |
| handle_trigger_private_goal_escrow (escrow)            | · | · | · | · | A | · |
| projection (shop)                                      | A | A | A | A | A | A |
| snapshot_rtc_sources (rtc-control)                     | · | · | · | A | · | · |
| invalidate_cached_pusher_channel_data (notifier)       | A | A | A | A | A | A |
"""  # noqa: E501 - a table is as wide as the page's

ADDED = """
| receiver (service)                                     | ShowFunding | Show | TriggerExclusive | Exclusive | TriggerPrivate | Karaoke |
|--------------------------------------------------------|---|---|---|---|---|---|
| trigger_notify_goal_added (notifier)                   | A | A | A | A | A | A |
| notify_stream_authorized: ticket holders (notifier)    | · | A | · | · | · | · |
| notify_stream_authorized: its viewer (notifier)        | · | · | · | A | · | · |
| invalidate_cached_pusher_channel_data (notifier)       | A | A | A | A | A | A |
"""  # noqa: E501 - a table is as wide as the page's

AUTHORIZED = """
| receiver (service)                                     | agreed | extended | paid | ticket | private | exclusive_ended |
|--------------------------------------------------------|---|---|---|---|---|---|
| notify_stream_authorized (notifier)                    | A | A | A | A | A | A |
| extend_paid_exclusive (goals)                          | · | · | A | · | · | · |
"""  # noqa: E501 - a table is as wide as the page's

OTHERS = """
| event                       | acts                              |
|-----------------------------|-----------------------------------|
| goal.proposed               | escrow                            |
| goal.progressed             | escrow, notifier, sessions, shop  |
| goal.contribution_rejected  | escrow, shop                      |
| goal.rejected               | notifier                          |
| goal.extended               | notifier, sessions                |
| goal.extension_rejected     | sessions                          |
| goal.lapsed                 | escrow, sessions                  |
| session.started             | goals, notifier, rtc-control, shop |
| session.updated             | goals, notifier, rtc-control, shop |
| session.ended               | goals, notifier, rtc-control, shop |
| session.goal_added          | notifier                          |
| session.goal_closed         | escrow                            |
| session.viewer_authorized   | goals, notifier                   |
| session.viewer_revoked      | notifier, rtc-control             |
| session.payment_requested   | escrow                            |
| session.payment_reversed    | escrow                            |
| viewer.blocked              | escrow, goals, notifier, shop     |
| viewer.unblocked            | escrow, goals, notifier, shop     |
| escrow.held                 | goals                             |
| escrow.rejected             | goals, shop                       |
| escrow.failed               | goals, notifier, sessions, shop   |
| escrow.completed            | goals, notifier                   |
| escrow.settled              | ·                                 |
| payment.succeeded           | goals, sessions, shop             |
| payment.failed              | notifier, sessions, shop          |
| payment.reversed            | notifier, sessions                |
| gift.requested              | escrow                            |
| gift.sent                   | goals, notifier                   |
| gift.failed                 | notifier                          |
| wallet.created              | ·                                 |
| wallet.credited             | ·                                 |
| order.paid                  | notifier                          |
| order.refunded              | notifier                          |
| pass.activated              | notifier, sessions                |
| presence.counted            | sessions                          |
"""

TABLES = (
    ("goal.created {}", CREATED),
    ("goal.ended {}", ENDED),
    ("goal.ended {}, over", OVER),
    ("session.goal_added {}", ADDED),
    ("session.viewer_authorized {}", AUTHORIZED),
)

# How one sees that a receiver has acted: all of these are among the service's deeds.
TRACES: dict[str, tuple[str, ...]] = {
    "bind_show_goals_to_session": ("sessions.show_goal_pairs",),
    "bind_show_goal_to_funding_goal": ("goals.context.show_goal_id",),
    "bind_trigger_exclusive_goal_to_session": ("sessions.exclusive_goal_pairs", "invitations.bound"),
    "bind_exclusive_goals_to_session": ("sessions.exclusive_goal_pairs", "exclusives.nbf"),
    "bind_exclusive_goal_to_trigger_exclusive_goal": ("goals.context.exclusive_goal_id",),
    "bind_trigger_private_goal_to_session": ("sessions.trigger_private_goals",),
    "bind_karaoke_goal_to_session": ("sessions.karaoke_goals",),
    "schedule_lifecycle_tasks": ("sets goal-due",),
    "snapshot_rtc_sources": ("broadcasts.exclusives",),
    "remember the promise": ("writes escrows",),
    "projection": ("writes goals",),
    "set_embedded_goal_ended: show pairs": ("sessions.show_goal_pairs",),
    "set_embedded_goal_ended: exclusive pairs": ("sessions.exclusive_goal_pairs",),
    "set_embedded_goal_ended: exclusive_to": ("sessions.exclusive_to", "tells session.updated"),
    "set_embedded_goal_ended: private goals": ("sessions.trigger_private_goals",),
    "set_embedded_goal_ended: karaoke goals": ("sessions.karaoke_goals",),
    "session.goal_closed": ("tells session.goal_closed",),
    "session.goal_closed, 60 s later": ("sets private-judgement-due",),
    "cleanup_expired_exclusive_goal_pairs": ("sessions.exclusive_goal_pairs loses open ones",),
    "sync_trigger_goal_session_viewer": ("writes grants", "tells session.viewer_authorized agreed"),
    "pay_back_overtaken_minutes": ("sets minutes-left",),
    "give_private_right": ("tells session.viewer_authorized private",),
    "notify_goal_ended": ("pushes goal.ended",),
    "notify_stream_authorized_for_agreed_trigger_goal, through viewer_authorized": (
        "tells session.viewer_authorized agreed",
    ),
    "notify_stream_authorized_for_ended_exclusive_goal, through viewer_authorized": (
        "tells session.viewer_authorized exclusive_ended",
    ),
    "trigger_exclusive_on_close_notification": ("pushes exclusive.closed",),
    "trigger_show_escrow_refund": ("escrows.verdict of show_funding",),
    "trigger_show_escrow_refund, its timer": ("sets funding-refund-check-due",),
    "trigger_exclusive_goal_escrow_refund": ("escrows.verdict of trigger_exclusive",),
    "trigger_exclusive_goal_escrow_refund, its timer": ("sets invitation-refund-check-due",),
    "handle_trigger_private_goal_escrow": ("escrows.verdict of trigger_private",),
    "invalidate_cached_pusher_channel_data": ("broadcasts.revision",),
    "trigger_notify_goal_added": ("pushes goal.added",),
    "notify_stream_authorized: ticket holders": ("sets ticket-holders-due",),
    "notify_stream_authorized: its viewer": ("pushes stream.authorized",),
    "notify_stream_authorized": ("pushes stream.authorized",),
    "extend_paid_exclusive": ("writes extensions",),
}


@dataclass
class Notes:
    """What each service did when it heard of each event, and what it wrote while it told of it."""

    deeds: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))

    def add(self, event: Event, service: str, deeds: set[str], *, over: bool = False) -> None:
        """`over`: the session is, so that its goals end with it."""
        for name in labels(event):
            self.deeds[f"{name}, over" if over else name][service] |= deeds

    def cell(self, column: str, receiver: str) -> str:
        """`A` or `·`, as on the page."""
        name, _, service = receiver.removesuffix(")").rpartition(" (")
        deeds = self.deeds[column][service]
        acts = set(TRACES[name]) <= deeds
        return "·" if not acts else "A + goal_added" if "tells session.goal_added" in deeds else "A"


def labels(event: Event) -> set[str]:
    """`goal.created` and `goal.created Show`, `goal.ended Show completed`, `session.viewer_authorized paid`."""
    name = parse_type(event.TYPE).name
    match event:
        case GoalCreatedV1() | SessionGoalAddedV1():
            return {name, f"{name} {event.kind.removesuffix('Goal')}"}
        case GoalEndedV1():
            return {name, f"{name} {event.kind.removesuffix('Goal')} {event.outcome}"}
        case SessionViewerAuthorizedV1():
            return {name, f"{name} {event.reason}"}
        case _:
            return {name}


@dataclass
class Watch:
    """The scenario, each message heard alone by each who listens, and noted."""

    house: House
    system: ServiceSystem
    harnesses: dict[str, ServiceHarness]
    notes: Notes = field(default_factory=Notes)
    over: bool = False
    """The session has ended."""

    async def command(self, asking: Awaitable[httpx.Response]) -> str:
        """One command, and all that follows from it; the id of the goal it made, if any."""
        before, told = await documents(self.house.goals), len(self.system.published)
        response = await asking
        assert response.status_code < 400, response.text
        self._note_created("goals", difference(before, await documents(self.house.goals)), told)
        await self.settle()
        return str(response.json().get("goal_id", "")) if response.content else ""

    async def settle(self) -> None:
        while True:
            await self.system.collect()
            if waiting := self.system.waiting():
                oldest = min(waiting, key=lambda part: self.system.published.index(self.system.next_message(part)))
                await self._hear(oldest.only(1))
            elif not await self._run_timers():
                return

    async def _run_timers(self) -> int:
        """What the notifier does then belongs to nobody else's event."""
        notifier = self.harnesses["notifier"]
        before = await documents(notifier)
        ran = await self.system.run_timers()
        self.notes.deeds["timers"]["notifier"] |= difference(before, await documents(notifier)) if ran else set()
        return ran

    async def pass_time(self, seconds: float) -> None:
        """Step by step, so that nothing that follows is heard together."""
        for _ in range(int(seconds // 10)):
            self.system.clock.advance(10)
            await self.settle()

    async def hear_recorded(self, of: type[Event], service: str, **changes: Any) -> None:
        """An event of a service that does not exist yet."""
        data = json.loads((RECORDED / f"{of.TYPE}.json").read_text())["data"]
        event = of.model_validate_json(json.dumps(data)).model_copy(update=changes)
        harness = self.harnesses[service]
        before = await documents(harness)
        await harness.handle(event)
        self.notes.add(event, service, difference(before, await documents(harness)))

    async def _hear(self, part: Waiting) -> None:
        harness, event = self.harnesses[part.service], self.system.next_message(part).event
        if not harness.listens_to(type(event)):
            assert await self.system.deliver(part) == 1
            return
        before, told = await documents(harness), len(self.system.published)
        assert await self.system.deliver(part) == 1
        deeds = difference(before, await documents(harness))
        deeds |= {f"tells {name}" for one in self.system.published[told:] for name in labels(one.event)}
        self.notes.add(event, part.service, deeds, over=self.over and isinstance(event, GoalEndedV1))
        self._note_created(part.service, deeds, told)

    def _note_created(self, service: str, deeds: set[str], told: int) -> None:
        """What goals does as it makes a goal belongs to that goal's creation: those are its own facts."""
        for message in self.system.published[told:]:
            if service == "goals" and isinstance(message.event, GoalCreatedV1):
                self.notes.add(message.event, service, deeds)


async def documents(harness: ServiceHarness) -> dict[str, dict[str, Any]]:
    """All that a service keeps, by collection and id; timers and pushes too."""
    names = [*(collection.name for collection in harness.service.collections), TIMERS.name, EFFECTS.name]
    return {name: {row["_id"]: row for row in rows} for name, rows in (await harness.contents(*names)).items()}


def difference(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> set[str]:
    """What was done, in words."""
    deeds: set[str] = set()
    for collection, rows in after.items():
        for id_, row in rows.items():
            if row == (was := before[collection].get(id_)):
                continue
            match collection:
                case "timers":
                    deeds.add(f"sets {row['name']}")
                case "effects":
                    deeds.add(f"pushes {row['data']['name']}" if row["name"] == Push.NAME else f"calls {row['name']}")
                case "escrows":
                    kind = parse_escrow_id(id_).kind
                    deeds.add("writes escrows")
                    deeds |= {f"escrows.{name} of {kind}" for name in changes(was or {}, row)}
                case _:
                    deeds.add(f"writes {collection}")
                    deeds |= {f"{collection}.{name}" for name in changes(was or {}, row)}
        deeds |= {f"removes {collection}" for id_ in before[collection] if id_ not in rows and collection != "effects"}
    return deeds


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The fields that have a new value, those of a goal's context one by one."""
    flat = [
        {**row, **{f"context.{name}": value for name, value in (row.get("context") or {}).items()}}
        for row in (before, after)
    ]
    changed = {name for name, value in flat[1].items() if value not in (None, False) and flat[0].get(name) != value}
    maps = {name for name in changed if isinstance(flat[1][name], dict) and isinstance(flat[0].get(name), dict)}
    lost = {name: [was for key, was in flat[0][name].items() if key not in flat[1][name]] for name in maps}
    return changed | {f"{name} loses open ones" for name in maps if any(map(is_open, lost[name]))}


def is_open(pair: Any) -> bool:
    """Whether nothing of it is over."""
    return isinstance(pair, dict) and all(value is None for name, value in pair.items() if name.endswith("_ended"))


# The scenario


async def play_shows(watch: Watch) -> None:
    house, rich = watch.house, await watch.house.viewer(10_000)
    funding = await watch.command(house.fund(target=1, seconds=60))
    await watch.command(house.give(rich, funding))
    await watch.pass_time(70)
    show = await watch.command(house.perform(funding))
    await watch.command(house.give(rich, show))
    await watch.pass_time(70)
    funding = await watch.command(house.fund(target=2, seconds=60))
    await watch.command(house.give(rich, funding))
    await watch.pass_time(70)
    show = await watch.command(house.perform(funding))
    await watch.command(house.delete(show))
    funding = await watch.command(house.fund(target=2, seconds=60))
    await watch.command(house.give(await house.viewer(0), funding))
    await watch.pass_time(60)
    await watch.pass_time(60)


async def play_invitations(watch: Watch) -> None:
    house, rich = watch.house, await watch.house.viewer(10_000)
    await watch.command(house.invite(await house.viewer(0)))
    await watch.command(house.delete(await watch.command(house.invite(rich)), agree=False))
    rich = await house.viewer(10_000)
    await watch.command(house.invite(rich))
    await watch.pass_time(40)
    rich = await house.viewer(10_000)
    await watch.command(house.invite(await house.viewer(10_000)))  # which the agreement rules out
    await watch.command(house.pay(await house.viewer(10_000), 10))  # which it overtakes
    await watch.command(house.delete(await watch.command(house.invite(rich)), agree=True))
    await watch.pass_time(70)
    for kept in (True, False):
        invitation = await watch.command(house.invite(rich))
        await watch.command(house.delete(invitation, agree=True))
        await watch.pass_time(10)
        exclusive = await watch.command(house.begin_exclusive(invitation))
        await watch.command(house.extend(exclusive))
        await watch.command(house.pay(rich))
        await (watch.pass_time(300) if kept else watch.command(house.delete(exclusive)))


async def play_gifts(watch: Watch) -> None:
    house, rich, poor = watch.house, await watch.house.viewer(10_000), await watch.house.viewer(0)
    private = await watch.command(house.ask_for_gifts(target=10))
    await watch.command(house.give(rich, private, ROSE))
    await watch.pass_time(70)
    await watch.command(house.delete(await watch.command(house.ask_for_gifts(target=10))))
    private = await watch.command(house.ask_for_gifts(target=100, seconds=60))
    await watch.command(house.give(rich, private, ROSE))
    watch.system.clock.advance(59)
    late = house.give(rich, private, ROSE)
    assert (await late).status_code == 202
    watch.system.clock.advance(2)
    await watch.settle()
    await watch.command(house.give(rich, None, SONG))
    await watch.pass_time(70)
    await watch.command(house.give(poor, None, CAKE))
    await watch.command(house.pay(rich))
    await watch.command(house.pay(poor))


async def play_session(watch: Watch) -> None:
    house, viewer = watch.house, await watch.house.viewer(0)
    ask = house.ask
    for method in ("PUT", "DELETE"):
        await watch.command(ask(house.sessions, house.streamer, method, f"/blocks/{viewer}"))
    prices = {"prices": {"exclusive": 30}}
    await watch.command(ask(house.sessions, house.streamer, "PATCH", f"/sessions/{house.session_id}", prices))
    head_count = {"streamer_id": house.streamer, "session_id": house.session_id, "viewers": 7}
    await watch.hear_recorded(PresenceCountedV1, "sessions", **head_count)
    for order in (OrderPaidV1, OrderRefundedV1):
        await watch.hear_recorded(order, "notifier")
    for service in ("notifier", "sessions"):
        await watch.hear_recorded(PassActivatedV1, service)
    await watch.command(house.end())


async def play_ends(watch: Watch) -> None:
    """Sessions that end with something going on in them."""
    for begin in (begin_much, begin_show, begin_exclusive):
        await begin_session(watch)
        await begin(watch)
        watch.over = True
        await watch.command(watch.house.end())
        await watch.pass_time(60)
        watch.over = False


async def begin_session(watch: Watch) -> None:
    house = watch.house
    started = await house.ask(house.sessions, house.streamer, "POST", "/sessions", {"prices": {"exclusive": 20}})
    house.session_id = started.json()["session_id"]
    await watch.settle()


async def begin_much(watch: Watch) -> None:
    house, rich = watch.house, await watch.house.viewer(10_000)
    await watch.command(house.invite(rich))
    await watch.command(house.give(rich, await watch.command(house.ask_for_gifts(target=100)), ROSE))
    await watch.command(house.give(rich, None, SONG))
    await watch.command(house.give(rich, await watch.command(house.fund(target=2))))


async def begin_show(watch: Watch) -> None:
    house, rich = watch.house, await watch.house.viewer(10_000)
    funding = await watch.command(house.fund(target=1))
    await watch.command(house.give(rich, funding))
    await watch.command(house.delete(funding))
    await watch.command(house.perform(funding))


async def begin_exclusive(watch: Watch) -> None:
    house, rich = watch.house, await watch.house.viewer(10_000)
    invitation = await watch.command(house.invite(rich))
    await watch.command(house.delete(invitation, agree=True))
    await watch.pass_time(10)
    await watch.command(house.begin_exclusive(invitation))


async def test_every_cell_of_the_matrix(house: House, harness_of: HarnessOf) -> None:
    others = [await harness_of(service, clock=house.system.clock) for service in (NOTIFIER, RTC_CONTROL)]
    harnesses = {
        harness.service.name: harness for harness in (house.goals, house.sessions, house.escrow, house.shop, *others)
    }
    for other in others:
        house.system.add(other)
    watch = Watch(house, house.system, harnesses)
    await watch.settle()
    room = f"/sessions/{house.session_id}/sources/a-room"
    await watch.command(house.ask(house.sessions, house.streamer, "PUT", room, {"preset": "sd"}))
    for play in (play_shows, play_invitations, play_gifts, play_session, play_ends):
        await play(watch)
    seen = [row for event, table in TABLES for row in drawn(table, event, watch.notes)]
    seen += drawn_others(watch.notes, harnesses)
    page = [row for _, table in TABLES for row in rows_of(table)] + rows_of(OTHERS)
    wrong = [
        f"{' | '.join(is_)}\nthe page: {' | '.join(should)}"
        for is_, should in zip(seen, page, strict=True)
        if is_ != should
    ]
    assert not wrong, "\n".join(wrong)
    assert "pushes stream.authorized" in watch.notes.deeds["timers"]["notifier"], "ticket holders are told by timers"


def rows_of(table: str) -> list[list[str]]:
    lines = [line.strip("| \n") for line in table.strip().splitlines()]
    return [[cell.strip() for cell in line.split("|")] for line in lines if not line.startswith("--")]


def drawn(table: str, event: str, notes: Notes) -> list[list[str]]:
    """The same table from what was seen."""
    head, *rows = rows_of(table)
    return [head, *([row[0], *(notes.cell(event.format(column), row[0]) for column in head[1:])] for row in rows)]


def drawn_others(notes: Notes, harnesses: dict[str, ServiceHarness]) -> list[list[str]]:
    head, *rows = rows_of(OTHERS)
    seen = []
    for name, _ in rows:
        acting = sorted(service for service in harnesses if notes.deeds[name][service])
        seen.append([name, ", ".join(acting) or "·"])
    return [head, *seen]
