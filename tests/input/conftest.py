"""For every endpoint of every service a request that succeeds: bad input is made from it, and fuzzing borrows its ids.

The tests here compare this table with the services' routes and parameters: a new endpoint needs a line in it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import httpx
import pytest

from chassis import ids
from chassis.service import Service
from chassis_testing.service import ServiceHarness
from contracts import (
    Conditions,
    Context,
    EscrowFailedV1,
    EscrowHeldV1,
    GoalCreatedV1,
    GoalKind,
    Level,
    Metadata,
    Prices,
    SessionPaymentRequestedV1,
    SessionStartedV1,
    Statuses,
)
from escrow.service import SERVICE as ESCROW
from goals.service import SERVICE as GOALS
from notifier.service import SERVICE as NOTIFIER
from rtc_control.service import SERVICE as RTC_CONTROL
from sessions.service import SERVICE as SESSIONS
from shop.service import SERVICE as SHOP
from shop.store import ORDERS
from shop.store.orders import settle

TICKET, ROSE = "livestream-show-ticket_134", "livestream-gift_rose"
CREATOR, OPS = ("CREATOR",), ("OPS",)


@dataclass(frozen=True)
class No:
    """With `value` in `field` (dotted, from path, query or body) the request is refused, for this reason."""

    field: str
    value: object
    status: int
    slug: str


@dataclass(frozen=True, kw_only=True)
class Deed:
    """A request that succeeds, once."""

    user: str
    scopes: tuple[str, ...] = ()
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    form: bool = False
    free: frozenset[str] = frozenset()
    """Fields whose text is the caller's, or a vendor's: no string is of the wrong type for them."""
    foreign: tuple[int, str] | None
    """How another user of the same scopes is refused; None: everybody may do this."""
    but: tuple[No, ...] = ()


Prepare = Callable[[ServiceHarness], Awaitable[Deed]]


@dataclass(frozen=True)
class Way:
    """One way to use one endpoint: `POST /goals?type=show`."""

    service: Service
    label: str
    prepare: Prepare

    @property
    def method(self) -> str:
        return self.label.split(" ")[0]

    @property
    def template(self) -> str:
        """The path with its parameters' names."""
        return self.label.split(" ")[1].split("?")[0]


def done(answer: httpx.Response) -> Any:
    """What a request that must succeed answered."""
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer.json() if answer.content else None


async def cursor(client: httpx.AsyncClient, path: str, **query: str) -> str:
    """The `after` of a list's second page."""
    after = done(await client.get(path, params={**query, "limit": "1"}))["next"]
    assert after is not None, f"{path} needs two items"
    return str(after)


class Scenario:
    """A session as other services hear of it, its streamer and a viewer."""

    def __init__(self, harness: ServiceHarness) -> None:
        self.harness = harness
        self.session, self.streamer, self.viewer = (ids.new_id() for _ in range(3))
        self.of: dict[str, Any] = {"session_id": self.session, "streamer_id": self.streamer}
        self.host = harness.client(self.streamer, *CREATOR)
        self.guest = harness.client(self.viewer)

    @classmethod
    async def begun(cls, harness: ServiceHarness) -> Self:
        """On air."""
        scenario = cls(harness)
        started = SessionStartedV1(
            **scenario.of,
            active=True,
            prices=Prices(sd=10, exclusive=20),
            preset="preview",
            sources=(),
            statuses=Statuses(created=harness.now, ended=None),
            exclusive_to=(),
        )
        await harness.handle(started)
        return scenario

    def later(self, seconds: float) -> float:
        """A moment as bodies name it."""
        return self.harness.now.timestamp() + seconds

    # In goals

    async def new(self, kind: str, **body: Any) -> str:
        client = self.guest if kind == "trigger-exclusive" else self.host
        return str(done(await client.post(f"/goals?type={kind}", json=body))["goal_id"])

    async def held(self, escrow: str, goal_id: str, count: int = 1) -> None:
        await self.harness.handle(
            EscrowHeldV1(
                **self.of,
                goal_id=goal_id,
                escrow_id=f"{escrow}:{goal_id}",
                earning_id=ids.new_id(),
                buyer_id=self.viewer if escrow == "trigger_exclusive" else ids.new_id(),
                amount_diamonds=100,
                count=count,
                cause_id=goal_id,
            )
        )

    async def invitation(self) -> str:
        """An open one."""
        goal_id = await self.new("trigger-exclusive", context={"session_id": self.session})
        await self.held("trigger_exclusive", goal_id)
        return goal_id

    async def agreement(self) -> str:
        goal_id = await self.invitation()
        done(await self.host.request("DELETE", f"/goals/{goal_id}", json={"agree": True}))
        return goal_id

    async def exclusive(self) -> str:
        """A running one."""
        context = {"session_id": self.session, "trigger_exclusive_goal_id": await self.agreement()}
        return await self.new("exclusive", context=context)

    def offer(self, seconds: float = 3_600) -> dict[str, Any]:
        """A funding's body."""
        return {
            "levels": [{"title": "Unplugged", "target": 1}],
            "exp": self.later(seconds),
            "context": {
                "session_id": self.session,
                "perform_duration": 60,
                "hesitation_countdown": 60,
                "ticket_product_id": TICKET,
                "ticket_product_type": "earlybird",
                "discount_percentage": 10,
            },
        }

    async def funded(self) -> str:
        """A funding that is over."""
        goal_id = await self.new("show-funding", **self.offer(1))
        await self.held("show_funding", goal_id)
        self.harness.clock.advance(2)
        await self.harness.run_timers()
        return goal_id

    # Elsewhere

    async def goal(self, kind: GoalKind, **context: Any) -> str:
        """A goal that goals tells of."""
        goal_id = ids.new_id()
        created = GoalCreatedV1(
            **self.of,
            goal_id=goal_id,
            kind=kind,
            active=True,
            conditions=Conditions(session_id=self.session),
            context=Context(**context),
            levels=(Level(title="Unplugged", target=10),),
            metadata=Metadata(user_id=self.streamer),
            nbf=None,
            exp=self.harness.now.replace(year=self.harness.now.year + 1),
        )
        await self.harness.handle(created)
        return goal_id

    async def start(self) -> Self:
        """Go on air in sessions itself."""
        body = {"prices": {"sd": 10, "exclusive": 20}}
        self.session = str(done(await self.host.post("/sessions", json=body))["session_id"])
        return self


def unknown(name: str, slug: str) -> No:
    """Nobody has heard of the id."""
    return No(name, ids.new_id(), 404, slug)


# -- escrow ------------------------------------------------------------------------------------------------------------


async def credit(_solo: ServiceHarness) -> Deed:
    body = {"amount_diamonds": 5}
    return Deed(user=ids.new_id(), scopes=OPS, path={"user_id": ids.new_id()}, body=body, foreign=None)


async def _rich(harness: ServiceHarness) -> str:
    user = ids.new_id()
    for amount in (1, 2):
        ops = harness.client(ids.new_id(), *OPS)
        done(await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": amount}))
    return user


async def my_wallet(harness: ServiceHarness) -> Deed:
    return Deed(user=await _rich(harness), foreign=None)


async def my_entries(harness: ServiceHarness) -> Deed:
    user = await _rich(harness)
    after = await cursor(harness.client(user), "/wallets/me/entries")
    return Deed(user=user, query={"limit": "1", "after": after, "order": "asc"}, foreign=None)


async def my_earnings(harness: ServiceHarness) -> Deed:
    scenario = Scenario(harness)
    ops = harness.client(ids.new_id(), *OPS)
    done(await ops.post(f"/wallets/{scenario.viewer}/credit", json={"amount_diamonds": 20}))
    for _ in range(2):
        of = scenario.of | {"payment_id": ids.new_id(), "payer_id": scenario.viewer}
        await harness.handle(SessionPaymentRequestedV1(**of, amount_diamonds=10, duration=60, preset="sd"))
    after = await cursor(scenario.host, "/wallets/me/earnings")
    return Deed(user=scenario.streamer, query={"limit": "1", "after": after, "order": "asc"}, foreign=None)


async def escrow(harness: ServiceHarness) -> Deed:
    scenario = Scenario(harness)
    escrow_id = f"show_funding:{await scenario.goal('ShowFundingGoal', type='show-funding')}"
    no = No("escrow_id", f"show_funding:{ids.new_id()}", 404, "escrow-not-found")
    return Deed(user=scenario.streamer, path={"escrow_id": escrow_id}, foreign=(403, "not-your-escrow"), but=(no,))


async def escrow_proof(harness: ServiceHarness) -> Deed:
    but = (No("from", "transfers", 403, "transfers-are-for-ops"),)
    deed = await escrow(harness)
    return replace(deed, query={"from": "balances"}, but=(*deed.but, *but))


async def ledger_proof(harness: ServiceHarness) -> Deed:
    await _rich(harness)
    user = ids.new_id()
    after = await cursor(harness.client(user, *OPS), "/ledger/proof")
    return Deed(user=user, scopes=OPS, query={"limit": "1", "after": after, "from": "transfers"}, foreign=None)


# -- goals -------------------------------------------------------------------------------------------------------------


async def propose(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    return Deed(
        user=scenario.viewer,
        query={"type": "trigger-exclusive"},
        body={
            "type": "trigger-exclusive",
            "context": {"session_id": scenario.session, "duration": 120},
            "max_amount_diamonds": 10**6,
        },
        foreign=None,
        but=(
            unknown("context.session_id", "session-not-found"),
            No("max_amount_diamonds", 1, 409, "price-changed"),
        ),
    )


async def create_exclusive(harness: ServiceHarness) -> Deed:
    scenario, other = await Scenario.begun(harness), await Scenario.begun(harness)
    context = {"session_id": scenario.session, "trigger_exclusive_goal_id": await scenario.agreement()}
    named = "context.trigger_exclusive_goal_id"
    return Deed(
        user=scenario.streamer,
        scopes=CREATOR,
        query={"type": "exclusive"},
        body={
            "type": "exclusive",
            "context": context,
            "levels": [{"title": "One", "target": 10}],
            "nbf": scenario.later(1.5),
        },
        free=frozenset({"levels.0.title"}),
        foreign=(403, "not-your-session"),
        but=(
            unknown("context.session_id", "session-not-found"),
            unknown(named, "invitation-not-found"),
            No(named, await other.agreement(), 404, "invitation-not-found"),
            No("context.session_id", other.session, 403, "not-your-session"),
        ),
    )


async def create_funding(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    return Deed(
        user=scenario.streamer,
        scopes=CREATOR,
        query={"type": "show-funding"},
        body={"type": "show-funding"} | scenario.offer(),
        free=frozenset({"levels.0.title"}),
        foreign=(403, "not-your-session"),
        but=(unknown("context.session_id", "session-not-found"),),
    )


async def create_show(harness: ServiceHarness) -> Deed:
    scenario, other = await Scenario.begun(harness), await Scenario.begun(harness)
    foreign_funding, funding = await other.funded(), await scenario.funded()
    return Deed(
        user=scenario.streamer,
        scopes=CREATOR,
        query={"type": "show"},
        body={
            "type": "show",
            "context": {"session_id": scenario.session, "funding_goal_id": funding},
            "nbf": scenario.later(1.5),
        },
        foreign=(403, "not-your-session"),
        but=(
            unknown("context.session_id", "session-not-found"),
            unknown("context.funding_goal_id", "funding-not-found"),
            No("context.funding_goal_id", foreign_funding, 404, "funding-not-found"),
        ),
    )


async def create_private(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    return Deed(
        user=scenario.streamer,
        scopes=CREATOR,
        query={"type": "trigger-private"},
        body={
            "type": "trigger-private",
            "context": {"session_id": scenario.session},
            "levels": [{"title": "For us", "target": 100}],
            "exp": scenario.later(60),
        },
        free=frozenset({"levels.0.title"}),
        foreign=(403, "not-your-session"),
        but=(unknown("context.session_id", "session-not-found"),),
    )


async def list_goals(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    await scenario.invitation()
    await scenario.new(
        "trigger-private",
        context={"session_id": scenario.session},
        levels=[{"title": "For us", "target": 100}],
        exp=scenario.later(60),
    )
    after = await cursor(scenario.guest, "/goals", session_id=scenario.session)
    query = {"session_id": scenario.session, "mine": "false", "active": "true"}
    page = {"limit": "1", "after": after, "order": "asc"}
    return Deed(
        user=scenario.viewer, query=query | page, foreign=None, but=(No("mine", "true", 422, "invalid-request"),)
    )


async def get_goal(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    goal_id = await scenario.exclusive()
    no = unknown("goal_id", "goal-not-found")
    return Deed(user=scenario.viewer, path={"goal_id": goal_id}, foreign=None, but=(no,))


async def leaderboard(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    goal_id = await scenario.new("show-funding", **scenario.offer())
    await scenario.held("show_funding", goal_id)
    await scenario.held("show_funding", goal_id)
    after = await cursor(scenario.guest, f"/goals/{goal_id}/leaderboard")
    return Deed(
        user=scenario.viewer,
        path={"goal_id": goal_id},
        query={"limit": "1", "after": after},
        foreign=None,
        but=(unknown("goal_id", "goal-not-found"),),
    )


async def agree(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    return Deed(
        user=scenario.streamer,
        scopes=CREATOR,
        path={"goal_id": await scenario.invitation()},
        body={"agree": True},
        foreign=(404, "goal-not-found"),
        but=(unknown("goal_id", "goal-not-found"),),
    )


async def extend(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    return Deed(
        user=scenario.streamer,
        scopes=CREATOR,
        path={"goal_id": await scenario.exclusive()},
        foreign=(404, "goal-not-found"),
        but=(unknown("goal_id", "goal-not-found"),),
    )


# -- notifier ----------------------------------------------------------------------------------------------------------


async def authorize_channel(_solo: ServiceHarness) -> Deed:
    user = ids.new_id()
    return Deed(
        user=user,
        body={"socket_id": "123.456", "channel_name": f"private-user@{user}"},
        form=True,
        free=frozenset({"channel_name"}),
        foreign=(403, "channel-forbidden"),
        but=(
            No("channel_name", "$where", 403, "channel-forbidden"),
            No("channel_name", '{"$ne":null}', 403, "channel-forbidden"),
            No("channel_name", f"presence-stream@{user}.$gt", 403, "channel-forbidden"),
        ),
    )


async def authorize_channels(_solo: ServiceHarness) -> Deed:
    user = ids.new_id()
    return Deed(
        user=user,
        body={"socket_id": "123.456", "channel_name[]": [f"private-user@{user}"]},
        form=True,
        free=frozenset({"channel_name[]", "channel_name[].0"}),
        foreign=None,  # it is told of each channel that it is not theirs
    )


async def sign_in(_solo: ServiceHarness) -> Deed:
    return Deed(user=ids.new_id(), body={"socket_id": "123.456"}, form=True, foreign=None)


async def count_viewers(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    return Deed(
        user=scenario.viewer,
        path={"session_id": scenario.session},
        foreign=None,
        but=(No("session_id", ids.new_id(), 404, "session-not-found"),),
    )


async def show_rtc_session(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    return Deed(
        user=scenario.viewer,
        scopes=OPS,
        path={"session_id": scenario.session},
        foreign=None,
        but=(No("session_id", ids.new_id(), 404, "session-not-found"),),
    )


async def get_config(_solo: ServiceHarness) -> Deed:
    return Deed(user=ids.new_id(), foreign=None)


async def notifications(harness: ServiceHarness) -> Deed:
    scenario = Scenario(harness)
    for _ in range(3):
        goal_id = ids.new_id()
        failed = EscrowFailedV1(
            **scenario.of,
            goal_id=goal_id,
            escrow_id=f"show_funding:{goal_id}",
            earning_id=ids.new_id(),
            buyer_id=scenario.viewer,
            amount_diamonds=5,
            reason="no_show",
        )
        await harness.handle(failed)
    return Deed(user=scenario.viewer, query={"limit": "1", "after": "1", "order": "asc"}, foreign=None)


# -- sessions ----------------------------------------------------------------------------------------------------------


async def start_session(harness: ServiceHarness) -> Deed:
    return Deed(
        user=Scenario(harness).streamer,
        scopes=CREATOR,
        body={"prices": {"sd": 10, "exclusive": 20}, "preset": "sd", "title": "Tonight", "max_seconds": 3_600},
        free=frozenset({"title"}),
        foreign=None,
    )


async def list_sessions(harness: ServiceHarness) -> Deed:
    scenario, _ = await Scenario(harness).start(), await Scenario(harness).start()
    after = await cursor(scenario.guest, "/sessions", active="true")
    query = {"active": "true", "streamer_id": scenario.streamer, "order": "asc", "limit": "1", "after": after}
    return Deed(user=scenario.viewer, query=query, foreign=None)


async def get_session(harness: ServiceHarness) -> Deed:
    scenario = await Scenario(harness).start()
    no = unknown("session_id", "session-not-found")
    return Deed(user=scenario.viewer, path={"session_id": scenario.session}, foreign=None, but=(no,))


async def get_token(harness: ServiceHarness) -> Deed:
    scenario = await Scenario(harness).start()
    no = unknown("session_id", "session-not-found")
    path = {"session_id": scenario.session}
    return Deed(user=scenario.viewer, path=path, query={"explain": "true"}, foreign=None, but=(no,))


def _own_session(scenario: Scenario, **more: Any) -> Deed:
    path = {"session_id": scenario.session} | more.pop("path", {})
    but = (unknown("session_id", "session-not-found"), *more.pop("but", ()))
    foreign = (403, "not-your-session")
    return Deed(user=scenario.streamer, scopes=CREATOR, path=path, foreign=foreign, but=but, **more)


async def change_session(harness: ServiceHarness) -> Deed:
    body = {"prices": {"sd": 11, "exclusive": 21}, "preset": "sd", "title": "Tonight"}
    return _own_session(await Scenario(harness).start(), body=body, free=frozenset({"title"}))


async def put_source(harness: ServiceHarness) -> Deed:
    free = frozenset({"room_id"})
    path = {"room_id": f"room-{ids.new_id()}"}  # no other session's
    body = {"kind": "phone", "preset": "sd"}
    return _own_session(await Scenario(harness).start(), path=path, body=body, free=free)


async def remove_source(harness: ServiceHarness) -> Deed:
    scenario, room = await Scenario(harness).start(), f"room-{ids.new_id()}"
    put = await harness.client(scenario.streamer, "CREATOR").put(f"/sessions/{scenario.session}/sources/{room}")
    assert put.status_code == 204
    return _own_session(scenario, path={"room_id": room}, but=(No("room_id", "room-2", 404, "source-not-found"),))


async def end_session(harness: ServiceHarness) -> Deed:
    return _own_session(await Scenario(harness).start())


async def pay(harness: ServiceHarness) -> Deed:
    scenario = await Scenario(harness).start()
    return Deed(
        user=scenario.viewer,
        path={"session_id": scenario.session},
        body={"duration": 60, "max_amount_diamonds": 10},
        foreign=None,
        but=(unknown("session_id", "session-not-found"), No("max_amount_diamonds", 9, 409, "price-changed")),
    )


async def pay_streamer(harness: ServiceHarness) -> Deed:
    scenario = await Scenario(harness).start()
    return Deed(
        user=scenario.viewer,
        path={"streamer_id": scenario.streamer},
        body={"duration": 60, "max_amount_diamonds": 10},
        foreign=None,
        but=(unknown("streamer_id", "no-active-session"), No("max_amount_diamonds", 9, 409, "price-changed")),
    )


async def get_payment(harness: ServiceHarness) -> Deed:
    scenario = await Scenario(harness).start()
    asked = done(await scenario.guest.post(f"/sessions/{scenario.session}/pay", json={"duration": 60}))
    return Deed(
        user=scenario.viewer,
        path={"payment_id": asked["payment_id"]},
        foreign=(404, "payment-not-found"),
        but=(unknown("payment_id", "payment-not-found"),),
    )


async def list_payments(harness: ServiceHarness) -> Deed:
    scenario = await Scenario(harness).start()
    for _ in range(2):
        done(await scenario.guest.post(f"/sessions/{scenario.session}/pay", json={"duration": 60}))
    after = await cursor(scenario.guest, "/payments")
    return Deed(user=scenario.viewer, query={"limit": "1", "after": after, "order": "asc"}, foreign=None)


async def list_blocks(harness: ServiceHarness) -> Deed:
    scenario = Scenario(harness)
    for _ in range(2):
        done(await scenario.host.put(f"/blocks/{ids.new_id()}"))
    after = await cursor(scenario.host, "/blocks")
    query = {"limit": "1", "after": after, "order": "asc"}
    return Deed(user=scenario.streamer, scopes=CREATOR, query=query, foreign=None)


async def block(harness: ServiceHarness) -> Deed:
    scenario = Scenario(harness)
    no = No("viewer_id", scenario.streamer, 422, "block-of-oneself")
    return Deed(user=scenario.streamer, scopes=CREATOR, path={"viewer_id": scenario.viewer}, foreign=None, but=(no,))


async def unblock(harness: ServiceHarness) -> Deed:
    scenario = Scenario(harness)
    done(await scenario.host.put(f"/blocks/{scenario.viewer}"))
    return Deed(user=scenario.streamer, scopes=CREATOR, path={"viewer_id": scenario.viewer}, foreign=None)


# -- shop --------------------------------------------------------------------------------------------------------------


async def list_products(harness: ServiceHarness) -> Deed:
    user = ids.new_id()
    after = await cursor(harness.client(user), "/shop/products")
    query = {"limit": "1", "after": after, "streamer_id": ids.new_id()}
    return Deed(user=user, query=query, foreign=None)


async def give(harness: ServiceHarness) -> Deed:
    scenario, other = await Scenario.begun(harness), await Scenario.begun(harness)
    goal_id, foreign_goal = [await one.goal("TriggerPrivateGoal", type="trigger-private") for one in (scenario, other)]
    wish = {"product_id": ROSE, "session_id": scenario.session, "goal_id": goal_id, "count": 2}
    return Deed(
        user=scenario.viewer,
        body=wish | {"max_amount_diamonds": 20},
        foreign=None,
        but=(
            No("product_id", "livestream-gift_nothing", 404, "product-not-found"),
            unknown("session_id", "session-not-found"),
            unknown("goal_id", "goal-not-found"),
            No("goal_id", foreign_goal, 409, "goal-of-another-session"),
            No("max_amount_diamonds", 19, 409, "price-changed"),
        ),
    )


async def check_out(_solo: ServiceHarness) -> Deed:
    return Deed(
        user=ids.new_id(),
        body={"product_id": "diamond_3300", "quantity": 2, "gateway": "sandbox"},
        foreign=None,
        but=(
            No("product_id", "diamond_1", 404, "product-not-found"),
            No("product_id", ROSE, 409, "not-for-money"),
            No("quantity", 11, 422, "invalid-request"),
            No("gateway", "sonet", 409, "gateway-not-offered"),
        ),
    )


async def _ordered(harness: ServiceHarness, user: str, product: str = "livestream_pass") -> str:
    wish = {"product_id": product, "quantity": 2, "gateway": "sandbox"}
    return str(done(await harness.client(user).post("/shop/checkout", json=wish))["order_id"])


async def complete_checkout(harness: ServiceHarness) -> Deed:
    user = ids.new_id()
    return Deed(
        user=user,
        path={"gateway": "sandbox"},
        body={"order_id": await _ordered(harness, user), "lang": "zh-Hant"},
        foreign=(404, "order-not-found"),
        but=(unknown("order_id", "order-not-found"), No("gateway", "sonet", 409, "gateway-not-offered")),
    )


async def list_orders(harness: ServiceHarness) -> Deed:
    user = ids.new_id()
    for _ in range(2):
        await _ordered(harness, user)
    after = await cursor(harness.client(user), "/shop/orders")
    return Deed(user=user, query={"limit": "1", "after": after, "order": "asc"}, foreign=None)


async def get_order(harness: ServiceHarness) -> Deed:
    user = ids.new_id()
    no = unknown("order_id", "order-not-found")
    return Deed(
        user=user, path={"order_id": await _ordered(harness, user)}, foreign=(404, "order-not-found"), but=(no,)
    )


async def _paid(harness: ServiceHarness, user: str, product: str = "livestream_pass") -> str:
    order_id = await _ordered(harness, user, product)
    async with harness.tx() as tx:
        order = await tx.get(ORDERS, order_id)
        assert order is not None
        settle(tx, replace(order, payment="confirming"), "confirmed")
    return order_id


async def refund_order(harness: ServiceHarness) -> Deed:
    buyer = ids.new_id()
    order_id = await _paid(harness, buyer)
    unpaid = No("order_id", await _ordered(harness, buyer), 409, "nothing-to-refund")
    return Deed(
        user=ids.new_id(),
        scopes=("OPS",),
        path={"order_id": order_id},
        body={"reason": "asked_for"},
        foreign=None,
        but=(unknown("order_id", "order-not-found"), unpaid),
    )


async def put_statement(_harness: ServiceHarness) -> Deed:
    line = {"reference": "a", "order_id": ids.new_id(), "amount": 1, "currency": "TWD"}
    return Deed(
        user=ids.new_id(),
        scopes=("OPS",),
        body={"gateway": "sonet", "day": "2026-11-28", "lines": [line]},
        foreign=None,
        but=(No("day", "2026-02-30", 422, "invalid-request"),),
    )


async def fetch_statement(_harness: ServiceHarness) -> Deed:
    return Deed(
        user=ids.new_id(),
        scopes=("OPS",),
        body={"gateway": "sandbox", "day": "2026-11-28"},
        foreign=None,
        but=(No("gateway", "sonet", 409, "statement-not-told"),),
    )


async def reconcile(harness: ServiceHarness) -> Deed:
    for _ in range(2):
        await _paid(harness, ids.new_id())
    day = harness.now.date().isoformat()
    operator = harness.client(ids.new_id(), "OPS")
    after = done(await operator.get("/shop/reconciliation", params={"day": day, "limit": 1}))["next"]
    return Deed(user=ids.new_id(), scopes=("OPS",), query={"day": day, "limit": "1", "after": after}, foreign=None)


async def _packed(harness: ServiceHarness, user: str, product: str = "livestream_pass") -> list[str]:
    """An order is paid; what then lies in the backpack."""
    await _paid(harness, user, product)
    return [item["item_id"] for item in done(await harness.client(user).get("/shop/backpack"))["items"]]


async def list_backpack(harness: ServiceHarness) -> Deed:
    user = ids.new_id()
    await _packed(harness, user)
    after = await cursor(harness.client(user), "/shop/backpack")
    return Deed(user=user, query={"limit": "1", "after": after, "order": "asc"}, foreign=None)


async def activate_pass(harness: ServiceHarness) -> Deed:
    user = ids.new_id()
    item_id, _ = await _packed(harness, user)
    no = unknown("item_id", "backpack-item-not-found")
    return Deed(user=user, path={"item_id": item_id}, foreign=(404, "backpack-item-not-found"), but=(no,))


async def list_gifts(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    wish = {"product_id": ROSE, "session_id": scenario.session, "count": 1}
    for _ in range(2):
        done(await scenario.guest.post("/gifts", json=wish))
    after = await cursor(scenario.guest, "/gifts")
    return Deed(user=scenario.viewer, query={"limit": "1", "after": after, "order": "asc"}, foreign=None)


async def get_gift(harness: ServiceHarness) -> Deed:
    scenario = await Scenario.begun(harness)
    wish = {"product_id": ROSE, "session_id": scenario.session, "count": 1}
    gift_id = done(await scenario.guest.post("/gifts", json=wish))["gift_id"]
    return Deed(
        user=scenario.viewer,
        path={"gift_id": gift_id},
        foreign=(404, "gift-not-found"),
        but=(unknown("gift_id", "gift-not-found"),),
    )


WAYS = tuple(
    Way(service, label, prepare)
    for service, ways in (
        (
            ESCROW,
            {
                "POST /wallets/{user_id}/credit": credit,
                "GET /wallets/me": my_wallet,
                "GET /wallets/me/entries": my_entries,
                "GET /wallets/me/earnings": my_earnings,
                "GET /escrows/{escrow_id}": escrow,
                "GET /escrows/{escrow_id}/proof": escrow_proof,
                "GET /ledger/proof": ledger_proof,
            },
        ),
        (
            GOALS,
            {
                "POST /goal": propose,
                "POST /goals?type=trigger-exclusive": propose,
                "POST /goals?type=exclusive": create_exclusive,
                "POST /goals?type=show-funding": create_funding,
                "POST /goals?type=show": create_show,
                "POST /goals?type=trigger-private": create_private,
                "GET /goals": list_goals,
                "GET /goals/{goal_id}": get_goal,
                "GET /goals/{goal_id}/leaderboard": leaderboard,
                "DELETE /goals/{goal_id}": agree,
                "PUT /goals/{goal_id}/extend": extend,
            },
        ),
        (
            NOTIFIER,
            {
                "POST /pusher/auth": authorize_channel,
                "POST /pusher/batch-authenticate": authorize_channels,
                "POST /pusher/user-auth": sign_in,
                "GET /config": get_config,
                "GET /notifications": notifications,
                "GET /sessions/{session_id}/viewers/count": count_viewers,
            },
        ),
        (RTC_CONTROL, {"GET /rtc/sessions/{session_id}": show_rtc_session}),
        (
            SESSIONS,
            {
                "POST /sessions": start_session,
                "GET /sessions": list_sessions,
                "GET /sessions/{session_id}": get_session,
                "PATCH /sessions/{session_id}": change_session,
                "DELETE /sessions/{session_id}": end_session,
                "PUT /sessions/{session_id}/sources/{room_id}": put_source,
                "DELETE /sessions/{session_id}/sources/{room_id}": remove_source,
                "POST /sessions/{session_id}/pay": pay,
                "POST /streams/{streamer_id}/pay": pay_streamer,
                "GET /payments": list_payments,
                "GET /payments/{payment_id}": get_payment,
                "GET /sessions/{session_id}/token": get_token,
                "GET /streams/{session_id}/token": get_token,
                "GET /blocks": list_blocks,
                "PUT /blocks/{viewer_id}": block,
                "DELETE /blocks/{viewer_id}": unblock,
            },
        ),
        (
            SHOP,
            {
                "GET /shop/products": list_products,
                "POST /gifts": give,
                "GET /gifts": list_gifts,
                "GET /gifts/{gift_id}": get_gift,
                "POST /shop/checkout": check_out,
                "POST /shop/checkout/{gateway}/complete": complete_checkout,
                "GET /shop/orders": list_orders,
                "GET /shop/orders/{order_id}": get_order,
                "POST /shop/orders/{order_id}/refund": refund_order,
                "POST /shop/orders/{order_id}/chargeback": refund_order,
                "GET /shop/reconciliation": reconcile,
                "POST /shop/statements": put_statement,
                "POST /shop/statements/fetch": fetch_statement,
                "GET /shop/backpack": list_backpack,
                "POST /shop/backpack/{item_id}/activate": activate_pass,
            },
        ),
    )
    for label, prepare in ways.items()
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `way` for each, and one that takes a service's `ways` for each service."""
    if "way" in metafunc.fixturenames:
        metafunc.parametrize("way", WAYS, ids=lambda way: way.label.replace("/", " "))
    if "ways" in metafunc.fixturenames:
        by_service: dict[str, list[Way]] = {}
        for way in WAYS:
            by_service.setdefault(way.service.name, []).append(way)
        metafunc.parametrize("ways", list(by_service.values()), ids=list(by_service))


@pytest.fixture
def all_ways() -> tuple[Way, ...]:
    """All of them."""
    return WAYS
