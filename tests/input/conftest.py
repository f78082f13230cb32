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
from chassis.testing import Solo
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
    SessionStartedV1,
    Statuses,
)
from escrow.service import SERVICE as ESCROW
from goals.service import SERVICE as GOALS
from notifier.service import SERVICE as NOTIFIER
from sessions.service import SERVICE as SESSIONS
from shop.service import SERVICE as SHOP

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


Prepare = Callable[[Solo], Awaitable[Deed]]


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


class Evening:
    """A session as other services hear of it, its streamer and a viewer."""

    def __init__(self, solo: Solo) -> None:
        self.solo = solo
        self.session, self.streamer, self.viewer = (ids.new_id() for _ in range(3))
        self.of: dict[str, Any] = {"session_id": self.session, "streamer_id": self.streamer}
        self.host = solo.client(self.streamer, *CREATOR)
        self.guest = solo.client(self.viewer)

    @classmethod
    async def begun(cls, solo: Solo) -> Self:
        """On air."""
        evening = cls(solo)
        started = SessionStartedV1(
            **evening.of,
            active=True,
            prices=Prices(sd=10, exclusive=20),
            preset="preview",
            sources=(),
            statuses=Statuses(created=solo.now, ended=None),
            exclusive_to=(),
        )
        await solo.hear(started)
        return evening

    def later(self, seconds: float) -> float:
        """A moment as bodies name it."""
        return self.solo.now.timestamp() + seconds

    # In goals

    async def new(self, kind: str, **body: Any) -> str:
        client = self.guest if kind == "trigger-exclusive" else self.host
        return str(done(await client.post(f"/goals?type={kind}", json=body))["goal_id"])

    async def held(self, escrow: str, goal_id: str, count: int = 1) -> None:
        await self.solo.hear(
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
        self.solo.clock.advance(2)
        await self.solo.run_timers()
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
            exp=self.solo.now.replace(year=self.solo.now.year + 1),
        )
        await self.solo.hear(created)
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


async def credit(_solo: Solo) -> Deed:
    body = {"amount_diamonds": 5}
    return Deed(user=ids.new_id(), scopes=OPS, path={"user_id": ids.new_id()}, body=body, foreign=None)


async def _rich(solo: Solo) -> str:
    user = ids.new_id()
    for amount in (1, 2):
        ops = solo.client(ids.new_id(), *OPS)
        done(await ops.post(f"/wallets/{user}/credit", json={"amount_diamonds": amount}))
    return user


async def my_wallet(solo: Solo) -> Deed:
    return Deed(user=await _rich(solo), foreign=None)


async def my_entries(solo: Solo) -> Deed:
    user = await _rich(solo)
    after = await cursor(solo.client(user), "/wallets/me/entries")
    return Deed(user=user, query={"limit": "1", "after": after}, foreign=None)


async def escrow(solo: Solo) -> Deed:
    evening = Evening(solo)
    escrow_id = f"show_funding:{await evening.goal('ShowFundingGoal', type='show-funding')}"
    no = No("escrow_id", f"show_funding:{ids.new_id()}", 404, "escrow-not-found")
    return Deed(user=evening.streamer, path={"escrow_id": escrow_id}, foreign=(403, "not-your-escrow"), but=(no,))


async def escrow_proof(solo: Solo) -> Deed:
    but = (No("from", "transfers", 403, "transfers-are-for-ops"),)
    deed = await escrow(solo)
    return replace(deed, query={"from": "balances"}, but=(*deed.but, *but))


async def ledger_proof(solo: Solo) -> Deed:
    await _rich(solo)
    user = ids.new_id()
    after = await cursor(solo.client(user, *OPS), "/ledger/proof")
    return Deed(user=user, scopes=OPS, query={"limit": "1", "after": after, "from": "transfers"}, foreign=None)


# -- goals -------------------------------------------------------------------------------------------------------------


async def propose(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    return Deed(
        user=evening.viewer,
        query={"type": "trigger-exclusive"},
        body={"context": {"session_id": evening.session, "duration": 120}, "max_amount_diamonds": 10**6},
        foreign=None,
        but=(
            unknown("context.session_id", "session-not-found"),
            No("max_amount_diamonds", 1, 409, "price-changed"),
        ),
    )


async def create_exclusive(solo: Solo) -> Deed:
    evening, other = await Evening.begun(solo), await Evening.begun(solo)
    context = {"session_id": evening.session, "trigger_exclusive_goal_id": await evening.agreement()}
    named = "context.trigger_exclusive_goal_id"
    return Deed(
        user=evening.streamer,
        scopes=CREATOR,
        query={"type": "exclusive"},
        body={"context": context, "levels": [{"title": "One", "target": 10}], "nbf": evening.later(1.5)},
        free=frozenset({"levels.0.title"}),
        foreign=(403, "not-your-session"),
        but=(
            unknown("context.session_id", "session-not-found"),
            unknown(named, "invitation-not-found"),
            No(named, await other.agreement(), 404, "invitation-not-found"),
            No("context.session_id", other.session, 403, "not-your-session"),
        ),
    )


async def create_funding(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    return Deed(
        user=evening.streamer,
        scopes=CREATOR,
        query={"type": "show-funding"},
        body=evening.offer(),
        free=frozenset({"levels.0.title"}),
        foreign=(403, "not-your-session"),
        but=(unknown("context.session_id", "session-not-found"),),
    )


async def create_show(solo: Solo) -> Deed:
    evening, other = await Evening.begun(solo), await Evening.begun(solo)
    foreign_funding, funding = await other.funded(), await evening.funded()
    return Deed(
        user=evening.streamer,
        scopes=CREATOR,
        query={"type": "show"},
        body={"context": {"session_id": evening.session, "funding_goal_id": funding}, "nbf": evening.later(1.5)},
        foreign=(403, "not-your-session"),
        but=(
            unknown("context.session_id", "session-not-found"),
            unknown("context.funding_goal_id", "funding-not-found"),
            No("context.funding_goal_id", foreign_funding, 404, "funding-not-found"),
        ),
    )


async def create_private(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    return Deed(
        user=evening.streamer,
        scopes=CREATOR,
        query={"type": "trigger-private"},
        body={
            "context": {"session_id": evening.session},
            "levels": [{"title": "For us", "target": 100}],
            "exp": evening.later(60),
        },
        free=frozenset({"levels.0.title"}),
        foreign=(403, "not-your-session"),
        but=(unknown("context.session_id", "session-not-found"),),
    )


async def list_goals(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    await evening.invitation()
    await evening.new(
        "trigger-private",
        context={"session_id": evening.session},
        levels=[{"title": "For us", "target": 100}],
        exp=evening.later(60),
    )
    after = await cursor(evening.guest, "/goals", session_id=evening.session)
    query = {"session_id": evening.session, "active": "true", "limit": "1", "after": after}
    return Deed(user=evening.viewer, query=query, foreign=None)


async def get_goal(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    goal_id = await evening.exclusive()
    no = unknown("goal_id", "goal-not-found")
    return Deed(user=evening.viewer, path={"goal_id": goal_id}, foreign=None, but=(no,))


async def leaderboard(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    goal_id = await evening.new("show-funding", **evening.offer())
    await evening.held("show_funding", goal_id)
    await evening.held("show_funding", goal_id)
    after = await cursor(evening.guest, f"/goals/{goal_id}/leaderboard")
    return Deed(
        user=evening.viewer,
        path={"goal_id": goal_id},
        query={"limit": "1", "after": after},
        foreign=None,
        but=(unknown("goal_id", "goal-not-found"),),
    )


async def agree(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    return Deed(
        user=evening.streamer,
        scopes=CREATOR,
        path={"goal_id": await evening.invitation()},
        body={"agree": True},
        foreign=(404, "goal-not-found"),
        but=(unknown("goal_id", "goal-not-found"),),
    )


async def extend(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    return Deed(
        user=evening.streamer,
        scopes=CREATOR,
        path={"goal_id": await evening.exclusive()},
        foreign=(404, "goal-not-found"),
        but=(unknown("goal_id", "goal-not-found"),),
    )


# -- notifier ----------------------------------------------------------------------------------------------------------


async def authorize_channel(_solo: Solo) -> Deed:
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


async def notifications(solo: Solo) -> Deed:
    evening = Evening(solo)
    for _ in range(3):
        goal_id = ids.new_id()
        failed = EscrowFailedV1(
            **evening.of,
            goal_id=goal_id,
            escrow_id=f"show_funding:{goal_id}",
            earning_id=ids.new_id(),
            buyer_id=evening.viewer,
            amount_diamonds=5,
            reason="no_show",
        )
        await solo.hear(failed)
    return Deed(user=evening.viewer, query={"limit": "1", "after": "1"}, foreign=None)


# -- sessions ----------------------------------------------------------------------------------------------------------


async def start_session(solo: Solo) -> Deed:
    return Deed(
        user=Evening(solo).streamer,
        scopes=CREATOR,
        body={"prices": {"sd": 10, "exclusive": 20}, "preset": "sd", "title": "Tonight"},
        free=frozenset({"title"}),
        foreign=None,
    )


async def list_sessions(solo: Solo) -> Deed:
    evening, _ = await Evening(solo).start(), await Evening(solo).start()
    after = await cursor(evening.guest, "/sessions")
    return Deed(user=evening.viewer, query={"active": "true", "limit": "1", "after": after}, foreign=None)


async def get_session(solo: Solo) -> Deed:
    evening = await Evening(solo).start()
    no = unknown("session_id", "session-not-found")
    return Deed(user=evening.viewer, path={"session_id": evening.session}, foreign=None, but=(no,))


def _own_session(evening: Evening, **more: Any) -> Deed:
    path = {"session_id": evening.session} | more.pop("path", {})
    but = (unknown("session_id", "session-not-found"), *more.pop("but", ()))
    foreign = (403, "not-your-session")
    return Deed(user=evening.streamer, scopes=CREATOR, path=path, foreign=foreign, but=but, **more)


async def change_session(solo: Solo) -> Deed:
    body = {"prices": {"sd": 11, "exclusive": 21}, "preset": "sd", "title": "Tonight"}
    return _own_session(await Evening(solo).start(), body=body, free=frozenset({"title"}))


async def put_source(solo: Solo) -> Deed:
    free = frozenset({"room_id"})
    path = {"room_id": f"room-{ids.new_id()}"}  # no other session's
    return _own_session(await Evening(solo).start(), path=path, body={"kind": "phone"}, free=free)


async def remove_source(solo: Solo) -> Deed:
    evening, room = await Evening(solo).start(), f"room-{ids.new_id()}"
    put = await solo.client(evening.streamer, "CREATOR").put(f"/sessions/{evening.session}/sources/{room}")
    assert put.status_code == 204
    return _own_session(evening, path={"room_id": room}, but=(No("room_id", "room-2", 404, "source-not-found"),))


async def end_session(solo: Solo) -> Deed:
    return _own_session(await Evening(solo).start())


async def pay(solo: Solo) -> Deed:
    evening = await Evening(solo).start()
    return Deed(
        user=evening.viewer,
        path={"session_id": evening.session},
        body={"duration": 60, "max_amount_diamonds": 10},
        foreign=None,
        but=(unknown("session_id", "session-not-found"), No("max_amount_diamonds", 9, 409, "price-changed")),
    )


async def pay_streamer(solo: Solo) -> Deed:
    evening = await Evening(solo).start()
    return Deed(
        user=evening.viewer,
        path={"streamer_id": evening.streamer},
        body={"duration": 60, "max_amount_diamonds": 10},
        foreign=None,
        but=(unknown("streamer_id", "no-active-session"), No("max_amount_diamonds", 9, 409, "price-changed")),
    )


async def get_payment(solo: Solo) -> Deed:
    evening = await Evening(solo).start()
    asked = done(await evening.guest.post(f"/sessions/{evening.session}/pay", json={"duration": 60}))
    return Deed(
        user=evening.viewer,
        path={"payment_id": asked["payment_id"]},
        foreign=(404, "payment-not-found"),
        but=(unknown("payment_id", "payment-not-found"),),
    )


async def block(solo: Solo) -> Deed:
    evening = Evening(solo)
    no = No("viewer_id", evening.streamer, 422, "block-of-oneself")
    return Deed(user=evening.streamer, scopes=CREATOR, path={"viewer_id": evening.viewer}, foreign=None, but=(no,))


async def unblock(solo: Solo) -> Deed:
    evening = Evening(solo)
    done(await evening.host.put(f"/blocks/{evening.viewer}"))
    return Deed(user=evening.streamer, scopes=CREATOR, path={"viewer_id": evening.viewer}, foreign=None)


# -- shop --------------------------------------------------------------------------------------------------------------


async def list_products(solo: Solo) -> Deed:
    user = ids.new_id()
    after = await cursor(solo.client(user), "/shop/products")
    return Deed(user=user, query={"limit": "1", "after": after}, foreign=None)


async def give(solo: Solo) -> Deed:
    evening, other = await Evening.begun(solo), await Evening.begun(solo)
    goal_id, foreign_goal = [await one.goal("TriggerPrivateGoal", type="trigger-private") for one in (evening, other)]
    wish = {"product_id": ROSE, "session_id": evening.session, "goal_id": goal_id, "count": 2}
    return Deed(
        user=evening.viewer,
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


async def get_gift(solo: Solo) -> Deed:
    evening = await Evening.begun(solo)
    wish = {"product_id": ROSE, "session_id": evening.session, "count": 1}
    gift_id = done(await evening.guest.post("/gifts", json=wish))["gift_id"]
    return Deed(
        user=evening.viewer,
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
        (NOTIFIER, {"POST /pusher/auth": authorize_channel, "GET /notifications": notifications}),
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
                "GET /payments/{payment_id}": get_payment,
                "PUT /blocks/{viewer_id}": block,
                "DELETE /blocks/{viewer_id}": unblock,
            },
        ),
        (SHOP, {"GET /shop/products": list_products, "POST /gifts": give, "GET /gifts/{gift_id}": get_gift}),
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
