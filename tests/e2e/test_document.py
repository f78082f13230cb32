"""The one document of the API against the whole stack, through the gateway: what it says holds of every operation.

Somebody does each thing that it names, once and well; then requests are made from it, as it says and not. No answer is
a 5xx, each is declared, and no service has refused anything in words that its operation does not have.
"""

import hashlib
import hmac
import json
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import status_code_conformance

from byteplus import callbacks
from chassis_testing.fuzzing import CHECKS, cases, document, seed, send
from demo.settings import STEP_SECONDS
from demo.waiting import until
from demo.world import Person, World
from devstack import byteplus_sandbox
from devstack.parts import PUSHER_KEY, PUSHER_SECRET
from devstack.stack import Stack

DOCUMENT: Final = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
METHODS: Final = ("get", "put", "post", "delete", "patch")
OPERATIONS: Final = {
    told["operationId"]: (path, method)
    for path, item in DOCUMENT["paths"].items()
    for method, told in item.items()
    if method in METHODS
}

# Requests of each operation: with the values of one that succeeded, without, and not as documented. What the services
# make of more of them is tested without a gateway (tests/input/test_fuzz.py).
SEEDED, FITTING, UNFIT = 3, 1, 3

ROSE: Final = "livestream-gift_rose"
CREATOR, OPS = ("CREATOR",), ("OPS",)


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A request that succeeds."""

    who: Person | None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    """In place of a body that the document describes."""
    form: bool = False


@dataclass
class Evening:
    """What has been done so far, and by whom."""

    world: World
    stack: Stack
    streamer: Person
    viewer: Person
    guest: Person
    known: dict[str, str] = field(default_factory=dict)
    """Ids, by what they are of."""
    made: dict[str, Any] = field(default_factory=dict)
    """What each operation has answered when it succeeded."""

    async def does(self, operation: str, deed: Deed) -> None:
        """The request, asked again while what it is about is not known everywhere yet."""
        path, method = OPERATIONS[operation]
        headers = {"Authorization": f"Bearer {deed.who.token}"} if deed.who else {}

        async def ask() -> httpx.Response:
            content: dict[str, Any] = {"content": deed.raw} if deed.raw else {"json": deed.body} if deed.body else {}
            if deed.form:
                content = {"data": deed.body}
            return await self.world.http.request(
                method, path.format(**deed.path), params=deed.query, headers={**headers, **deed.headers}, **content
            )

        answer = await until(f"{operation} to succeed", ask, lambda said: not said.is_error)
        self.made[operation] = answer.json() if answer.headers.get("content-type") == "application/json" else None

    async def gets(self, who: Person, path: str, what: str) -> None:
        """Wait until an answer has these words."""

        async def ask() -> str:
            return (await self.world.request(who, "GET", path)).text

        await until(f"{path} to say {what}", ask, lambda said: what in said)

    # -- what it takes first -------------------------------------------------------------------------------------------

    async def alone(self) -> str:
        """A 1-on-1 that runs: its goal."""
        of_session = {"session_id": self.known["session_id"]}
        wish = {"type": "trigger-exclusive", "context": of_session | {"duration": STEP_SECONDS}}
        await self.does("createGoal", Deed(who=self.guest, query={"type": "trigger-exclusive"}, body=wish))
        invitation = self.made["createGoal"]["goal_id"]
        await self.gets(self.guest, f"/goals/{invitation}", '"active":true')
        await self.does("deleteGoal", Deed(who=self.streamer, path={"goal_id": invitation}, body={"agree": True}))
        begun = {"type": "exclusive", "context": of_session | {"trigger_exclusive_goal_id": invitation}}
        await self.does("createGoal", Deed(who=self.streamer, query={"type": "exclusive"}, body=begun))
        return str(self.made["createGoal"]["goal_id"])

    async def ordered(self, product: str = "livestream_pass") -> str:
        body = {"product_id": product, "quantity": 1, "gateway": "sandbox"}
        await self.does("checkOut", Deed(who=self.viewer, body=body))
        return str(self.made["checkOut"]["order_id"])

    async def paid(self, order_id: str) -> str:
        """A browser at the payment sandbox; the state that it carries."""
        await self.does("completeCheckout", self.completing(order_id))
        state = str(httpx.URL(self.made["completeCheckout"]["url"]).params["state"])

        async def form() -> str:
            return (await self.world.http.get("/tools/POST.html", params={"state": state})).text

        shown = await until("the way to the sandbox", form, lambda page: 'name="authorization"' in page)
        authorization = re.search('name="authorization" value="([0-9a-f]+)"', shown)
        assert authorization
        sandbox = f"http://127.0.0.1:{self.stack.settings.port('sandbox')}/pay"
        paid = await self.world.http.post(sandbox, data={"authorization": authorization[1], "choice": "pay"})
        assert paid.is_success, paid.text
        await self.does("hearSandbox", Deed(who=None, query={"state": state}, raw=b"result=ok"))
        await self.gets(self.viewer, f"/shop/orders/{order_id}", '"fulfilment":"fulfilled"')
        return state

    def completing(self, order_id: str) -> Deed:
        return Deed(who=self.viewer, path={"gateway": "sandbox"}, body={"order_id": order_id, "lang": "en"})

    # -- each thing, well ----------------------------------------------------------------------------------------------

    async def deeds(self) -> AsyncIterator[tuple[str, Deed]]:
        """A request of each operation, in an order in which all of them succeed."""
        async for operation, deed in self._on_air():
            yield operation, deed
        async for operation, deed in self._in_the_shop():
            yield operation, deed
        for operation, deed in self._reads():
            yield operation, deed
        for operation, deed in self._vendors():
            yield operation, deed
        of_session = {"session_id": self.known["session_id"]}
        yield "changeSession", Deed(who=self.streamer, path=of_session, body={"title": "Late", "preset": "sd"})
        yield "goOffAir", Deed(who=self.streamer, path=of_session)

    async def _on_air(self) -> AsyncIterator[tuple[str, Deed]]:
        streamer, viewer, known, made = self.streamer, self.viewer, self.known, self.made
        yield "creditWallet", Deed(who=self.world.ops, path={"user_id": viewer.id}, body={"amount_diamonds": 10_000})
        await self.world.credit(self.guest, 1_000)
        yield "startSession", Deed(who=streamer, body={"prices": {"sd": 10, "exclusive": 30}})
        known["session_id"] = made["startSession"]["session_id"]
        of_session = {"session_id": known["session_id"]}
        room = of_session | {"room_id": f"room-{known['session_id']}"}
        yield "putSource", Deed(who=streamer, path=room, body={"kind": "phone", "preset": "sd"})
        yield "removeSource", Deed(who=streamer, path=room)
        yield "pay", Deed(who=viewer, path=of_session, body={"duration": STEP_SECONDS})
        known["payment_id"] = made["pay"]["payment_id"]
        yield "payStreamer", Deed(who=viewer, path={"streamer_id": streamer.id}, body={"duration": STEP_SECONDS})
        yield "giveGift", Deed(who=viewer, body={"product_id": ROSE, "session_id": known["session_id"], "count": 1})
        known["gift_id"] = made["giveGift"]["gift_id"]
        exclusive = await self.alone()
        yield "extendGoal", Deed(who=streamer, path={"goal_id": exclusive})
        await self.world.request(streamer, "DELETE", f"/goals/{exclusive}")  # if it is not over by itself
        await self.gets(streamer, f"/goals/{exclusive}", '"active":false')
        offer = {"type": "trigger-private", "levels": [{"title": "a dance", "target": 9_000}], "context": of_session}
        exp = {"exp": round(time.time()) + 3_600}
        yield "createGoal", Deed(who=streamer, query={"type": "trigger-private"}, body=offer | exp)
        known["goal_id"] = made["createGoal"]["goal_id"]
        yield "deleteGoal", Deed(who=streamer, path={"goal_id": known["goal_id"]})
        yield "blockViewer", Deed(who=streamer, path={"viewer_id": self.world.person("Ulf").id})
        yield "unblockViewer", Deed(who=streamer, path={"viewer_id": self.guest.id})

    async def _in_the_shop(self) -> AsyncIterator[tuple[str, Deed]]:
        ops, viewer = self.world.ops, self.viewer
        yield "checkOut", Deed(who=viewer, body={"product_id": "diamond_3300", "quantity": 1, "gateway": "sandbox"})
        waiting = await self.ordered()
        yield "completeCheckout", self.completing(waiting)
        order_id, other = await self.ordered(), await self.ordered()
        state = {"state": await self.paid(order_id)}
        await self.paid(other)
        self.known["order_id"] = order_id
        for operation in ("redirectOut", "postToGateway"):
            yield operation, Deed(who=None, query=state)
        for operation in ("hearSandbox", "hearSonet"):
            yield operation, Deed(who=None, query=state, raw=b"result=ok")
        for operation in ("redirectIn", "redirectInAlias"):
            yield operation, Deed(who=None, path={"session": f"shop-checkout-{order_id}"}, query=state)
        item = (await self.world.get(viewer, "/shop/backpack"))["items"][0]["item_id"]
        yield "activatePass", Deed(who=viewer, path={"item_id": item})
        yield "refundOrder", Deed(who=ops, path={"order_id": order_id}, body={"reason": "asked_for"})
        yield "chargeBackOrder", Deed(who=ops, path={"order_id": other}, body={"reason": "disputed"})
        day = datetime.now(UTC).date().isoformat()
        line = {"reference": "S1", "order_id": order_id, "amount": 1, "currency": "TWD"}
        yield "putStatement", Deed(who=ops, body={"gateway": "sonet", "day": day, "lines": [line]})
        yield "fetchStatement", Deed(who=ops, body={"gateway": "sandbox", "day": day})
        yield "reconcile", Deed(who=ops, query={"day": day, "limit": "1"})

    def _reads(self) -> list[tuple[str, Deed]]:
        streamer, viewer, ops, known = self.streamer, self.viewer, self.world.ops, self.known
        page = {"limit": "1", "order": "desc"}
        of_session, of_goal = {"session_id": known["session_id"]}, {"goal_id": known["goal_id"]}
        escrow = {"escrow_id": f"trigger_private:{known['goal_id']}"}
        lists = ("listGifts", "listPayments", "listNotifications", "listOrders", "listBackpack", "listMyEntries")
        return [
            *((operation, Deed(who=viewer, query=page)) for operation in lists),
            *((operation, Deed(who=streamer, query=page)) for operation in ("listBlocks", "listMyEarnings")),
            *((operation, Deed(who=viewer)) for operation in ("getMyWallet", "getConfig")),
            ("getSession", Deed(who=viewer, path=of_session)),
            ("listSessions", Deed(who=viewer, query={**page, "streamer_id": streamer.id})),
            ("getToken", Deed(who=viewer, path=of_session, query={"explain": "true"})),
            ("getStreamToken", Deed(who=viewer, path=of_session)),
            ("countViewers", Deed(who=viewer, path=of_session)),
            ("showSession", Deed(who=ops, path=of_session)),
            ("getPayment", Deed(who=viewer, path={"payment_id": known["payment_id"]})),
            ("readGift", Deed(who=viewer, path={"gift_id": known["gift_id"]})),
            ("readOrder", Deed(who=viewer, path={"order_id": known["order_id"]})),
            ("getGoal", Deed(who=viewer, path=of_goal)),
            ("listGoals", Deed(who=viewer, query={**page, **of_session})),
            ("getLeaderboard", Deed(who=viewer, path=of_goal, query={"limit": "1"})),
            ("getEscrow", Deed(who=streamer, path=escrow)),
            ("getEscrowProof", Deed(who=streamer, path=escrow, query={"from": "balances"})),
            ("getLedgerProof", Deed(who=ops, query={"limit": "1"})),
            ("listProducts", Deed(who=viewer, query={"limit": "1", "streamer_id": streamer.id})),
        ]

    def _vendors(self) -> list[tuple[str, Deed]]:
        """What Pusher's clients ask for, and what vendors tell."""
        socket, channel = {"socket_id": "123.456"}, f"private-user@{self.viewer.id}"
        events = {"time_ms": round(time.time() * 1_000), "events": []}
        told = json.dumps(events).encode()
        signature = hmac.new(PUSHER_SECRET.encode(), told, hashlib.sha256).hexdigest()
        signed = {"x-pusher-key": PUSHER_KEY, "x-pusher-signature": signature}
        moved = {"RoomId": "room-1", "UserId": self.viewer.id, "Timestamp": events["time_ms"]}
        call = {
            "EventType": "UserLeaveRoom", "EventData": json.dumps(moved), "EventTime": "now", "EventId": "e1",
            "AppId": byteplus_sandbox.APP_ID, "Version": "1",
        }  # fmt: skip
        call |= {"Noce": "1", "Signature": callbacks.sign(call, "1", byteplus_sandbox.CALLBACK_SECRET)}
        return [
            ("authorizeChannel", Deed(who=self.viewer, body=socket | {"channel_name": channel}, form=True)),
            ("authorizeChannels", Deed(who=self.viewer, body=socket | {"channel_name[]": [channel]}, form=True)),
            ("signIn", Deed(who=self.viewer, body=socket, form=True)),
            ("hearPusher", Deed(who=None, headers=signed, raw=told)),
            ("hearByteplus", Deed(who=None, raw=json.dumps(call).encode())),
        ]


@pytest.fixture
async def evening(world: World, stack: Stack) -> Evening:
    return Evening(world, stack, world.person("Ida", *CREATOR), world.person("Tom"), world.person("Kim"))


async def test_every_operation_succeeds_once_and_answers_as_documented_whatever_is_sent(
    evening: Evening, world: World, stack: Stack, record_property: Any
) -> None:
    schema, wrong, succeeded, asked = document(without_examples(DOCUMENT)), [], set(), 0
    async for operation, deed in evening.deeds():
        path, method = OPERATIONS[operation]
        await evening.does(operation, deed)
        succeeded.add(operation)
        chance = random.Random(operation)
        for case, borrows in cases(schema[path][method], seeded=SEEDED, fitting=FITTING, unfit=UNFIT):
            if borrows:
                seed(case, deed.path, deed.query, deed.body, chance)
            token = {"authorization": f"Bearer {deed.who.token}"} if deed.who else {}
            async with httpx.AsyncClient(headers=token, trust_env=False, timeout=60) as client:
                answer = await send(client, case, world.status["gateway"])
            asked += 1
            checks = [*CHECKS] if answer.status_code != httpx.codes.REQUEST_URI_TOO_LONG else [status_code_conformance]
            try:
                case.validate_response(answer, checks=checks)
            except FailureGroup as failures:
                told = f"{answer.status_code} {answer.text[:300]} to {case.query} {case.body!r:.300}"
                wrong += [f"{operation}: {failure}: {told}" for failure in failures.exceptions]
    record_property("figures", f"document: {len(succeeded)} operations, {asked} requests made from it")

    assert wrong == []
    assert succeeded == OPERATIONS.keys()
    assert await undeclared(stack, world) == []


def without_examples(told: Any) -> Any:
    """The same, or requests would name what another evening had: a service waits for it to become known."""
    if isinstance(told, dict):
        return {name: without_examples(of) for name, of in told.items() if name != "example"}
    return [without_examples(of) for of in told] if isinstance(told, list) else told


async def undeclared(stack: Stack, world: World) -> list[str]:
    """What services have refused in words that their operations do not have, as each counts it."""
    apis = [part.name for part in stack.state().parts if part.name.endswith("-api")]
    said = [(await world.http.get(f"{stack.url(name)}/metrics")).text for name in apis]
    assert len(apis) > 1
    return [
        line for text in said for line in text.splitlines() if re.match(r"\w*http_undeclared_refusals_total\{", line)
    ]
