"""What each may see: of every GET that exists, the fields by who asks, and what is another's is nowhere to be found.

The table is `who_sees_what.txt`: a paragraph for each thing that is asked for and the readers who see the same of it.
A route, a service or a field that nobody put there fails it, whether or not this scenario shows it; what a push may
show stands in `test_stranger.py`. The readers: a stranger (with every scope but an operator's), somebody whom the
streamer blocks, the viewer whose invitations and 1-on-1 it is (SPEC §2), a giver (of whatever everybody may know), the
streamer, and an operator.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.http.route import TxRoute
from chassis_testing.service import ServiceHarness
from chassis_testing.visible import all_told_by, difference, names_in, names_of, table
from contracts import EscrowHeldV1, GoalEndedV1, PaymentSucceededV1
from escrow.service import SERVICE as ESCROW
from goals.service import SERVICE as GOALS
from notifier.domain.pushes import Push
from notifier.service import SERVICE as NOTIFIER
from rtc_control.service import SERVICE as RTC_CONTROL
from sessions.service import SERVICE as SESSIONS
from shop.service import SERVICE as SHOP
from shop.store import ORDERS
from shop.store.orders import settle

if TYPE_CHECKING:
    import httpx

    from tests.house.conftest import House

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

ROOT = Path(__file__).resolve().parents[2]
TABLE = table((Path(__file__).parent / "who_sees_what.txt").read_text(encoding="utf-8"))
SERVICES = (ESCROW, GOALS, NOTIFIER, RTC_CONTROL, SESSIONS, SHOP)
READERS = ("stranger", "blocked", "viewer", "giver", "streamer", "operator")
SCOPES = {"stranger": ("PAID", "HUMAN", "CREATOR"), "streamer": ("CREATOR",), "operator": ("OPS",)}
PUBLIC = ("stranger", "blocked", "giver")
"""To whom nothing of the viewer's is shown."""

PROBLEM = {"type", "title", "status", "detail", "instance"}
ROSE, SONG = "livestream-gift_rose", "karaoke-song_60"
ROOM = "a-room-of-the-streamer"
STEP_DIAMONDS, STEPS = 7_919, 7  # so that what the 1-on-1 costs is no number that stands there for something else


# -- what exists -------------------------------------------------------------------------------------------------------


def routes() -> dict[str, TxRoute]:
    """Every GET of every service, in the documentation or not."""
    return {
        f"GET {route.path_format}": route
        for service in SERVICES
        for route in service.router.routes
        if isinstance(route, TxRoute) and route.method == "GET"
    }


def asked(row: str) -> str:
    """The route that a row is about: `GET /goals/{goal_id} of a show: viewer`."""
    return " ".join(row.partition(": ")[0].split()[:2]).partition("?")[0]


def test_every_service_is_looked_at() -> None:
    there = {file.parent.name for file in ROOT.glob("services/*/pyproject.toml")}

    assert there == {service.name for service in SERVICES}
    assert all(isinstance(route, TxRoute) for service in SERVICES for route in service.router.routes)


def test_every_route_and_every_field_that_it_can_answer_stands_in_the_table() -> None:
    """Of what is free in form (`context`, a push's `data`) only the name: which of it is shown is seen below."""
    can = {route: names_in(of.response_model) if of.response_model else set() for route, of in routes().items()}
    told: dict[str, set[str]] = {route: set() for route in can}
    for row, names in TABLE.items():
        route = asked(row)
        told.setdefault(route, set()).update(set() if refused(names) else _as_declared(names, can.get(route, set())))

    assert difference(can, told) == []


def _as_declared(names: set[str], declared: set[str]) -> set[str]:
    """What is free in form under its own name alone; and not the names of lists that were empty."""
    parts = {name: next((one for one in declared if name.startswith(f"{one}.")), name) for name in names}
    return {part for part in parts.values() if not any(one.startswith((f"{part}.", f"{part}[]")) for one in declared)}


def refused(names: set[str]) -> bool:
    return any(name.isdigit() for name in names)


# -- a scenario --------------------------------------------------------------------------------------------------------


@dataclass
class Scenario:
    """A session with goals of every kind, and with a viewer whose invitations and 1-on-1 are nobody else's business."""

    house: House
    harnesses: dict[str, ServiceHarness]
    people: dict[str, str]
    ids: dict[str, str] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    secrets: set[Any] = field(default_factory=set)
    """Of the viewer and the streamer; no other may read one, anywhere."""
    leaks: set[str] = field(default_factory=set)
    session_is: str = "on air"
    """What a token depends on."""
    _clients: dict[tuple[str, str | None], httpx.AsyncClient] = field(default_factory=dict)

    async def did(self, asking: Awaitable[httpx.Response], name: str = "") -> str:
        """One command and all that follows; the id of what it made is remembered as `name`."""
        response = await asking
        assert response.status_code < 400, response.text
        body = response.json() if response.content else {}
        made = next((str(body[key]) for key in ("goal_id", "gift_id", "payment_id", "order_id") if key in body), "")
        if name:
            self.ids[name] = made
        await self.house.system.run_until_idle()
        return made

    # What there is to ask for

    def questions(self) -> Iterator[tuple[str, str]]:
        """What is asked for, and where, as far as it exists by now."""
        for route in routes():
            path = route.removeprefix("GET ")
            if "{" not in path and path not in ("/goals", "/shop/reconciliation"):
                yield route, path
        for name, query in (("", ""), (" that are active", "&active=true"), (" that are not", "&active=false")):
            yield f"GET /goals{name}", f"/goals?session_id={self.house.session_id}{query}"
        yield "GET /goals that are one's own", "/goals?mine=true"
        yield "GET /shop/reconciliation", f"/shop/reconciliation?day={self.house.now.date().isoformat()}"
        yield "GET /sessions that are over", "/sessions?active=false"
        yield "GET /sessions of the streamer", f"/sessions?streamer_id={self.house.streamer}"
        yield "GET /sessions/{session_id}", f"/sessions/{self.house.session_id}"
        for of in ("sessions", "streams"):
            for query in ("", "?explain=true"):
                what = f"GET /{of}/{{session_id}}/token{query} of a session that is {self.session_is}"
                yield what, f"/{of}/{self.house.session_id}/token{query}"
        yield "GET /sessions/{session_id}/viewers/count", f"/sessions/{self.house.session_id}/viewers/count"
        for of in ("/shop/redirect-in", "/redirect-in"):  # with a state that nobody has issued
            yield f"GET {of}/{{session}}", f"{of}/shop-checkout-{self.house.session_id}?state=x"
        yield "GET /rtc/sessions/{session_id}", f"/rtc/sessions/{self.house.session_id}"
        yield "GET /ledger/proof?from=transfers", "/ledger/proof?from=transfers"
        for name, id_ in self.ids.items():
            yield from _questions_of(name, id_)

    # Reading

    def harness(self, path: str) -> ServiceHarness:
        of = {
            "goals": "goals", "gifts": "shop", "shop": "shop", "notifications": "notifier", "pusher": "notifier",
            "sessions": "sessions", "payments": "sessions", "blocks": "sessions", "streams": "sessions",
            "config": "notifier", "tools": "shop", "redirect-out": "shop", "redirect-in": "shop",
            "rtc": "rtc-control",
        }  # fmt: skip
        if path.endswith("/viewers/count"):
            return self.harnesses["notifier"]
        return self.harnesses[of.get(path.strip("/").partition("/")[0].partition("?")[0], "escrow")]

    async def get(self, path: str, reader: str | None) -> httpx.Response:
        return await self.ask(reader, "GET", path)

    async def ask(self, reader: str | None, method: str, path: str, body: Any = None, **form: Any) -> httpx.Response:
        harness = self.harness(path)
        client = self._clients.get((harness.service.name, reader))
        if client is None:
            client = harness.client(self.people[reader] if reader else None, *SCOPES.get(reader or "", ()))
            self._clients[harness.service.name, reader] = client
        response = await client.request(method, path, json=body, **form)
        assert response.status_code < 500, f"{path}: {response.text}"
        return response

    async def read_all(self) -> None:
        """Everybody asks for everything; what they get is noted, and has nothing in it that is another's."""
        for what, path in self.questions():
            for reader in READERS:
                response = await self.get(path, reader)
                body = response.json()
                self.seen[f"{what}: {reader}"] |= await self._names(response, path, reader)
                if reader in PUBLIC:
                    self._look_for_secrets(what, body, reader)

    async def listen(self) -> None:
        """What everybody who watches is told has nothing in it that is another's."""
        for push in await self.harnesses["notifier"].effects():
            if isinstance(push, Push) and push.channel.startswith(("presence-stream@", "private-stream@")):
                self._look_for_secrets(push.name, json.loads(push.data), "listener")

    async def read_pages(self) -> None:
        """Whoever asks for one thing at a time, and as many as there are, sees what they see at once."""
        for what, path in self.questions():
            for reader in READERS:
                whole = await self.get(path, reader)
                if whole.status_code == 200 and "next" in whole.json():
                    assert await self._page_by_page(path, reader) == _listed(whole), f"{what}: {reader}"

    async def _page_by_page(self, path: str, reader: str) -> list[Any]:
        items: list[Any] = []
        after = ""
        while True:
            page = await self.get(f"{path}{'&' if '?' in path else '?'}limit=1{after}", reader)
            items += _listed(page)
            if (following := page.json()["next"]) is None:
                return items
            if reader in PUBLIC:
                self._look_for_secrets(f"the cursor of {path}", following, reader)
            after = f"&after={following}"

    def _look_for_secrets(self, what: str, body: Any, reader: str) -> None:
        paid_for = {ROOM} if isinstance(body, dict) and body.get("preset") == "sd" and "byteplus" in body else set()
        if secrets := (self.secrets - paid_for) & all_told_by(body):
            self.leaks.add(f"{what} tells a {reader} {secrets}")

    async def _names(self, response: httpx.Response, path: str, reader: str) -> set[str]:
        body = response.json()
        if response.status_code == 200:
            if path.startswith("/notifications"):  # what a push may show stands in a table of its own
                body["items"] = [item | {"data": None} for item in body["items"]]
            return names_of(body)
        if response.status_code == 404:
            await self._is_as_if_there_were_none(response, path, reader)
        return {str(response.status_code), body["type"].removeprefix("/problems/"), *(body.keys() - PROBLEM)}

    async def _is_as_if_there_were_none(self, response: httpx.Response, path: str, reader: str) -> None:
        """Nothing tells what is hidden from what does not exist."""
        id_ = next(id_ for id_ in self.ids.values() if id_ in path)
        nothing = await self.get(path.replace(id_[-24:], ids.new_id()), reader)
        assert _but_ids(nothing) == _but_ids(response), path


def _questions_of(name: str, id_: str) -> Iterator[tuple[str, str]]:
    """What is asked of one thing that has an id."""
    match name.split(maxsplit=1)[0]:
        case "gift":
            yield f"GET /gifts/{{gift_id}} of a {name}", f"/gifts/{id_}"
        case "order":
            yield f"GET /shop/orders/{{order_id}} of an {name}", f"/shop/orders/{id_}"
        case "payment":
            yield f"GET /payments/{{payment_id}} of a {name}", f"/payments/{id_}"
        case "escrow":
            yield f"GET /escrows/{{escrow_id}} of {name}", f"/escrows/{id_}"
            yield f"GET /escrows/{{escrow_id}}/proof of {name}", f"/escrows/{id_}/proof"
            counted = f"/escrows/{id_}/proof?from=transfers"
            yield f"GET /escrows/{{escrow_id}}/proof?from=transfers of {name}", counted
        case _:
            yield f"GET /goals/{{goal_id}} of {name}", f"/goals/{id_}"
            yield f"GET /goals/{{goal_id}}/leaderboard of {name}", f"/goals/{id_}/leaderboard"


def _listed(page: httpx.Response) -> list[Any]:
    body = page.json()
    items = body["accounts" if "accounts" in body else "items"]
    assert isinstance(items, list)
    return items


def _but_ids(response: httpx.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return response.status_code, headers, {**response.json(), "instance": ""}


@pytest.fixture
async def scenario(house: House, harness_of: HarnessOf) -> Scenario:
    others = [await harness_of(service, clock=house.system.clock) for service in (NOTIFIER, RTC_CONTROL)]
    for other in others:
        house.system.add(other)
    harnesses = {
        harness.service.name: harness for harness in (house.goals, house.sessions, house.escrow, house.shop, *others)
    }
    people = {name: ids.new_id() for name in READERS} | {"streamer": house.streamer}
    secrets = {people["viewer"], ROOM, STEP_DIAMONDS * STEPS, "For you"}
    return Scenario(house, harnesses, people, secrets=secrets)


async def open_for_all(scenario: Scenario) -> None:
    """What everybody may know of: a show, a private goal, a song; who was blocked had a part in it."""
    house, ask, did = scenario.house, scenario.house.ask, scenario.did
    giver, blocked = scenario.people["giver"], scenario.people["blocked"]
    for one in (giver, blocked):
        await did(ask(house.escrow, house.streamer, "POST", f"/wallets/{one}/credit", {"amount_diamonds": 10**6}))
    await did(ask(house.sessions, house.streamer, "PATCH", f"/sessions/{house.session_id}", {"title": "Tonight"}))
    await did(
        ask(house.sessions, house.streamer, "PUT", f"/sessions/{house.session_id}/sources/{ROOM}", {"preset": "sd"})
    )
    earlybird = {"ticket_product_type": "earlybird", "discount_percentage": 20}
    funding = await did(house.fund(target=2, seconds=60, **earlybird), "a funding")
    await did(house.give(giver, funding, count=2), "gift of the giver")
    await did(house.give(blocked, funding), "gift of the blocked")
    await did(house.pay(blocked, 5), "payment of the blocked")
    await did(ask(house.sessions, house.streamer, "PUT", f"/blocks/{blocked}"))
    await house.system.pass_time(61)
    await did(house.perform(funding), "a show")
    await house.system.pass_time(61)
    private = await did(house.ask_for_gifts(target=1_000, seconds=7_200), "a private goal")
    await did(house.give(giver, private, ROSE))
    await did(house.give(giver, None, SONG))
    scenario.ids["a song"] = (await goals_of(scenario, "KaraokeGoal"))[0]
    await did(house.pay(giver), "payment of the giver")
    await buy(scenario, "giver")
    scenario.ids |= {
        "escrow of a show": f"show_funding:{funding}",
        "escrow of a private goal": f"trigger_private:{private}",
    }


async def buy(scenario: Scenario, who: str) -> None:
    """An order of one pass, which is paid, and lies in the backpack."""
    house = scenario.house
    wish = {"product_id": "livestream_pass", "quantity": 1, "gateway": "sandbox"}
    order_id = await scenario.did(
        house.ask(house.shop, scenario.people[who], "POST", "/shop/checkout", wish), f"order of the {who}"
    )
    async with house.shop.tx() as tx:
        order = await tx.get(ORDERS, order_id)
        assert order is not None
        settle(tx, replace(order, payment="confirming"), "confirmed")
    await house.system.collect("shop")
    await house.system.run_until_idle()


async def invite_in_vain(scenario: Scenario, *, answer: bool = True) -> None:
    """One invitation that was never paid, and one that is proposed, then refused, unless there is no `answer`."""
    house, did, viewer = scenario.house, scenario.did, scenario.people["viewer"]
    prices = {"prices": {"exclusive": STEP_DIAMONDS}}
    await did(house.ask(house.sessions, house.streamer, "PATCH", f"/sessions/{house.session_id}", prices))
    await did(house.invite(viewer), "a rejected invitation")
    await house.system.pass_time(31)
    path = f"/wallets/{viewer}/credit"
    await did(house.ask(house.escrow, house.streamer, "POST", path, {"amount_diamonds": 10**6}))
    proposed = await house.invite(viewer, STEPS)
    scenario.ids["a proposed invitation"] = proposed.json()["goal_id"]
    if not answer:
        return
    await scenario.read_all()
    scenario.ids["a refused invitation"] = scenario.ids.pop("a proposed invitation")
    await house.system.run_until_idle()
    await scenario.read_all()
    await did(house.delete(scenario.ids["a refused invitation"], agree=False))
    await house.system.pass_time(301)


async def be_alone(scenario: Scenario) -> None:
    """A 1-on-1 with its viewer, who pays for more of it and gives something."""
    house, did, viewer = scenario.house, scenario.did, scenario.people["viewer"]
    invitation = await did(house.invite(viewer, STEPS), "an invitation")
    scenario.ids["escrow of an invitation"] = f"trigger_exclusive:{invitation}"
    await did(house.delete(invitation, agree=True))
    await house.system.pass_time(10)
    body = {"context": {"trigger_exclusive_goal_id": invitation}, "levels": [{"title": "For you", "target": 1}]}
    alone = await did(house.create("exclusive", body), "a 1-on-1")
    await did(house.extend(alone))
    await did(house.pay(viewer), "payment of the viewer")
    await buy(scenario, "viewer")
    await did(house.give(viewer, None, ROSE), "gift of the viewer")
    await did(house.give(viewer, None, SONG))
    scenario.ids["a song in the 1-on-1"] = next(
        id_ for id_ in await goals_of(scenario, "KaraokeGoal") if id_ not in scenario.ids.values()
    )
    note_secrets(scenario)


async def goals_of(scenario: Scenario, kind: str) -> list[str]:
    page = (await scenario.get(f"/goals?session_id={scenario.house.session_id}&limit=100", "streamer")).json()
    return [goal["id"] for goal in page["items"] if goal["kind"] == kind]


def note_secrets(scenario: Scenario) -> None:
    """What is of the viewer: their id, what they paid, the ids of it, and clients' ids."""
    system, viewer = scenario.house.system, scenario.people["viewer"]
    scenario.secrets |= {scenario.ids[f"{one} of the viewer"] for one in ("payment", "gift", "order")}
    holds = system.events(EscrowHeldV1)
    scenario.secrets |= {held.earning_id for held in holds} | {
        held.escrow_id for held in holds if held.buyer_id == viewer
    }
    scenario.secrets |= {ended.triggerer for ended in system.events(GoalEndedV1)} - {None}
    scenario.secrets |= {paid.payment_id for paid in system.events(PaymentSucceededV1) if paid.payer_id == viewer}


async def test_of_every_get_each_reader_sees_the_fields_that_stand_here_and_nothing_of_anothers(
    scenario: Scenario,
) -> None:
    await open_for_all(scenario)
    await invite_in_vain(scenario)
    await be_alone(scenario)
    scenario.session_is = "the viewer's alone"
    await scenario.read_all()
    await scenario.house.system.pass_time(1_800)
    assert (await scenario.house.end()).status_code == 204
    scenario.session_is = "over"
    await scenario.house.system.pass_time(60)
    note_secrets(scenario)
    await scenario.read_all()
    await scenario.read_pages()
    await scenario.listen()

    assert [*sorted(scenario.leaks), *difference(scenario.seen, TABLE)] == []


HIDDEN = ("a rejected invitation", "a proposed invitation")


async def test_a_command_on_what_is_hidden_is_answered_as_if_there_were_none(scenario: Scenario) -> None:
    own = (await scenario.ask("stranger", "POST", "/sessions", {"prices": {}})).json()["session_id"]
    await invite_in_vain(scenario, answer=False)
    assert set(HIDDEN) <= scenario.ids.keys()
    for name in HIDDEN:
        for reader in PUBLIC:
            for hidden, nothing in zip(
                *(commands(id_, own, scenario) for id_ in (scenario.ids[name], ids.new_id())), strict=True
            ):
                answers = [await scenario.ask(reader, *command) for command in (hidden, nothing)]
                assert _but_ids(answers[0]) == _but_ids(answers[1]), f"{name}, {reader}: {hidden}"
                assert answers[0].status_code in (403, 404)


def commands(goal_id: str, own_session_id: str, scenario: Scenario) -> Iterator[tuple[str, str, Any]]:
    """All that names a goal."""
    own, theirs = {"session_id": own_session_id}, {"session_id": scenario.house.session_id}
    yield "DELETE", f"/goals/{goal_id}", None
    yield "DELETE", f"/goals/{goal_id}", {"agree": True}
    yield "PUT", f"/goals/{goal_id}/extend", None
    yield "POST", "/goals?type=exclusive", {"context": own | {"trigger_exclusive_goal_id": goal_id}}
    yield "POST", "/goals?type=show", {"context": own | {"funding_goal_id": goal_id}}
    yield "POST", "/gifts", theirs | {"product_id": ROSE, "goal_id": goal_id, "count": 1}


EVERYBODY = {"stranger", "viewer", "giver", "streamer", "operator"}
LISTENERS = {
    "presence-stream@{streamer}": EVERYBODY,
    "private-stream@{streamer}": EVERYBODY,
    **{f"private-user@{{{reader}}}": {reader} for reader in READERS},
    "presence-stream-viewer@{streamer}.preview.{viewer}": {"viewer"},
    "presence-stream-viewer@{streamer}.sd.{viewer}": {"viewer"},
    "presence-stream-viewer@{streamer}.preview.{giver}": {"giver"},
    "presence-stream-viewer@{streamer}.sd.{giver}": set(),
    "presence-stream-viewer@{streamer}.preview.{blocked}": set(),
}
"""Who may listen where while the session is the viewer's alone."""


async def test_each_hears_what_is_told_to_them(scenario: Scenario) -> None:
    await open_for_all(scenario)
    await invite_in_vain(scenario)
    await be_alone(scenario)
    heard: dict[str, set[str]] = {channel: set() for channel in LISTENERS}
    for channel, reader in ((channel, reader) for channel in LISTENERS for reader in READERS):
        asks = {"socket_id": "1.1", "channel_name": channel.format_map(scenario.people)}
        if (await scenario.ask(reader, "POST", "/pusher/auth", data=asks)).status_code == 200:
            heard[channel].add(reader)

    assert heard == LISTENERS


async def test_without_a_token_nothing_is_seen(scenario: Scenario) -> None:
    for route, of in routes().items():
        path = route.removeprefix("GET ").replace("{escrow_id}", f"show_funding:{ids.new_id()}")
        response = await scenario.get(re.sub("{[a-z_]+}", ids.new_id(), path), None)
        assert response.status_code == (422 if of.rules.public else 401), route  # which wants a state, and has none
        assert response.json().keys() <= PROBLEM | ({"errors"} if of.rules.public else set())
