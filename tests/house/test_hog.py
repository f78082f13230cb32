"""The hog's test: what a command or an event costs does not depend on how many came before it.

a scenario in which every command of every service is asked and every event is heard is played again and again, by the
same streamer and the same viewers. Of each command and event the round trips to MongoDB and the bytes both ways are
counted, after one earlier, after 1 000 and after 10 000; and how MongoDB finds what is asked for.

What comes again and again in a session, the thousands before have left in this one; what there is once in a session, in
thousands of other sessions of the same people (`chassis_testing.costs.Clones` says why a clone is as good as a deed).
What is embedded in the session's own document grows by real deeds: the last scenario has some more of them than the
first. A new endpoint or handler that is not a part of the scenario fails the test.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import contracts
from chassis import ids
from chassis.effects.model import EFFECTS
from chassis.outbox.model import OUTBOX
from chassis.storage.mongo import Mongo
from chassis.timers.model import TIMERS
from chassis_testing.costs import Clones, Commands, Cost, Counted, all_labels, grown, plans
from chassis_testing.costs import counted as counted_solo
from chassis_testing.system import Message
from contracts import Event, EventAttributes, OrderPaidV1, PassActivatedV1, PresenceCountedV1
from escrow.store import accounts
from notifier.settings import Settings as NotifierSettings
from rtc_control.settings import Settings as RtcSettings
from shop.store import ORDERS
from shop.store.orders import settle

if TYPE_CHECKING:
    import httpx

    from chassis.clock import ManualClock
    from chassis.service import Service
    from chassis.storage.mongo import Driver
    from conftest import Servers
    from tests.house.conftest import House

SERVICES: tuple[Service, ...] = tuple(
    importlib.import_module(f"{path.parent.name}.service").SERVICE
    for path in sorted((Path(__file__).parents[2] / "services").glob("*/src/*/service.py"))
)
EARLIER = (1, 1_000, 10_000)
PLAYED = (1, 1, 3)  # how often the acts are really played before they are counted
LOOKED_AT_MAX = 100  # index keys and documents: what handlers need of their own, far below what is there
NOTHING_KEPT = {
    "notifier: GET /config",
    "shop: GET /shop/products",
}  # fixed; all else is to be done to some effect, once
ALL_ACCOUNTS = "escrow: GET /ledger/proof"  # the sum over all of them, for OPS alone (SPEC §2)

RECORDED = Path(contracts.__file__).parents[2] / "tests" / "recorded"
ROSE, SONG = "livestream-gift_rose", "karaoke-song_60"
ID = re.compile("[0-9a-f]{24}")
PASSING = (OUTBOX.name, EFFECTS.name, TIMERS.name)  # gone as soon as it is done

HarnessOf = Callable[..., Awaitable[Counted]]


async def test_costs_are_the_same_after_1_1_000_and_10_000_earlier_ones(
    scenario: Scenario, counting: Commands, mongo: Mongo, record_property: Callable[[str, object], None]
) -> None:
    clones = Clones(mongo)
    costs: list[dict[str, list[Cost]]] = []
    for earlier, following, played in zip(EARLIER, (*EARLIER[1:], EARLIER[-1]), PLAYED, strict=True):
        counting.born.clear()
        counting.take()
        await scenario.begin()
        begun = counting.take()
        for _ in range(played):
            await scenario.play()
        left = {place: born for place, born in counting.born.items() if place[1] not in PASSING}
        await scenario.remember(clones, left, earlier - played, again=True)
        counting.take()
        counting.queries.clear()
        await scenario.play()
        await scenario.end()
        costs.append(begun | counting.take())
        await scenario.remember(clones, left, following - earlier, again=False)
    figures = (
        f"hog: {len(costs[0])} commands and events, at most {most(costs, 0)} round trips and {most(costs, 1)} bytes"
    )
    record_property("figures", figures)

    every = set().union(*map(all_labels, SERVICES))
    assert {label for label in every if not any(cost.round_trips for cost in costs[0].get(label, ()))} == NOTHING_KEPT
    assert grown(costs) == []
    asked = await plans(mongo, counting.queries)
    assert [
        plan for plan in asked if plan.scans or plan.looked_at > LOOKED_AT_MAX if plan.query.label != ALL_ACCOUNTS
    ] == []


# -- a scenario --------------------------------------------------------------------------------------------------------


@dataclass
class Scenario:
    """The house, with every service in it, and the three people who are always the same."""

    house: House
    harnesses: dict[str, Counted]
    fan: str
    poor: str = field(default_factory=ids.new_id)

    async def ask(self, service: str, who: str, method: str, path: str, body: Any = None) -> Any:
        answer = await self.house.ask(self.harnesses[service], who, method, path, body)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    async def begun(self, asking: Awaitable[httpx.Response]) -> str:
        """One command, and all that follows from it; the id of what it made."""
        answer = await asking
        assert answer.is_success, answer.text
        await self.house.system.run_until_idle()
        made = answer.json() if answer.content else {}
        return str(next((made[name] for name in ("goal_id", "gift_id", "payment_id") if name in made), ""))

    async def later(self, seconds: float) -> None:
        await self.house.system.pass_time(seconds)

    async def tell(self, of: type[Event], **changes: Any) -> None:
        """An event of a part that is not in this house."""
        data = json.loads((RECORDED / f"{of.TYPE}.json").read_text())["data"]
        event = of.model_validate_json(json.dumps(data)).model_copy(update=changes)
        key = str(getattr(event, of.KEY))
        source = f"/footlights/{of.TOPIC}"
        attributes = EventAttributes(ids.new_id(), of.TYPE, source, event.subject, self.house.now, key, ids.new_id())
        self.house.system.publish([Message(attributes, event)])
        await self.house.system.run_until_idle()

    # -- the acts ------------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        await self.house.open()

    async def end(self) -> None:
        await self.begun(self.house.end())

    async def play(self) -> None:
        acts = (
            self.sources,
            self.shows,
            self.invitations,
            self.private,
            self.gifts,
            self.orders,
            self.blocks,
            self.reads,
        )
        for act in acts:
            await act()
            async with self.harnesses["escrow"].tx() as tx:
                while await accounts.fold(tx):  # as its timer does every second
                    pass

    async def sources(self) -> None:
        path = f"/sessions/{self.house.session_id}"
        await self.ask("sessions", self.house.streamer, "PUT", f"{path}/sources/room-1")
        await self.house.system.run_until_idle()
        await self.hear_byteplus()
        await self.ask("sessions", self.house.streamer, "PATCH", path, {"title": f"At {self.house.now}"})
        await self.ask("sessions", self.house.streamer, "DELETE", f"{path}/sources/room-1")
        await self.house.system.run_until_idle()

    async def shows(self) -> None:
        house = self.house
        funding = await self.begun(house.fund(target=1))
        await self.begun(house.give(self.fan, funding))
        await self.begun(house.give(self.poor, funding))
        assert (await house.give(self.fan, funding)).is_success
        await self.begun(house.delete(funding))  # before that gift's money is held
        await self.begun(house.perform(funding))
        await self.later(70)
        given_up = await self.begun(house.fund(target=2))
        await self.begun(house.give(self.fan, given_up))
        await self.begun(house.delete(given_up))
        await self.begun(house.delete(given_up))
        for path in ("", "/leaderboard?limit=1"):
            await self.ask("goals", self.fan, "GET", f"/goals/{funding}{path}")
        for path in ("", "/proof"):
            await self.ask("escrow", house.streamer, "GET", f"/escrows/show_funding:{funding}{path}")

    async def invitations(self) -> None:
        house = self.house
        offer = {"context": {"session_id": house.session_id, "duration": 60}}
        await self.begun(house.ask(house.goals, self.poor, "POST", "/goal?type=trigger-exclusive", offer))
        withdrawn = await self.begun(house.invite(self.fan))
        await self.begun(house.ask(house.goals, self.fan, "DELETE", f"/goals/{withdrawn}"))
        await self.later(70)
        await self.begun(house.delete(await self.begun(house.invite(self.fan)), agree=True))
        await self.later(70)  # and nothing comes of it
        invitation = await self.begun(house.invite(self.fan, 2))
        await self.begun(house.delete(invitation, agree=True))
        await self.later(1)
        exclusive = await self.begun(house.begin_exclusive(invitation))
        await self.begun(house.extend(exclusive))
        await self.later(1)
        payment = await self.begun(house.pay(self.fan))
        await self.begun(house.delete(exclusive))  # before what was paid for
        await self.ask("sessions", self.fan, "GET", f"/payments/{payment}")

    async def private(self) -> None:
        private = await self.begun(self.house.ask_for_gifts(target=10))
        await self.begun(self.house.give(self.fan, private, ROSE))
        await self.later(70)

    async def gifts(self) -> None:
        for sender in (self.fan, self.poor):
            gift = await self.begun(self.house.give(sender, None, SONG))
            await self.ask("shop", sender, "GET", f"/gifts/{gift}")
        await self.later(70)

    async def orders(self) -> None:
        for product in ("diamond_3300", f"livestream_pass_{self.house.streamer}"):
            wish = {"product_id": product, "quantity": 2, "gateway": "sandbox"}
            order_id = await self.paid(wish)
            paid = await self.ask("shop", self.fan, "GET", f"/shop/orders/{order_id}")
            assert paid["fulfilment"] == "fulfilled"
        piece = ids.derived_id("backpack-item", paid["order_id"], paid["items"][0]["item_id"], "0")
        await self.ask("shop", self.fan, "POST", f"/shop/backpack/{piece}/activate")
        await self.ask("shop", self.fan, "POST", "/shop/checkout", wish)
        await self.later(1_800)  # and it is not paid
        await self.house.system.run_until_idle()
        for what, how in (("diamond_3300", "refund"), (product, "chargeback")):
            order_id = await self.paid(wish | {"product_id": what})
            await self.ask("shop", self.house.streamer, "POST", f"/shop/orders/{order_id}/{how}", {"reason": "other"})
            await self.house.system.run_until_idle()
        await self.reconciled(order_id)

    async def reconciled(self, order_id: str) -> None:
        """An operator brings a line of a gateway's list, asks for another list, and looks at the day."""
        day = {"gateway": "sandbox", "day": self.house.now.date().isoformat()}
        line = {"reference": order_id, "order_id": order_id, "amount": 1, "currency": "TWD"}
        await self.ask("shop", self.house.streamer, "POST", "/shop/statements", day | {"lines": [line]})
        await self.ask("shop", self.house.streamer, "POST", "/shop/statements/fetch", day)
        for part in ("t", "p", "g"):  # lines, then orders that were paid, then those of which something was granted
            query = f"day={day['day']}&after={part}&limit=1"
            await self.ask("shop", self.house.streamer, "GET", f"/shop/reconciliation?{query}")

    async def paid(self, wish: Any) -> str:
        """An order that is paid, and all that follows."""
        order_id = str((await self.ask("shop", self.fan, "POST", "/shop/checkout", wish))["order_id"])
        await self.round_trip(order_id)
        async with self.harnesses["shop"].tx() as tx:
            known = await tx.get(ORDERS, order_id)
            assert known is not None
            settle(tx, replace(known, payment="confirming"), "confirmed")
        await self.house.system.collect("shop")
        await self.house.system.run_until_idle()
        return order_id

    async def round_trip(self, order_id: str) -> None:
        """A browser goes to the gateway and comes back; who is there is left out."""
        handed = await self.ask("shop", self.fan, "POST", "/shop/checkout/sandbox/complete", {"order_id": order_id})
        state = handed["url"].partition("state=")[2]
        browser, session = self.harnesses["shop"].client(), f"shop-checkout-{order_id}"
        for path in ("/redirect-out", "/tools/POST.html"):
            assert (await browser.get(f"{path}?state={state}")).status_code in (200, 303)
        for gateway in ("sonet", "sandbox"):
            assert (await browser.post(f"/notify/{gateway}?state={state}")).status_code == 303
        for path in ("/shop/redirect-in", "/redirect-in"):
            assert (await browser.get(f"{path}/{session}?state={state}")).status_code == 200

    async def blocks(self) -> None:
        house = self.house
        await self.begun(house.pay(self.poor))
        body = {"duration": 180}
        await self.begun(house.ask(house.sessions, self.fan, "POST", f"/streams/{house.streamer}/pay", body))
        for method in ("PUT", "DELETE"):
            await self.begun(house.ask(house.sessions, house.streamer, method, f"/blocks/{self.fan}"))

    async def reads(self) -> None:
        house = self.house
        for which in (f"session_id={house.session_id}", "mine=true"):
            await self.ask("goals", self.fan, "GET", f"/goals?{which}&limit=1")
        tokens = (f"/sessions/{house.session_id}/token", f"/streams/{house.session_id}/token?explain=true")
        lists = ("/sessions?limit=1", f"/sessions?streamer_id={house.streamer}&limit=1", "/payments?limit=1")
        for path in (*lists, f"/sessions/{house.session_id}", *tokens):
            await self.ask("sessions", self.fan, "GET", path)
        await self.ask("sessions", house.streamer, "GET", "/blocks?limit=1")
        for path in (
            "/wallets/me",
            *(f"/{of}?limit=1" for of in ("wallets/me/entries", "wallets/me/earnings", "ledger/proof")),
        ):
            await self.ask("escrow", house.streamer, "GET", path)
        await self.ask("escrow", house.streamer, "POST", f"/wallets/{self.fan}/credit", {"amount_diamonds": 1})
        for path in ("/shop/products?limit=1", "/gifts?limit=1", "/shop/orders?limit=1", "/shop/backpack?limit=1"):
            await self.ask("shop", self.fan, "GET", path)
        await self.ask("notifier", self.fan, "GET", "/config")
        await self.ask("notifier", self.fan, "GET", "/notifications?limit=1")
        form = {"socket_id": "1.1", "channel_name": f"private-stream@{house.streamer}"}
        await self.harnesses["notifier"].client(self.fan).post("/pusher/auth", data=form)
        several = {"socket_id": "1.1", "channel_name[]": [form["channel_name"], f"private-user@{self.fan}"]}
        await self.harnesses["notifier"].client(self.fan).post("/pusher/batch-authenticate", data=several)
        await self.harnesses["notifier"].client(self.fan).post("/pusher/user-auth", data={"socket_id": "1.1"})
        await self.ask("notifier", self.fan, "GET", f"/sessions/{house.session_id}/viewers/count")
        await self.hear_pusher()
        audience = {"streamer_id": house.streamer, "session_id": house.session_id}
        await self.tell(PresenceCountedV1, **audience, viewers=7)
        await self.tell(OrderPaidV1, user_id=self.fan, order_id=ids.new_id())
        await self.tell(PassActivatedV1, user_id=self.fan)

    async def hear_pusher(self) -> None:
        harness = self.harnesses["notifier"]
        settings = harness.runtime.outside.settings(NotifierSettings)
        key, secret = settings.signing_key
        events = [{"name": "channel_occupied", "channel": f"private-stream@{self.house.streamer}"}]
        body = json.dumps({"time_ms": int(self.house.now.timestamp() * 1_000), "events": events}).encode()
        signed = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-pusher-key": key, "x-pusher-signature": signed}
        answer = await harness.client().post("/notify/pusher", content=body, headers=headers)
        assert answer.status_code == 204, answer.text
        await self.later(2)

    async def hear_byteplus(self) -> None:
        harness, house = self.harnesses["rtc-control"], self.house
        answer = await harness.client(ids.new_id(), "OPS").get(f"/rtc/sessions/{house.session_id}")
        assert answer.status_code == 200, answer.text
        app_id = harness.runtime.outside.settings(RtcSettings).byteplus_app_id
        data = {"RoomId": "room-1", "UserId": ids.new_id(), "Timestamp": int(house.now.timestamp() * 1_000)}
        said = {
            "EventType": "UserJoinRoom",
            "EventData": json.dumps(data),
            "EventTime": "now",
            "EventId": ids.new_id(),
            "AppId": app_id,
            "Version": "1",
            "Noce": "1",
        }
        signature = hashlib.sha256("".join(sorted((*said.values(), "demo-callback-secret"))).encode()).hexdigest()
        answer = await harness.client().post("/notify/byteplus", json=said | {"Signature": signature})
        assert answer.status_code == 200, answer.text

    # -- and those before it -------------------------------------------------------------------------------------------

    async def remember(
        self, clones: Clones, left: Mapping[tuple[str, str], Sequence[str]], count: int, *, again: bool
    ) -> None:
        """So many more of what was left of a scenario: of what comes `again` in a session, or of what there is once."""
        people = {self.house.streamer, self.fan, self.poor}
        session = {self.house.session_id}

        def names(id_: str) -> set[str]:
            return set(ID.findall(id_)) - people

        wanted = {
            place: [id_ for id_ in born if (names(id_) - session if again else names(id_) == session)]
            for place, born in left.items()
        }
        audiences = self.harnesses["notifier"].runtime.database["audiences"]
        top = max([row["seq"] async for row in audiences.find()], default=0)
        numbers = {"notifications": lambda row, number: row | {"seq": top + 1 + number}}
        made = await clones.add(wanted, count, people | (session if again else set()), numbers)
        if "notifications" in {name for _, name in made}:
            await audiences.update_many({}, {"$set": {"seq": top + count}})


def most(costs: Iterable[Mapping[str, Iterable[Cost]]], of: int) -> int:
    """The largest of these figures."""
    return max((cost.round_trips, cost.bytes)[of] for one in costs for each in one.values() for cost in each)


@pytest.fixture
async def counted(servers: Servers, mongo_driver: Driver) -> AsyncIterator[tuple[Commands, Mongo]]:
    """A connection on which every command to MongoDB is counted."""
    commands = Commands()
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[commands])
    yield commands, mongo
    await mongo.close()


@pytest.fixture
def counting(counted: tuple[Commands, Mongo]) -> Commands:
    return counted[0]


@pytest.fixture
async def harness_of(counted: tuple[Commands, Mongo]) -> AsyncIterator[HarnessOf]:
    """Services on that connection, on databases that nobody uses again."""
    commands, mongo = counted
    harnesses: list[Counted] = []

    async def start(service: Service, *, clock: ManualClock) -> Counted:
        harnesses.append(await counted_solo(service, mongo, commands, clock))
        return harnesses[-1]

    yield start
    for harness in harnesses:
        await harness.runtime.outside.http.close()
        await mongo.client.drop_database(harness.runtime.database.name)


@pytest.fixture
async def scenario(house: House, harness_of: HarnessOf) -> Scenario:
    """Every service, and a fan with diamonds enough."""
    harnesses: dict[str, Any] = {
        harness.service.name: harness for harness in (house.goals, house.sessions, house.escrow, house.shop)
    }
    for service in SERVICES:
        if service.name not in harnesses:
            harnesses[service.name] = await harness_of(service, clock=house.system.clock)
            house.system.add(harnesses[service.name])
    await house.end()
    await house.system.run_until_idle()
    house.system.choose = lambda waiting: waiting[0]
    return Scenario(house, harnesses, await house.viewer(10**8))
