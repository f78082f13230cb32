"""What a show night refuses (SPEC §2, §3, §8), in words that a client can act on. None of it changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chassis import ids
from chassis.clock import unix

if TYPE_CHECKING:
    import httpx

    from tests.house.conftest import House

OTHER_TICKET, ROSE = "livestream-show-ticket_1200", "livestream-gift_rose"
LEVEL = {"title": "A song", "target": 1}
HOUR = 3_600


@dataclass
class Scenario:
    """Tickets are sold for a second show, after a first one. Elsewhere somebody else sells tickets too."""

    house: House
    viewer: str
    first: str
    selling: str
    elsewhere: str

    async def give(self, goal_id: str | None = None, **what: Any) -> httpx.Response:
        return await self.house.give(self.viewer, goal_id or self.selling, **what)

    async def pay(self, who: str | None = None, **body: Any) -> httpx.Response:
        house = self.house
        path = f"/sessions/{house.session_id}/pay"
        return await house.ask(house.sessions, who or self.viewer, "POST", path, {"duration": 60, **body})

    async def price(self, **prices: int) -> httpx.Response:
        house = self.house
        return await house.ask(
            house.sessions, house.streamer, "PATCH", f"/sessions/{house.session_id}", {"prices": prices}
        )

    async def fund(self, seconds: float = 600, levels: int = 1, discount: int = 10, **changes: Any) -> httpx.Response:
        context = {
            "perform_duration": 60,
            "hesitation_countdown": 30,
            "ticket_product_id": "livestream-show-ticket_134",
            "ticket_product_type": "earlybird",
            "discount_percentage": discount,
        } | changes
        exp = unix(self.house.now) + seconds
        return await self.house.create("show-funding", {"levels": [LEVEL] * levels, "exp": exp, "context": context})


Do = Callable[[Scenario], Awaitable["httpx.Response"]]

REFUSED: tuple[tuple[str, Do, str], ...] = (
    ("a second funding beside the first", lambda on: on.fund(), "409 stage-taken"),
    ("a show while its tickets are sold", lambda on: on.house.perform(on.selling), "409 funding-not-over"),
    ("a second show of a funding", lambda on: on.house.perform(on.first), "409 show-exists"),
    ("an invitation during a show", lambda on: on.house.invite(on.viewer), "409 stage-taken"),
    ("a rose for a show", lambda on: on.give(product=ROSE), "409 not-a-ticket"),
    ("a gift to oneself", lambda on: on.house.give(on.house.streamer, None, ROSE), "403 own-session"),
    ("a ticket of another product", lambda on: on.give(product=OTHER_TICKET), "409 other-ticket"),
    ("a ticket for an ended show", lambda on: on.give(on.first), "409 goal-over"),
    ("a ticket for a foreign goal", lambda on: on.give(on.elsewhere), "409 goal-of-another-session"),
    ("a ticket for an unknown goal", lambda on: on.give(ids.new_id()), "404 goal-not-found"),
    ("a ticket for nothing", lambda on: on.house.give(on.viewer), "422 ticket-without-goal goal_id"),
    ("an unknown product", lambda on: on.give(product="livestream-show-ticket_0"), "404 product-not-found"),
    ("no tickets", lambda on: on.give(count=0), "422 invalid-request count"),
    ("101 tickets", lambda on: on.give(count=101), "422 invalid-request count"),
    ("101 roses", lambda on: on.house.give(on.viewer, None, ROSE, 101), "422 invalid-request count"),
    ("minutes of oneself", lambda on: on.pay(who=on.house.streamer), "403 own-session"),
    ("minutes that cost more than agreed to", lambda on: on.pay(max_amount_diamonds=1), "409 price-changed"),
    ("minutes for nothing", lambda on: on.price(sd=0), "422 invalid-request prices.sd"),
    ("a 1-on-1 for nothing", lambda on: on.price(exclusive=0), "422 invalid-request prices.exclusive"),
    ("a discount of all", lambda on: on.fund(discount=100), "422 invalid-request context.discount_percentage"),
    ("a funding that is over", lambda on: on.fund(seconds=-1), "422 deadline-out-of-range exp"),
    ("a funding of 25 hours", lambda on: on.fund(seconds=25 * HOUR), "422 deadline-out-of-range exp"),
    (
        "tickets that are none",
        lambda on: on.fund(ticket_product_id=ROSE),
        "422 invalid-request context.ticket_product_id",
    ),
    ("two levels", lambda on: on.fund(levels=2), "422 invalid-request levels"),
)


async def begin(house: House) -> Scenario:
    elsewhere = (await house.fund()).json()["goal_id"]
    await house.system.run_until_idle()
    house.streamer = ids.new_id()
    await house.open()
    viewer = await house.viewer(10_000)
    first = (await house.fund(target=1)).json()["goal_id"]
    await house.delete(first)
    assert (await house.perform(first)).status_code == 201
    await house.system.pass_time(70)
    selling = (await house.fund()).json()["goal_id"]
    await house.system.run_until_idle()
    return Scenario(house, viewer, first, selling, elsewhere)


async def test_what_a_show_night_refuses(house: House) -> None:
    scenario = await begin(house)
    told, accounts = len(house.system.published), await house.accounts()

    seen = [(what, refusal(await do(scenario))) for what, do, _ in REFUSED]

    assert seen == [(what, should) for what, _, should in REFUSED]
    await house.system.run_until_idle()
    assert len(house.system.published) == told
    assert await house.accounts() == accounts


def refusal(response: httpx.Response) -> str:
    """The status, the slug, and the fields that it names."""
    problem = response.json()
    assert problem["title"]
    fields = [error["field"] for error in problem.get("errors", ())]
    return " ".join([str(response.status_code), problem.get("type", "").removeprefix("/problems/"), *fields])
